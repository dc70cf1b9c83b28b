//! [`TextMapPropagatorAdapter`]: our propagators for code that asks the OpenTelemetry API for one.

use std::fmt;

use opentelemetry::Context;
use opentelemetry::propagation::text_map_propagator::FieldIter;
use opentelemetry::propagation::{
    Extractor as OtelExtractor, Injector as OtelInjector, TextMapPropagator,
};
use opentelemetry::trace::{SpanContext, TraceContextExt as _};

use super::convert::{from_context, with_baggage};
use crate::propagation::{self, Extractor, Injector, Propagator, Values};

/// A [`Propagator`] as one of the OpenTelemetry API.
///
/// Libraries such as reqwest-tracing use the API's global propagator, which writes nothing by default. A
/// pipeline does not set it, because it belongs to the whole process:
///
/// ```
/// use opentelemetry::global;
/// use tracing_otlp::otel::TextMapPropagatorAdapter;
///
/// # fn main() -> Result<(), tracing_otlp::Error> {
/// # let builder = tracing_otlp::builder().without_env();
/// let (layer, _guard) = builder.build()?;
/// // After the build, which sets the formats.
/// global::set_text_map_propagator(TextMapPropagatorAdapter::global());
/// # drop(layer);
/// # Ok(()) }
/// ```
pub struct TextMapPropagatorAdapter {
    propagator: Box<dyn Propagator>,
    fields: Vec<String>,
}

impl TextMapPropagatorAdapter {
    /// The propagator of the process, [`propagation::global()`], looked up at every call. Its
    /// [`fields`](TextMapPropagator::fields) are those of this moment.
    pub fn global() -> Self {
        Self::new(propagation::global())
    }

    /// Adapts `propagator`.
    pub fn new(propagator: impl Propagator) -> Self {
        let fields = propagator.fields().into_iter().map(str::to_owned).collect();
        Self {
            propagator: Box::new(propagator),
            fields,
        }
    }
}

impl TextMapPropagator for TextMapPropagatorAdapter {
    fn inject_context(&self, cx: &Context, injector: &mut dyn OtelInjector) {
        self.propagator
            .inject(&from_context(cx), &mut Written(injector));
    }

    fn extract_with_context(&self, cx: &Context, extractor: &dyn OtelExtractor) -> Context {
        let before = from_context(cx);
        let after = self
            .propagator
            .extract(before.clone(), &OtelCarrier(extractor));
        let (old, new) = (SpanContext::from(&before), SpanContext::from(&after));
        // The active span stays, unless the request names another.
        let context = match new.is_valid() && new != old {
            true => cx.with_remote_span_context(new),
            false => cx.clone(),
        };
        match after.baggage() == before.baggage() {
            true => context,
            false => with_baggage(context, after.baggage()),
        }
    }

    fn fields(&self) -> FieldIter<'_> {
        FieldIter::new(&self.fields)
    }
}

impl fmt::Debug for TextMapPropagatorAdapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TextMapPropagatorAdapter")
            .field("fields", &self.fields)
            .finish_non_exhaustive()
    }
}

struct Written<'a>(&'a mut dyn OtelInjector);

impl Injector for Written<'_> {
    fn set(&mut self, key: &str, value: &str) {
        self.0.set(key, value.to_owned());
    }
}

struct OtelCarrier<'a>(&'a dyn OtelExtractor);

impl Extractor for OtelCarrier<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)
    }

    fn get_all(&self, key: &str) -> Values<'_> {
        Values::from(self.0.get_all(key).unwrap_or_default())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use opentelemetry::baggage::BaggageExt as _;

    use super::*;
    use crate::config::PropagatorKind::{B3, Baggage, TraceContext};
    use crate::propagation::CompositePropagator;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn carrier(pairs: &[(&str, &str)]) -> HashMap<String, String> {
        let owned = pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        owned.collect()
    }

    /// PROP-1, PROP-2: what one service writes, the other reads, baggage included.
    #[test]
    fn a_context_of_the_api_goes_out_and_comes_in() {
        let kinds = [TraceContext, Baggage, B3];
        let adapter = TextMapPropagatorAdapter::new(CompositePropagator::new(&kinds));
        let incoming = carrier(&[("traceparent", PARENT), ("baggage", "user=7")]);
        let context = adapter.extract_with_context(&Context::new(), &incoming);
        assert!(context.span().span_context().is_remote());
        assert_eq!(context.baggage().get("user").map(|v| v.as_str()), Some("7"));
        let mut outgoing = HashMap::new();
        adapter.inject_context(&context, &mut outgoing);
        assert_eq!(
            outgoing.get("traceparent").map(String::as_str),
            Some(PARENT)
        );
        assert_eq!(outgoing.get("baggage").map(String::as_str), Some("user=7"));
        assert!(outgoing.contains_key("b3"));
        let fields: Vec<_> = adapter.fields().collect();
        assert!(
            fields.contains(&"traceparent") && fields.contains(&"b3"),
            "{fields:?}"
        );
    }

    #[test]
    fn what_says_nothing_changes_nothing() {
        let adapter = TextMapPropagatorAdapter::new(CompositePropagator::new(&[TraceContext]));
        let named = adapter.extract_with_context(
            &Context::new().with_value(42_u8),
            &carrier(&[("traceparent", PARENT)]),
        );
        assert_eq!(named.get::<u8>(), Some(&42), "other values stay");
        for nothing in [&[][..], &[("traceparent", "00-nonsense")]] {
            let same = adapter.extract_with_context(&named, &carrier(nothing));
            assert_eq!(same.span().span_context(), named.span().span_context());
            assert_eq!(same.get::<u8>(), Some(&42));
        }
    }
}
