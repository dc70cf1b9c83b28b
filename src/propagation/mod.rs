//! Sends a [`TraceContext`] along with a request, and reads the one that came with it.
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
//! A [`Propagator`] knows a format; [`Extractor`] and [`Injector`] are what a request is to it:
//! [`http::HeaderMap`], the maps of the standard library, the [`Environment`] of a process, or what
//! you write for a message queue.
//!
//! # Which formats, and who decides
//!
//! [`global()`] is what all of the process uses. Highest first (ENV-7, PROP-2):
//!
//! 1. [`set_global`], called at any time;
//! 2. [`OtlpBuilder::with_propagator`](crate::OtlpBuilder::with_propagator), once its pipeline is
//!    built;
//! 3. [`OtlpBuilder::with_propagators`](crate::OtlpBuilder::with_propagators), likewise;
//! 4. `OTEL_PROPAGATORS`, read when a pipeline is built, a disabled one too;
//! 5. W3C's trace context and baggage, also where no pipeline was ever built.
//!
//! A later pipeline replaces what an earlier one has set, if it names any propagator.
//!
//! # What comes from outside
//!
//! Foreign headers may say anything. What breaks its format counts as not there: a context is taken
//! whole or not at all, and nothing fails (PROP-1). At the edge of what you trust, do not extract:
//! then a trace begins there (W3C-10).

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

/// A format in which a [`TraceContext`] travels (PROP-1).
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

    /// `parent`, changed by what a request says. Where that is nothing, or nothing of use, it is
    /// `parent` as it was (PROP-1).
    fn extract(&self, parent: TraceContext, carrier: &dyn Extractor) -> TraceContext;

    /// What [`inject`](Self::inject) may [`set`](Injector::set): what a carrier that is used again
    /// must be cleared of.
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

/// A header's text without the blanks around it; `None` for one that is far longer than its format is,
/// whose sender may only want it to be looked through.
fn short(text: &str) -> Option<&str> {
    const LONGEST: usize = 1024;
    (text.len() <= LONGEST).then(|| text.trim_matches([' ', '\t']))
}

/// The context that a header of another format than W3C's names, if it names one.
///
/// Such headers know neither trace state nor the random flag, and not all know the debug flag. Where
/// `parent` is the very span, as when a caller sends several formats, its own stay.
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
