//! The body of an OTLP request out of its frame and its compression.

use std::io::Read;

use bytes::{Buf as _, Bytes};
use http::StatusCode;

use super::refusal::{MOST_BYTES, Refusal, UNIMPLEMENTED, invalid, too_large};

/// A message of gRPC out of its frame, and whether it is compressed.
pub(super) fn unframe(mut bytes: Bytes) -> Result<(Bytes, bool), Refusal> {
    if bytes.len() < 5 {
        return Err(invalid("the frame of a gRPC message has 5 bytes"));
    }
    let flag = bytes.get_u8();
    let len = bytes.get_u32() as usize;
    if flag > 1 || len != bytes.len() {
        return Err(invalid("the frame of the gRPC message does not fit it"));
    }
    Ok((bytes, flag == 1))
}

/// The bytes without the compression that the request names.
pub(super) fn unpack(bytes: &[u8], encoding: &str) -> Result<Bytes, Refusal> {
    match encoding {
        "gzip" => read("gzip", Ok(flate2::read::MultiGzDecoder::new(bytes))),
        #[cfg(feature = "zstd")]
        "zstd" => read("zstd", zstd(bytes)),
        #[cfg(not(feature = "zstd"))]
        "zstd" => Err(unread(
            "compression \"zstd\" is read with the feature `zstd` of tracing-otlp: use gzip or none",
        )),
        other => Err(unread(&format!(
            "compression {other:?} is not read: use gzip, zstd or none"
        ))),
    }
}

#[cfg(feature = "zstd")]
fn zstd(bytes: &[u8]) -> std::io::Result<impl Read> {
    /// Its window is allocated at once: that of the largest body.
    const WINDOW: u32 = MOST_BYTES.ilog2();
    let mut decoder = zstd::stream::read::Decoder::with_buffer(bytes)?;
    decoder.window_log_max(WINDOW)?;
    Ok(decoder)
}

fn unread(message: &str) -> Refusal {
    Refusal(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        UNIMPLEMENTED,
        message.to_owned(),
    )
}

fn read(name: &str, decoder: std::io::Result<impl Read>) -> Result<Bytes, Refusal> {
    let mut out = Vec::new();
    decoder
        .and_then(|d| d.take(MOST_BYTES as u64 + 1).read_to_end(&mut out))
        .map_err(|e| invalid(format!("{name}: {e}")))?;
    match out.len() > MOST_BYTES {
        true => Err(too_large()),
        false => Ok(out.into()),
    }
}
