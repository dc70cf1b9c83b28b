//! W3C Baggage: the `baggage` header.

use super::header::BAGGAGE;
use super::{Extractor, Injector, Propagator};
use crate::context::{Baggage, TraceContext};

/// W3C's `baggage` (BAG-1, BAG-2): `baggage` in `OTEL_PROPAGATORS`. Works with and without a trace.
///
/// What a request brings replaces all baggage there was; a request without a member that can be
/// read leaves it. Without baggage, the header is [removed](Injector::remove).
/// [`Baggage::parse`] and [`Baggage::to_header`] say what is left out.
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
