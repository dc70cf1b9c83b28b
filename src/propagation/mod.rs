//! Propagation: writes a [`TraceContext`] into a request, and reads it on the other side.
//!
//! ```
//! use tracing_otlp::TraceContext;
//! use tracing_otlp::propagation::{self, Propagator as _};
//!
//! let mut incoming = http::HeaderMap::new();
//! let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
//! incoming.insert("traceparent", text.parse()?);
//!
//! let caller = propagation::global().extract(TraceContext::default(), &incoming);
//! assert!(caller.is_valid() && caller.is_remote());
//!
//! let mut outgoing = http::HeaderMap::new();
//! propagation::global().inject(&caller, &mut outgoing);
//! assert_eq!(outgoing["traceparent"], text);
//! # Ok::<(), http::header::InvalidHeaderValue>(())
//! ```
//!
//! A [`Propagator`] implements a format. It reads and writes a request by [`Extractor`] and [`Injector`],
//! which [`http::HeaderMap`], the maps of the standard library and the [`Environment`] of a process
//! implement; for a message queue you implement them.
//!
//! # Which formats, and who decides
//!
//! [`global()`] is the propagator of the process. Its source, highest precedence first:
//!
//! 1. [`set_global`], called at any time;
//! 2. [`OtlpBuilder::with_propagator`](crate::OtlpBuilder::with_propagator), once its pipeline is
//!    built;
//! 3. [`OtlpBuilder::with_propagators`](crate::OtlpBuilder::with_propagators), likewise;
//! 4. `OTEL_PROPAGATORS`, read when a pipeline is built, a disabled one too;
//! 5. W3C's trace context and baggage, also without a pipeline.
//!
//! A later pipeline with a propagator of its own replaces that of an earlier one.
//!
//! # Untrusted headers
//!
//! A header that breaks its format counts as absent: a context is read whole or not at all, and nothing
//! fails. Do not extract contexts from untrusted callers: then their requests begin new traces.

mod b3;
mod baggage;
mod carrier;
mod composite;
mod environment;
mod global;
mod header;
mod jaeger;
mod trace_context;
mod xray;

#[cfg(test)]
mod tests;

pub use b3::B3Propagator;
pub use baggage::BaggagePropagator;
pub use carrier::{Extractor, Injector, Values};
pub use composite::CompositePropagator;
pub use environment::Environment;
pub(crate) use global::set_by_pipeline;
pub use global::{GlobalPropagator, global, set_global};
pub use jaeger::JaegerPropagator;
pub use trace_context::TraceContextPropagator;
pub use xray::XRayPropagator;

use crate::context::{SpanId, TraceContext, TraceFlags, TraceId};
use crate::text::trim_blanks;

/// A format of a [`TraceContext`] in requests.
///
/// ```
/// use tracing_otlp::TraceContext;
/// use tracing_otlp::propagation::{Extractor, Injector, Propagator};
///
/// /// Sends the trace's id alone, for people who search logs.
/// struct TraceIdHeader;
///
/// impl Propagator for TraceIdHeader {
///     fn inject(&self, cx: &TraceContext, carrier: &mut dyn Injector) {
///         if cx.is_valid() {
///             carrier.set("x-trace-id", &cx.trace_id().to_string());
///         }
///     }
///
///     fn extract(&self, parent: TraceContext, _: &dyn Extractor) -> TraceContext {
///         parent
///     }
///
///     fn fields(&self) -> Vec<&'static str> {
///         vec!["x-trace-id"]
///     }
/// }
/// ```
pub trait Propagator: Send + Sync + 'static {
    /// Writes `cx` into a request. A context without a trace writes none, but may write baggage.
    fn inject(&self, cx: &TraceContext, carrier: &mut dyn Injector);

    /// Reads the context of a request. Returns `parent` with the request's values in place of its own, or
    /// unchanged if the request has no valid ones.
    fn extract(&self, parent: TraceContext, carrier: &dyn Extractor) -> TraceContext;

    /// The fields that [`inject`](Self::inject) may [`set`](Injector::set). A reused carrier must be
    /// cleared of them.
    fn fields(&self) -> Vec<&'static str>;
}

impl<P: Propagator + ?Sized> Propagator for Box<P> {
    fn inject(&self, cx: &TraceContext, carrier: &mut dyn Injector) {
        (**self).inject(cx, carrier);
    }

    fn extract(&self, parent: TraceContext, carrier: &dyn Extractor) -> TraceContext {
        (**self).extract(parent, carrier)
    }

    fn fields(&self) -> Vec<&'static str> {
        (**self).fields()
    }
}

/// A header's text without the blanks around it; `None` if it is far longer than its format allows, so
/// that a client cannot make the server parse long texts.
fn short(text: &str) -> Option<&str> {
    const LONGEST: usize = 1024;
    (text.len() <= LONGEST).then(|| trim_blanks(text))
}

/// The context of a header in another format than W3C's; `Err(parent)` if an id is invalid.
///
/// Such formats have neither trace state nor the random flag, and some have no debug flag. If `parent` is
/// the same span, because the caller sent several formats, it keeps its own.
fn adopt(
    parent: TraceContext,
    trace_id: [u8; 16],
    span_id: [u8; 8],
    flags: TraceFlags,
) -> Result<TraceContext, TraceContext> {
    let trace_id = TraceId::from_bytes(trace_id);
    let span_id = SpanId::from_bytes(span_id);
    if !trace_id.is_valid() || !span_id.is_valid() {
        return Err(parent);
    }
    if parent.trace_id() == trace_id && parent.span_id() == span_id {
        let mut flags = flags.with(parent.flags().without(TraceFlags::DEBUG));
        if flags.is_sampled() && parent.flags().is_debug() {
            flags = flags.with(TraceFlags::DEBUG);
        }
        return Ok(parent.with_flags(flags).with_remote(true));
    }
    Ok(TraceContext::new(trace_id, span_id, flags)
        .with_remote(true)
        .with_baggage(parent.baggage().clone()))
}
