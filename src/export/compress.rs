//! Compression of requests: gzip (feature `gzip`), Zstandard (feature `zstd`).
//!
//! The levels are the fastest: a request is compressed on the worker's thread, and most of what can be
//! gained is gained there.

use bytes::Bytes;

use crate::config::Compression;
use crate::error::Error;

/// An error where the build cannot do what is asked.
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

/// What `Content-Encoding` and `grpc-encoding` call it.
pub(crate) fn encoding(compression: Compression) -> Option<&'static str> {
    match compression {
        Compression::None => None,
        Compression::Gzip => Some("gzip"),
        Compression::Zstd => Some("zstd"),
    }
}

/// The frames as one stream; `None`: as they are.
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

/// [`check`] has seen to it that nobody asks.
#[cfg(not(feature = "gzip"))]
fn gzip(_: &[Bytes]) -> std::io::Result<Bytes> {
    Err(std::io::ErrorKind::Unsupported.into())
}

/// [`check`] has seen to it that nobody asks.
#[cfg(not(feature = "zstd"))]
fn zstd(_: &[Bytes]) -> std::io::Result<Bytes> {
    Err(std::io::ErrorKind::Unsupported.into())
}
