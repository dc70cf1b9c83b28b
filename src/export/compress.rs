//! gzip (feature `gzip`).

use bytes::Bytes;

use crate::config::Compression;
use crate::error::Error;

/// An error where the build cannot do what is asked.
pub(crate) fn check(compression: Compression) -> Result<(), Error> {
    match compression {
        Compression::Gzip if !cfg!(feature = "gzip") => Err(Error::config(
            "compression",
            "gzip",
            "enable the feature `gzip` of tracing-otlp, or compress nothing",
        )),
        _ => Ok(()),
    }
}

/// The frames as one gzip stream.
#[cfg(feature = "gzip")]
pub(crate) fn gzip(frames: &[Bytes]) -> std::io::Result<Bytes> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    for frame in frames {
        encoder.write_all(frame)?;
    }
    Ok(encoder.finish()?.into())
}

/// [`check`] has seen to it that nobody asks.
#[cfg(not(feature = "gzip"))]
pub(crate) fn gzip(frames: &[Bytes]) -> std::io::Result<Bytes> {
    let _ = frames;
    Err(std::io::ErrorKind::Unsupported.into())
}
