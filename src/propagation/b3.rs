//! B3, Zipkin's format: one header or several.

use super::header::{B3, B3_FLAGS, B3_PARENT_SPAN_ID, B3_SAMPLED, B3_SPAN_ID, B3_TRACE_ID};
use super::{Extractor, Injector, Propagator, adopt, short};
use crate::context::{TraceContext, TraceFlags};
use crate::text::hex;

/// Zipkin's B3: `b3` and `b3multi` in `OTEL_PROPAGATORS`.
///
/// Both forms are read: the single header first, then the multiple ones. A 64-bit trace id is padded
/// with zeros to 128 bits. The debug flag is kept ([`TraceFlags::DEBUG`]) and implies sampled. A
/// deferred decision counts as not sampled, as in other OpenTelemetry libraries; `b3: 0` alone has no
/// trace, so it is ignored. The parent's id is validated, and never sent. `inject` removes headers of the
/// other form, unless another propagator of the same composite wrote them.
///
/// ```
/// use tracing_otlp::TraceContext;
/// use tracing_otlp::propagation::{B3Propagator, Propagator as _};
///
/// let text = "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-d";
/// let incoming = vec![("b3".to_owned(), text.to_owned())];
/// let caller = B3Propagator::single().extract(TraceContext::default(), &incoming);
/// assert!(caller.is_sampled() && caller.flags().is_debug());
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct B3Propagator {
    is_multi: bool,
}

impl B3Propagator {
    /// Sends the single header `b3`: the default.
    pub const fn single() -> Self {
        Self { is_multi: false }
    }

    /// Sends `X-B3-TraceId`, `X-B3-SpanId`, and `X-B3-Sampled` or `X-B3-Flags`.
    pub const fn multi() -> Self {
        Self { is_multi: true }
    }
}

impl Propagator for B3Propagator {
    fn inject(&self, cx: &TraceContext, carrier: &mut dyn Injector) {
        if !cx.is_valid() {
            return;
        }
        let sampled = match cx.flags() {
            flags if flags.is_debug() => b'd',
            flags if flags.is_sampled() => b'1',
            _ => b'0',
        };
        let mut text = *b"________________________________-________________-_";
        hex::encode(&cx.trace_id().to_bytes(), &mut text[..32]);
        hex::encode(&cx.span_id().to_bytes(), &mut text[33..49]);
        text[50] = sampled;
        let text = std::str::from_utf8(&text).unwrap_or_default();
        // A receiver would read headers of the other form first, or mix them with these.
        carrier.remove(B3_PARENT_SPAN_ID);
        if !self.is_multi {
            MULTI.into_iter().for_each(|key| carrier.remove(key));
            return carrier.set(B3, text);
        }
        carrier.remove(B3);
        carrier.set(B3_TRACE_ID, &text[..32]);
        carrier.set(B3_SPAN_ID, &text[33..49]);
        if sampled == b'd' {
            // Debug implies sampled, and B3 then omits `X-B3-Sampled`.
            carrier.remove(B3_SAMPLED);
            carrier.set(B3_FLAGS, "1");
        } else {
            carrier.remove(B3_FLAGS);
            carrier.set(B3_SAMPLED, &text[50..]);
        }
    }

    fn extract(&self, parent: TraceContext, carrier: &dyn Extractor) -> TraceContext {
        match carrier.get(B3).and_then(short) {
            // The decision "not sampled" without a trace.
            Some("0") => return parent,
            Some(text) => {
                if let Some((trace_id, span_id, flags)) = single(text) {
                    return adopt(parent, trace_id, span_id, flags).unwrap_or_else(|p| p);
                }
            }
            None => {}
        }
        match multi(carrier) {
            Some((trace_id, span_id, flags)) => {
                adopt(parent, trace_id, span_id, flags).unwrap_or_else(|p| p)
            }
            None => parent,
        }
    }

    fn fields(&self) -> Vec<&'static str> {
        if self.is_multi {
            MULTI.to_vec()
        } else {
            vec![B3]
        }
    }
}

const MULTI: [&str; 4] = [B3_TRACE_ID, B3_SPAN_ID, B3_SAMPLED, B3_FLAGS];

type B3Ids = ([u8; 16], [u8; 8], TraceFlags);

fn single(text: &str) -> Option<B3Ids> {
    let mut parts = text.split('-');
    let ids = (trace_id(parts.next()?)?, span_id(parts.next()?)?);
    let flags = match parts.next() {
        None | Some("0") => TraceFlags::default(),
        Some("1") => TraceFlags::SAMPLED,
        Some("d") => TraceFlags::DEBUG,
        Some(_) => return None,
    };
    if let Some(parent) = parts.next() {
        span_id(parent)?;
    }
    parts.next().is_none().then_some((ids.0, ids.1, flags))
}

fn multi(carrier: &dyn Extractor) -> Option<B3Ids> {
    // An oversized value counts as invalid, not as absent.
    let get = |key| carrier.get(key).map(|text| short(text).unwrap_or("?"));
    let ids = (trace_id(get(B3_TRACE_ID)?)?, span_id(get(B3_SPAN_ID)?)?);
    let sampled = match get(B3_SAMPLED) {
        // Older tracers send words.
        Some("1" | "true") => TraceFlags::SAMPLED,
        None | Some("0" | "false") => TraceFlags::default(),
        Some(_) => return None,
    };
    let flags = match get(B3_FLAGS) {
        Some("1") => TraceFlags::DEBUG,
        None | Some("0") => sampled,
        Some(_) => return None,
    };
    if let Some(parent) = get(B3_PARENT_SPAN_ID) {
        span_id(parent)?;
    }
    Some((ids.0, ids.1, flags))
}

/// 32 digits, or 16 for the right half (B3-1).
fn trace_id(text: &str) -> Option<[u8; 16]> {
    if text.len() == 32 {
        return hex::decode(text.as_bytes());
    }
    let half = span_id(text)?;
    Some(u128::from(u64::from_be_bytes(half)).to_be_bytes())
}

fn span_id(text: &str) -> Option<[u8; 8]> {
    hex::decode(text.as_bytes())
}
