//! [`OpenTelemetrySpanExt`]: the trait of `tracing-opentelemetry`, by name and signature.

use std::borrow::Cow;
use std::time::SystemTime;

use opentelemetry::trace::{SpanContext, Status};
use opentelemetry::{Context, Key, KeyValue, Value};
use tracing::{Dispatch, Span, span};

use super::activation;
use super::convert::{LayerSpan, from_context, key_values};
use crate::context::{SetParentError, layer_registry};
use crate::span_ext::SpanExt;

/// The trait of the same name in `tracing-opentelemetry`: a migration changes imports alone. It works on
/// the same spans as [`SpanExt`](crate::SpanExt), which needs no `opentelemetry`.
///
/// ```
/// use opentelemetry::trace::{Status, TraceContextExt as _};
/// use tracing_otlp::otel::OpenTelemetrySpanExt as _;
///
/// let span = tracing::info_span!("request");
/// let _ = span.set_parent(opentelemetry::Context::current());
/// span.set_attribute("http.route", "/users/{id}");
/// span.set_status(Status::error("broken"));
/// let trace_id = span.context().span().span_context().trace_id();
/// ```
pub trait OpenTelemetrySpanExt: sealed::Sealed {
    /// Makes the active span of `cx` the parent, and adopts its baggage; see
    /// [`SpanExt::set_parent`](crate::SpanExt::set_parent). Other values of the context do not count.
    ///
    /// # Errors
    ///
    /// As there: if the span has a child, is not recorded, or has ended.
    fn set_parent(&self, cx: Context) -> Result<(), SetParentError>;

    /// Adds a link to another span.
    fn add_link(&self, cx: SpanContext);

    /// Adds a link with attributes of its own.
    fn add_link_with_attributes(&self, cx: SpanContext, attributes: Vec<KeyValue>);

    /// The current context with this span as its active span, which passes calls on to this span.
    #[must_use]
    fn context(&self) -> Context;

    /// Sets an attribute, also one that is no field of the span.
    fn set_attribute(&self, key: impl Into<Key>, value: impl Into<Value>)
    where
        Self: Sized;

    /// Sets the status: `Ok` is final, an error gives way only to `Ok`.
    fn set_status(&self, status: Status);

    /// Adds an event that happens now.
    fn add_event(&self, name: impl Into<Cow<'static, str>>, attributes: Vec<KeyValue>)
    where
        Self: Sized;

    /// Adds an event that happened at another time.
    fn add_event_with_timestamp(
        &self,
        name: impl Into<Cow<'static, str>>,
        timestamp: SystemTime,
        attributes: Vec<KeyValue>,
    ) where
        Self: Sized;
}

impl OpenTelemetrySpanExt for Span {
    fn set_parent(&self, cx: Context) -> Result<(), SetParentError> {
        SpanExt::set_parent(self, from_context(&cx))
    }

    fn add_link(&self, cx: SpanContext) {
        SpanExt::add_link(self, (&cx).into());
    }

    fn add_link_with_attributes(&self, cx: SpanContext, attributes: Vec<KeyValue>) {
        let attributes = key_values(attributes);
        SpanExt::add_link_with_attributes(self, (&cx).into(), &attributes);
    }

    fn context(&self) -> Context {
        let found = self.with_subscriber(|(id, dispatch)| get_otel_context(id, dispatch));
        match found.flatten() {
            Some(context) => context,
            None => super::to_context(&self.trace_context()),
        }
    }

    fn set_attribute(&self, key: impl Into<Key>, value: impl Into<Value>) {
        self.set_attributes(&[KeyValue::new(key, value).into()]);
    }

    fn set_status(&self, status: Status) {
        SpanExt::set_status(self, status.into());
    }

    fn add_event(&self, name: impl Into<Cow<'static, str>>, attributes: Vec<KeyValue>) {
        SpanExt::add_event(self, &name.into(), &key_values(attributes));
    }

    fn add_event_with_timestamp(
        &self,
        name: impl Into<Cow<'static, str>>,
        timestamp: SystemTime,
        attributes: Vec<KeyValue>,
    ) {
        self.add_event_with_time(&name.into(), timestamp, &key_values(attributes));
    }
}

/// The OpenTelemetry context of a span, for other layers; `None` if this subscriber does not record the span.
pub fn get_otel_context(id: &span::Id, dispatch: &Dispatch) -> Option<Context> {
    let (layer, context) = layer_registry::find(dispatch, id.into_u64())?;
    let span = id.into_u64();
    let active = activation::active(layer, span, &context);
    // So that a span made under it, on any thread, finds its parent.
    Some(active.with_value(LayerSpan { layer, span }))
}

mod sealed {
    pub trait Sealed {}

    impl Sealed for tracing::Span {}
}
