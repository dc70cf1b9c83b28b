//! W3C Trace Context: `traceparent` and `tracestate`.

use super::header::{TRACEPARENT, TRACESTATE};
use super::{Extractor, Injector, Propagator};
use crate::context::{TraceContext, TraceFlags, TraceState};

/// W3C's `traceparent` and `tracestate`: `tracecontext` in `OTEL_PROPAGATORS`.
///
/// A `traceparent` that breaks the format, or that occurs twice, counts as absent, and `tracestate` with
/// it. A `tracestate` that breaks the format is discarded whole; `traceparent` still counts.
///
/// For a context without trace state, `inject` [removes](Injector::remove) `tracestate`: that of another
/// request belongs to another trace.
#[derive(Debug, Clone, Copy, Default)]
pub struct TraceContextPropagator;

impl Propagator for TraceContextPropagator {
    fn inject(&self, cx: &TraceContext, carrier: &mut dyn Injector) {
        if !cx.is_valid() {
            return;
        }
        carrier.set(TRACEPARENT, &cx.to_traceparent());
        match cx.trace_state() {
            state if state.is_empty() => carrier.remove(TRACESTATE),
            state => carrier.set(TRACESTATE, state.as_str()),
        }
    }

    fn extract(&self, parent: TraceContext, carrier: &dyn Extractor) -> TraceContext {
        let mut values = carrier.get_all(TRACEPARENT);
        let (Some(text), None) = (values.next(), values.next()) else {
            return parent;
        };
        let Ok(cx) = TraceContext::from_traceparent(text) else {
            return parent;
        };
        // Values of the same span from another format stay, as in `adopt`.
        let is_same = (parent.trace_id(), parent.span_id()) == (cx.trace_id(), cx.span_id());
        let mut flags = cx.flags();
        if is_same && parent.flags().is_debug() && flags.is_sampled() {
            flags = flags.with(TraceFlags::DEBUG);
        }
        let state = TraceState::join(carrier.get_all(TRACESTATE)).unwrap_or_default();
        cx.with_flags(flags)
            .with_trace_state(state)
            .with_baggage(parent.baggage().clone())
    }

    fn fields(&self) -> Vec<&'static str> {
        vec![TRACEPARENT, TRACESTATE]
    }
}
