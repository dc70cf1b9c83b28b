//! [`SpanExt`]: what a `tracing::Span` gains.

use std::error::Error;
use std::time::SystemTime;

use tracing::Span;
use tracing_core::Metadata;

use crate::attribute::{KeyValue, Value};
use crate::context::layer_registry::{self, Change, Spans};
use crate::context::registry_lookup::{self, registry_of};
use crate::context::{self, SetParentError, TraceContext};
use crate::span_data::Status;

/// What OpenTelemetry knows of spans and `tracing` does not: contexts, parents from elsewhere, links,
/// attributes that were not declared, status, and an end before the close.
///
/// It works behind per-layer filters, boxed layers and `reload::Layer`, before and after a span was
/// entered, on any thread. On a span that is disabled or not recorded, what is said is left out;
/// what is said after [`end`](Self::end) is ignored and counted
/// ([`Stats::after_end`](crate::Stats::after_end), TR-10). With two layers of this crate in one
/// subscriber, it is said to both.
///
/// ```
/// use tracing::info_span;
/// use tracing_otlp::{KeyValue, SpanExt as _, Status};
///
/// let span = info_span!("checkout");
/// span.set_attribute("cart.items", 3_i64);
/// span.add_event("coupon.applied", &[KeyValue::new("coupon.code", "SPRING")]);
/// span.set_status(Status::error("card declined"));
/// ```
pub trait SpanExt: sealed::Sealed {
    /// The context of this span: what to tell those that it calls.
    ///
    /// For a span that a filter hides from the layer it is that of the nearest ancestor that is not
    /// hidden; for a disabled span, what is current on this thread ([`context::current`]). Without
    /// either it is not [valid](TraceContext::is_valid).
    fn trace_context(&self) -> TraceContext;

    /// Makes this span a child of `parent`, for instance of the caller in another service.
    ///
    /// It then belongs to the parent's trace, and whether it is sampled is decided again, by that
    /// parent; a sampler that is asked sees the attributes as the span keeps them, within its limits. A root that its own sampler had dropped kept what it was created with, unless the last
    /// 128 such roots of its callsite were all left without a parent. A span that was unsampled because
    /// of its local parent kept nothing, and is recorded from here on. A `parent` that is not valid
    /// changes the baggage and nothing else.
    ///
    /// # Errors
    ///
    /// [`SetParentError::HasChildren`] once a child was made: it carries the trace that the span had
    /// then. Also where the span is not recorded here, or was ended, and for its own context. The span
    /// stays as it was.
    ///
    /// ```
    /// use tracing_otlp::{SpanExt as _, TraceContext};
    ///
    /// # fn extracted() -> TraceContext { TraceContext::default() }
    /// let span = tracing::info_span!("handle", otel.kind = "server");
    /// if let Err(error) = span.set_parent(extracted()) {
    ///     tracing::debug!(%error, "the request's own trace is used");
    /// }
    /// ```
    fn set_parent(&self, parent: TraceContext) -> Result<(), SetParentError>;

    /// Adds a link to another span (TR-12).
    fn add_link(&self, to: TraceContext) {
        self.add_link_with_attributes(to, &[]);
    }

    /// Adds a link with attributes of its own.
    fn add_link_with_attributes(&self, to: TraceContext, attributes: &[KeyValue]);

    /// Sets an attribute, also one that is no field of the span; replaces an earlier value (TR-8).
    fn set_attribute(&self, key: impl Into<std::borrow::Cow<'static, str>>, value: impl Into<Value>)
    where
        Self: Sized,
    {
        self.set_attributes(&[KeyValue::new(key, value)]);
    }

    /// Sets several attributes.
    fn set_attributes(&self, attributes: &[KeyValue]);

    /// Sets the status: `Ok` is final, an error gives way only to `Ok`, `Unset` changes nothing
    /// (TR-7).
    fn set_status(&self, status: Status);

    /// Adds an event that happens now.
    fn add_event(&self, name: &str, attributes: &[KeyValue]);

    /// Adds an event that happened at another time.
    fn add_event_with_time(&self, name: &str, time: SystemTime, attributes: &[KeyValue]);

    /// Adds an event `exception` with the error's message and its causes (TR-14). The status is left
    /// to [`set_status`](Self::set_status): an error that was handled is none of the span.
    fn record_error(&self, error: &(dyn Error + 'static));

    /// Names the span anew, as `otel.name` does.
    fn update_name(&self, name: &str);

    /// Ends the span now, whatever still holds it: it is sealed and handed on. As a parent it still
    /// works; what else is said of it later is ignored (TR-10).
    ///
    /// Without this a span ends when it was left for the last time, or when it closes if it was never
    /// entered; and it waits for its last child to be handed on.
    fn end(&self);

    /// Ends the span at a given time, not before its start.
    fn end_with_time(&self, time: SystemTime);

    /// Whether what is said of the span is kept: it is sampled, or recorded for this process alone,
    /// and has not ended.
    fn is_recording(&self) -> bool;
}

impl SpanExt for Span {
    fn trace_context(&self) -> TraceContext {
        let found = self.with_subscriber(|(id, dispatch)| {
            registry_lookup::context(dispatch, id, self.metadata()?)
        });
        match found {
            Some(found) => found.unwrap_or_default(),
            None => context::current(),
        }
    }

    fn set_parent(&self, parent: TraceContext) -> Result<(), SetParentError> {
        let mut result = Ok(());
        let found = each(self, |spans, id, metadata| {
            result = result.and(spans.set_parent(id, metadata, &parent));
        });
        match found {
            Found::Here => result,
            Found::NotRecorded => Err(SetParentError::SpanDisabled),
            Found::NoLayer => Err(SetParentError::LayerNotFound),
        }
    }

    fn add_link_with_attributes(&self, to: TraceContext, attributes: &[KeyValue]) {
        change(self, &Change::Link(&to, attributes));
    }

    fn set_attributes(&self, attributes: &[KeyValue]) {
        change(self, &Change::Attributes(attributes));
    }

    fn set_status(&self, status: Status) {
        change(self, &Change::Status(&status));
    }

    fn add_event(&self, name: &str, attributes: &[KeyValue]) {
        let at = None;
        let event = Change::Event {
            name,
            at,
            attributes,
        };
        change(self, &event);
    }

    fn add_event_with_time(&self, name: &str, time: SystemTime, attributes: &[KeyValue]) {
        let at = Some(time);
        let event = Change::Event {
            name,
            at,
            attributes,
        };
        change(self, &event);
    }

    fn record_error(&self, error: &(dyn Error + 'static)) {
        change(self, &Change::Error(error));
    }

    fn update_name(&self, name: &str) {
        change(self, &Change::Name(name));
    }

    fn end(&self) {
        each(self, |spans, id, _| spans.end(id, None));
    }

    fn end_with_time(&self, time: SystemTime) {
        each(self, |spans, id, _| spans.end(id, Some(time)));
    }

    fn is_recording(&self) -> bool {
        let mut recording = false;
        each(self, |spans, id, _| recording |= spans.is_recording(id));
        recording
    }
}

/// Whether a layer of this crate has the span, recorded or not: its context then counts as current
/// within it.
#[cfg(feature = "tower")]
pub(crate) fn is_known(span: &Span) -> bool {
    matches!(each(span, |_, _, _| ()), Found::Here)
}

fn change(span: &Span, change: &Change<'_>) {
    each(span, |spans, id, _| spans.change(id, change));
}

/// Who knows a span.
enum Found {
    Here,
    NotRecorded,
    NoLayer,
}

/// Calls `f` with each layer that has the span open.
fn each(span: &Span, mut f: impl FnMut(&dyn Spans, u64, &'static Metadata<'static>)) -> Found {
    let found = span.with_subscriber(|(id, dispatch)| {
        let Some(metadata) = span.metadata() else {
            return Found::NotRecorded;
        };
        let id = id.into_u64();
        if layer_registry::each(dispatch, id, metadata, |spans| f(spans, id, metadata)) {
            Found::Here
        } else if layer_registry::any(registry_of(dispatch)) {
            Found::NotRecorded
        } else {
            Found::NoLayer
        }
    });
    found.unwrap_or(Found::NotRecorded)
}

mod sealed {
    pub trait Sealed {}

    impl Sealed for tracing::Span {}
}
