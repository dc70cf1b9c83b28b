//! [`CallSpan`]: a request's span and the fields that its end records.

use once_cell::race::OnceBox;
use tracing::field::{Field, Value};
use tracing::{Metadata, Span};

/// The fields that the end of a call records. A kind of span has no field of the other protocol.
pub(super) const LATE: [&str; 8] = [
    "otel.status_code",
    "otel.status_description",
    "error.type",
    "http.response.status_code",
    "rpc.status_code",
    "http.response.body.size",
    "tracing_otlp.time_to_first_byte",
    "network.protocol.version",
];

/// The fields of [`LATE`] that a callsite has, found by their names once.
#[derive(Debug)]
pub(super) struct LateFields(OnceBox<[Option<Field>; LATE.len()]>);

impl LateFields {
    pub(super) const fn new() -> Self {
        Self(OnceBox::new())
    }

    fn of(&self, metadata: &'static Metadata<'static>) -> &[Option<Field>; LATE.len()] {
        self.0
            .get_or_init(|| Box::new(LATE.map(|name| metadata.fields().field(name))))
    }
}

/// A span with the late fields of its callsite.
#[derive(Debug, Clone)]
pub(super) struct CallSpan {
    pub(super) span: Span,
    pub(super) late: &'static LateFields,
}

impl CallSpan {
    /// The span of a call without one.
    pub(super) fn none() -> Self {
        static NONE: LateFields = LateFields::new();
        Self {
            span: Span::none(),
            late: &NONE,
        }
    }

    /// Records `values`, in the order of [`LATE`]; a field that the span has not is left out.
    pub(super) fn record_late(&self, values: [&dyn Value; LATE.len()]) {
        let Some(metadata) = self.span.metadata() else {
            return;
        };
        let fields = self.late.of(metadata);
        let Some(any) = fields.iter().flatten().next() else {
            return;
        };
        // A set of values has a constant length; it skips a field without a value.
        let mut pairs = [(any, None); LATE.len()];
        for ((pair, field), value) in pairs.iter_mut().zip(fields).zip(values) {
            if let Some(field) = field {
                *pair = (field, Some(value));
            }
        }
        self.span.record_all(&metadata.fields().value_set(&pairs));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};

    use http::Request;
    use tracing::field::Empty;
    use tracing::{Level, Subscriber, span};
    use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

    use super::super::call::Call;
    use super::super::call_status::{CallProtocol, Ending, Role};
    use super::super::head::RequestHead;
    use super::super::options::LayerSettings;
    use super::super::spans::span_at;
    use super::*;

    #[derive(Clone, Default)]
    struct Recorded(Arc<Mutex<BTreeMap<&'static str, String>>>);

    impl<S: Subscriber> Layer<S> for Recorded {
        fn on_record(&self, _: &span::Id, values: &span::Record<'_>, _: Context<'_, S>) {
            let mut recorded = self.0.lock().unwrap();
            values.record(&mut |field: &Field, value: &dyn std::fmt::Debug| {
                recorded.insert(field.name(), format!("{value:?}"));
            });
        }
    }

    /// What the end of a failed call records in this span.
    fn recorded(span: impl FnOnce() -> CallSpan) -> BTreeMap<&'static str, String> {
        let layer = Recorded::default();
        let subscriber = tracing_subscriber::registry().with(layer.clone());
        tracing::subscriber::with_default(subscriber, || {
            let request = Request::get("/").body(()).unwrap();
            let head = RequestHead::of(&request);
            let settings = Arc::new(LayerSettings::<()>::default());
            let mut call = Call::new(settings, Role::Server, CallProtocol::Http, &head);
            call.put_in_span(span());
            call.end(Ending::Failed {
                kind: "shop::Error",
                message: &"out of stock",
            });
        });
        layer.0.lock().unwrap().clone()
    }

    #[test]
    fn late_fields_are_found_by_their_names() {
        let expected = [
            ("error.type", "\"shop::Error\""),
            ("otel.status_code", "\"error\""),
            ("otel.status_description", "\"out of stock\""),
        ];
        let expected: BTreeMap<_, _> = expected.map(|(k, v)| (k, v.to_owned())).into();
        let in_another_order = || {
            span_at!(
                Level::INFO,
                "test",
                "in another order",
                http.route = "/",
                network.protocol.version = Empty,
                error.type = Empty,
                http.response.status_code = Empty,
                otel.status_description = Empty,
                otel.status_code = Empty,
                http.response.body.size = Empty,
                tracing_otlp.time_to_first_byte = Empty,
            )
        };
        assert_eq!(recorded(in_another_order), expected);
        let with_few = || {
            span_at!(
                Level::INFO,
                "test",
                "with few",
                otel.status_description = Empty,
                error.type = Empty,
                otel.status_code = Empty,
            )
        };
        assert_eq!(recorded(with_few), expected);
        let with_none = || span_at!(Level::INFO, "test", "with none", http.route = "/");
        assert_eq!(recorded(with_none), BTreeMap::new());
    }
}
