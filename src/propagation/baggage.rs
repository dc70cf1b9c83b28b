//! W3C Baggage: the `baggage` header.

use super::header::BAGGAGE;
use super::{Extractor, Injector, Propagator};
use crate::context::{Baggage, TraceContext};

/// W3C's `baggage`: `baggage` in `OTEL_PROPAGATORS`. Works with and without a trace.
///
/// The baggage of a request replaces that of the parent; a request without a valid member changes
/// nothing. Without baggage, `inject` [removes](Injector::remove) the header. [`Baggage::parse`] and
/// [`Baggage::to_header`] list the members that are left out.
#[derive(Debug, Clone, Copy, Default)]
pub struct BaggagePropagator;

impl Propagator for BaggagePropagator {
    fn inject(&self, cx: &TraceContext, carrier: &mut dyn Injector) {
        if cx.baggage().is_empty() {
            return carrier.remove(BAGGAGE);
        }
        match cx.baggage().to_header() {
            text if text.is_empty() => carrier.remove(BAGGAGE),
            text => carrier.set(BAGGAGE, &text),
        }
    }

    fn extract(&self, parent: TraceContext, carrier: &dyn Extractor) -> TraceContext {
        let baggage = Baggage::join(carrier.get_all(BAGGAGE));
        if baggage.is_empty() {
            return parent;
        }
        parent.with_baggage(baggage)
    }

    fn fields(&self) -> Vec<&'static str> {
        vec![BAGGAGE]
    }
}
