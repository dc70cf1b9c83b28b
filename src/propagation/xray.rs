//! AWS X-Ray: `X-Amzn-Trace-Id`.

use super::header::X_AMZN_TRACE_ID;
use super::{Extractor, Injector, Propagator, adopt, short};
use crate::context::{TraceContext, TraceFlags};
use crate::text::{hex, trim_blanks};

/// AWS X-Ray's `X-Amzn-Trace-Id: Root=1-<8 digits>-<24 digits>;Parent=<16 digits>;Sampled=<0|1>`:
/// `xray` in `OTEL_PROPAGATORS`.
///
/// Without `Sampled`, or with a deferred decision (`?`), a request counts as not sampled. Unknown parts
/// are ignored. A header without `Parent` has no span and changes nothing.
///
/// X-Ray's own trace ids begin with the time. The ids of this crate are random by default, which X-Ray
/// accepts.
#[derive(Debug, Clone, Copy, Default)]
pub struct XRayPropagator;

impl Propagator for XRayPropagator {
    fn inject(&self, cx: &TraceContext, carrier: &mut dyn Injector) {
        if !cx.is_valid() {
            return;
        }
        let mut text =
            *b"Root=1-________-________________________;Parent=________________;Sampled=_";
        let [a, b, c, d, rest @ ..] = cx.trace_id().to_bytes();
        hex::encode(&[a, b, c, d], &mut text[7..15]);
        hex::encode(&rest, &mut text[16..40]);
        hex::encode(&cx.span_id().to_bytes(), &mut text[48..64]);
        text[73] = b'0' + u8::from(cx.is_sampled());
        carrier.set(
            X_AMZN_TRACE_ID,
            std::str::from_utf8(&text).unwrap_or_default(),
        );
    }

    fn extract(&self, parent: TraceContext, carrier: &dyn Extractor) -> TraceContext {
        match carrier.get(X_AMZN_TRACE_ID).and_then(short).and_then(parse) {
            Some((trace_id, span_id, flags)) => {
                adopt(parent, trace_id, span_id, flags).unwrap_or_else(|p| p)
            }
            None => parent,
        }
    }

    fn fields(&self) -> Vec<&'static str> {
        vec![X_AMZN_TRACE_ID]
    }
}

fn parse(text: &str) -> Option<([u8; 16], [u8; 8], TraceFlags)> {
    let (mut root, mut span) = (None, None);
    let mut flags = TraceFlags::default();
    for part in text.split(';').map(trim).filter(|part| !part.is_empty()) {
        let (key, value) = part.split_once('=')?;
        match (trim(key), trim(value)) {
            ("Root", value) => root = Some(parse_root(value)?),
            ("Parent", value) => span = Some(hex::decode(value.as_bytes())?),
            ("Sampled", "1") => flags = TraceFlags::SAMPLED,
            ("Sampled", "0" | "?" | "") => flags = TraceFlags::default(),
            ("Sampled", _) => return None,
            _ => {}
        }
    }
    Some((root?, span?, flags))
}

fn parse_root(text: &str) -> Option<[u8; 16]> {
    let (time, rest) = text.strip_prefix("1-")?.split_once('-')?;
    let [a, b, c, d] = hex::decode(time.as_bytes())?;
    let mut id = [0; 16];
    id[..4].copy_from_slice(&[a, b, c, d]);
    id[4..].copy_from_slice(&hex::decode::<12>(rest.as_bytes())?);
    Some(id)
}

fn trim(text: &str) -> &str {
    trim_blanks(text)
}
