//! [`SpanExt`]: OpenTelemetry's operations on a `tracing::Span`.

use std::error::Error;
use std::time::SystemTime;

use tracing::Span;
use tracing_core::Metadata;

use crate::attribute::{KeyValue, Value};
#[cfg(feature = "tower")]
use crate::context::layer_registry::Exception;
use crate::context::layer_registry::{self, Change, Spans};
use crate::context::registry_address::registry_of;
use crate::context::registry_lookup;
use crate::context::{self, SetParentError, TraceContext};
use crate::span_data::Status;

/// OpenTelemetry's span operations that `tracing` lacks: contexts, remote parents, links, undeclared
/// attributes, status, and an end before the close.
///
/// The methods work behind per-layer filters, boxed layers and `reload::Layer`, before and after the
/// span is entered, on any thread. On a disabled or unrecorded span they do nothing. A call after
/// [`end`](Self::end) is ignored and counted ([`Stats::after_end`](crate::Stats::after_end)). With two
/// layers of this crate in one subscriber, a call applies to both.
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
    /// The context of this span, for the headers of requests that it makes.
    ///
    /// If a filter hides the span from the layer, the context is that of the nearest visible ancestor;
    /// for a disabled span, the current context of this thread ([`context::current`]). Without either
    /// it is not [valid](TraceContext::is_valid).
    fn trace_context(&self) -> TraceContext;

    /// Makes this span a child of `parent`, for instance of the caller in another service.
    ///
    /// The span then belongs to the parent's trace, and the sampler decides again with that parent. It
    /// sees the attributes as the span keeps them, within the span's limits. A root that its sampler
    /// dropped keeps the attributes of its creation for this, unless the last 128 such roots of its
    /// callsite got no parent. A span that is unsampled because of its local parent keeps nothing, and
    /// is recorded from this call on. A `parent` that is not valid changes the baggage alone.
    ///
    /// # Errors
    ///
    /// [`SetParentError::HasChildren`] if the span has children: they carry its present trace. Also if
    /// the span is not recorded here, has ended, or is given its own context. After an error the span
    /// is unchanged.
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

    /// Adds a link to another span.
    fn add_link(&self, to: TraceContext) {
        self.add_link_with_attributes(to, &[]);
    }

    /// Adds a link to another span, with attributes.
    fn add_link_with_attributes(&self, to: TraceContext, attributes: &[KeyValue]);

    /// Sets an attribute, also without a field of that name; replaces an earlier value.
    fn set_attribute(&self, key: impl Into<std::borrow::Cow<'static, str>>, value: impl Into<Value>)
    where
        Self: Sized,
    {
        self.set_attributes(&[KeyValue::new(key, value)]);
    }

    /// Sets several attributes, as [`set_attribute`](Self::set_attribute) does.
    fn set_attributes(&self, attributes: &[KeyValue]);

    /// Sets the status: `Ok` is final, `Ok` alone replaces `Error`, `Unset` changes nothing.
    fn set_status(&self, status: Status);

    /// Adds an event with the present time.
    fn add_event(&self, name: &str, attributes: &[KeyValue]);

    /// Adds an event with the given time.
    fn add_event_with_time(&self, name: &str, time: SystemTime, attributes: &[KeyValue]);

    /// Adds an `exception` event with the error's message and causes. The status stays, because a
    /// handled error is not an error of the span; see [`set_status`](Self::set_status).
    fn record_error(&self, error: &(dyn Error + 'static));

    /// Changes the span's name, as the field `otel.name` does.
    fn update_name(&self, name: &str);

    /// Ends the span now and exports it, even while handles of it exist. It can still be a parent;
    /// later changes are ignored and counted.
    ///
    /// Without this call a span ends at its last exit, or at its close if it is never entered. It is
    /// exported at its close, which waits for its last child's.
    fn end(&self);

    /// Ends the span at the given time, or at its start if that is later.
    fn end_with_time(&self, time: SystemTime);

    /// Whether the span keeps attributes and events: it is recorded, sampled or not, and has not
    /// ended.
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
            SpanLookup::Open => result,
            SpanLookup::NotRecorded => Err(SetParentError::SpanDisabled),
            SpanLookup::NoLayer => Err(SetParentError::LayerNotFound),
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

/// Records an exception of the span.
#[cfg(feature = "tower")]
pub(crate) fn record_exception(span: &Span, exception: &Exception<'_>) {
    change(span, &Change::Exception(exception));
}

/// Whether the span is open in a layer of this crate, recorded or not: its context is then current
/// while it is entered.
#[cfg(feature = "tower")]
pub(crate) fn is_known(span: &Span) -> bool {
    matches!(each(span, |_, _, _| ()), SpanLookup::Open)
}

fn change(span: &Span, change: &Change<'_>) {
    each(span, |spans, id, _| spans.change(id, change));
}

/// The layers of a span.
enum SpanLookup {
    Open,
    NotRecorded,
    NoLayer,
}

/// Calls `f` with each layer that has the span open.
fn each(span: &Span, mut f: impl FnMut(&dyn Spans, u64, &'static Metadata<'static>)) -> SpanLookup {
    let found = span.with_subscriber(|(id, dispatch)| {
        let Some(metadata) = span.metadata() else {
            return SpanLookup::NotRecorded;
        };
        let id = id.into_u64();
        if layer_registry::each(dispatch, id, metadata, |spans| f(spans, id, metadata)) {
            SpanLookup::Open
        } else if layer_registry::any(registry_of(dispatch)) {
            SpanLookup::NotRecorded
        } else {
            SpanLookup::NoLayer
        }
    });
    found.unwrap_or(SpanLookup::NotRecorded)
}

mod sealed {
    pub trait Sealed {}

    impl Sealed for tracing::Span {}
}
