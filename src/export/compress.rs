//! Compression of requests: gzip (feature `gzip`), Zstandard (feature `zstd`).
//!
//! The levels are the fastest: a request is compressed on the worker's thread, and higher levels gain
//! little.

use bytes::Bytes;

use crate::config::Compression;
use crate::error::Error;

/// An error if the build lacks the feature of the compression.
pub(crate) fn check(compression: Compression) -> Result<(), Error> {
    let feature = match compression {
        Compression::Gzip if !cfg!(feature = "gzip") => "gzip",
        Compression::Zstd if !cfg!(feature = "zstd") => "zstd",
        _ => return Ok(()),
    };
    Err(Error::config(
        "compression",
        feature,
        format!("enable the feature `{feature}` of tracing-otlp, or compress nothing"),
    ))
}

/// The name in `Content-Encoding` and `grpc-encoding`.
pub(crate) fn encoding(compression: Compression) -> Option<&'static str> {
    match compression {
        Compression::None => None,
        Compression::Gzip => Some("gzip"),
        Compression::Zstd => Some("zstd"),
    }
}

/// The frames compressed as one stream; `None`: uncompressed.
pub(crate) fn compress(
    compression: Compression,
    frames: &[Bytes],
) -> std::io::Result<Option<Bytes>> {
    match compression {
        Compression::None => Ok(None),
        Compression::Gzip => gzip(frames).map(Some),
        Compression::Zstd => zstd(frames).map(Some),
    }
}

#[cfg(feature = "gzip")]
fn gzip(frames: &[Bytes]) -> std::io::Result<Bytes> {
    let level = flate2::Compression::fast();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
    write(&mut encoder, frames)?;
    Ok(encoder.finish()?.into())
}

#[cfg(feature = "zstd")]
fn zstd(frames: &[Bytes]) -> std::io::Result<Bytes> {
    const LEVEL: i32 = 1;
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), LEVEL)?;
    write(&mut encoder, frames)?;
    Ok(encoder.finish()?.into())
}

#[cfg(any(feature = "gzip", feature = "zstd"))]
fn write(encoder: &mut impl std::io::Write, frames: &[Bytes]) -> std::io::Result<()> {
    frames.iter().try_for_each(|frame| encoder.write_all(frame))
}

/// Never called: [`check`] refuses this compression.
#[cfg(not(feature = "gzip"))]
fn gzip(_: &[Bytes]) -> std::io::Result<Bytes> {
    Err(std::io::ErrorKind::Unsupported.into())
}

/// Never called: [`check`] refuses this compression.
#[cfg(not(feature = "zstd"))]
fn zstd(_: &[Bytes]) -> std::io::Result<Bytes> {
    Err(std::io::ErrorKind::Unsupported.into())
}
