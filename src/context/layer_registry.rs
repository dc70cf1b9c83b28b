//! The layers of the process, each with the operations on its open spans ([`Spans`]).
//!
//! A downcast of the subscriber does not find every layer (`reload::Layer` hides it), so each layer
//! registers here. How a span finds its layer:
//!
//! | Case | Found by | Why |
//! | --- | --- | --- |
//! | Span entered on this thread | The layer's number, kept on the thread's [stack](super::stack) | No search on the way of `context::current` |
//! | `Span`, layer directly in its subscriber | The address of the registry, from `on_register_dispatch` | Span ids are unique in one registry only |
//! | `Span`, layer inside `Option` or `Vec` | A downcast of the subscriber, whose registry is then noted | These wrappers do not forward `on_register_dispatch` |
//! | `Span`, layer behind `reload::Layer` | Its open spans: same id, same callsite name | Neither call nor downcast gets through a reload |
//! | `Span`, downcast finds another layer | Not this layer | A subscriber's spans go to the layers inside it |
//! | Line of `fmt` in a span, no subscriber at hand | The first layer with that id and callsite name | An event format gets no `Dispatch` |
//! | Span of the OpenTelemetry API | Its span id, in each layer's table of manual spans | It has no registry |

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use arc_swap::ArcSwapOption;
use tracing_core::{Dispatch, Metadata};

use super::registry_address::registry_of;
use super::stack::next_number;
use super::{SetParentError, TraceContext};
use crate::attribute::KeyValue;
use crate::span_data::Status;

/// A layer's operations on its open spans. No method runs foreign code under a lock.
pub(crate) trait Spans: Send + Sync {
    /// Whether a downcast of a subscriber finds this layer; `None`: it finds none.
    fn is_in(&self, dispatch: &Dispatch) -> Option<bool>;

    /// Notes the subscriber of the layer, and whether a per-layer filter may hide spans in it.
    fn learn(&self, dispatch: &Dispatch);

    /// Whether this span is open here and has the callsite's name.
    fn has(&self, span: u64, metadata: &Metadata<'_>) -> bool;

    /// Whether the current span may be one that a filter hides from this layer.
    fn may_hide(&self) -> bool;

    /// The span's own context.
    fn context(&self, span: u64) -> Option<TraceContext>;

    /// Whether the span records attributes and events.
    fn is_recording(&self, span: u64) -> bool;

    /// Whether a manual span of this id is open.
    #[cfg(feature = "opentelemetry")]
    fn has_free(&self, span_id: [u8; 8]) -> bool;

    /// Makes the span a child of `parent` after its creation.
    fn set_parent(
        &self,
        span: u64,
        metadata: &'static Metadata<'static>,
        parent: &TraceContext,
    ) -> Result<(), SetParentError>;

    fn change(&self, span: u64, change: &Change<'_>);

    /// Ends the span, now or at the given time.
    fn end(&self, span: u64, at: Option<SystemTime>);
}

/// A change of an open span.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Change<'a> {
    Attributes(&'a [KeyValue]),
    Link(&'a TraceContext, &'a [KeyValue]),
    Event {
        name: &'a str,
        at: Option<SystemTime>,
        attributes: &'a [KeyValue],
    },
    Error(&'a (dyn Error + 'static)),
    Exception(&'a Exception<'a>),
    Status(&'a Status),
    Name(&'a str),
}

/// An exception that this crate records: a panic.
#[derive(Debug)]
pub(crate) struct Exception<'a> {
    /// The name of its log record; as a span event it is `exception`.
    pub(crate) name: &'static str,
    /// The target of its log record.
    pub(crate) target: &'static str,
    pub(crate) severity: ExceptionSeverity,
    pub(crate) message: &'a str,
    pub(crate) attributes: &'a [KeyValue],
}

/// How bad an exception is for who records it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExceptionSeverity {
    /// A client's: the application may expect it.
    #[cfg_attr(
        not(feature = "tower"),
        allow(dead_code, reason = "only the middleware has clients")
    )]
    Warn,
    Error,
    /// It ends the process.
    Fatal,
}

/// The registry of a layer that has not found its own.
const UNKNOWN: usize = usize::MAX;

#[derive(Clone)]
struct RegisteredLayer {
    layer: u32,
    registry: Arc<AtomicUsize>,
    spans: Arc<dyn Spans>,
}

/// Read for each current context, written when a layer is made or dropped: readers take no lock, and
/// a writer replaces the whole list.
static LAYERS: ArcSwapOption<Vec<RegisteredLayer>> = ArcSwapOption::const_empty();

/// A layer's place in the registry; the layer is removed when this is dropped.
pub(crate) struct LayerHandle {
    layer: u32,
    registry: Arc<AtomicUsize>,
}

impl LayerHandle {
    /// Reserves a number; the layer's spans are found after [`register`](Self::register).
    pub(crate) fn new() -> Self {
        Self {
            layer: next_number(),
            registry: Arc::new(AtomicUsize::new(UNKNOWN)),
        }
    }

    pub(crate) fn register(&self, spans: Arc<dyn Spans>) {
        let entry = RegisteredLayer {
            layer: self.layer,
            registry: Arc::clone(&self.registry),
            spans,
        };
        LAYERS.rcu(|layers| {
            let mut layers = layers.as_deref().cloned().unwrap_or_default();
            layers.push(entry.clone());
            Some(Arc::new(layers))
        });
    }

    /// The layer's number, unique in the process.
    #[inline]
    pub(crate) fn layer(&self) -> u32 {
        self.layer
    }

    /// Whether the layer's registry is known.
    pub(crate) fn has_registry(&self) -> bool {
        self.registry.load(Ordering::Relaxed) != UNKNOWN
    }

    /// The layer's spans are those of the registry at this address.
    pub(crate) fn set_registry(&self, address: usize) {
        self.registry.store(address, Ordering::Relaxed);
    }
}

impl RegisteredLayer {
    /// Whether a span of a subscriber may be one of the layer's.
    fn is_of(&self, dispatch: &Dispatch, registry: usize) -> bool {
        match self.registry.load(Ordering::Relaxed) {
            UNKNOWN => self.seems_to_be_of(dispatch, registry),
            known => known == registry,
        }
    }

    #[cold]
    fn seems_to_be_of(&self, dispatch: &Dispatch, registry: usize) -> bool {
        let is_in = self.spans.is_in(dispatch);
        if is_in == Some(true) {
            self.registry.store(registry, Ordering::Relaxed);
            self.spans.learn(dispatch);
        }
        // No layer found by a downcast: this one may be behind a reload.
        is_in.unwrap_or(true)
    }
}

impl Drop for LayerHandle {
    fn drop(&mut self) {
        LAYERS.rcu(|layers| {
            let mut layers = layers.as_deref().cloned().unwrap_or_default();
            layers.retain(|entry| entry.layer != self.layer);
            Some(Arc::new(layers))
        });
    }
}

/// The context of a layer's span.
#[inline]
pub(super) fn context(layer: u32, span: u64) -> Option<TraceContext> {
    let layers = LAYERS.load();
    let entry = layers.as_ref()?.iter().find(|entry| entry.layer == layer)?;
    entry.spans.context(span)
}

/// The same, unless a filter may hide the current span from the layer.
#[inline]
pub(super) fn certain_context(layer: u32, span: u64) -> Option<TraceContext> {
    let layers = LAYERS.load();
    let entry = layers.as_ref()?.iter().find(|entry| entry.layer == layer)?;
    (!entry.spans.may_hide()).then(|| entry.spans.context(span))?
}

/// Calls `f` with a layer.
#[cfg(feature = "opentelemetry")]
pub(crate) fn with(layer: u32, f: impl FnOnce(&dyn Spans)) {
    let layers = LAYERS.load();
    let mut layers = layers.as_deref().into_iter().flatten();
    if let Some(entry) = layers.find(|entry| entry.layer == layer) {
        f(&*entry.spans);
    }
}

/// Whether a manual span of this id is open in any layer.
#[cfg(feature = "opentelemetry")]
pub(crate) fn has_free(span_id: [u8; 8]) -> bool {
    let layers = LAYERS.load();
    let mut layers = layers.as_deref().into_iter().flatten();
    layers.any(|entry| entry.spans.has_free(span_id))
}

/// The first layer that has this span of a subscriber open, and the span's context.
#[cfg(feature = "opentelemetry")]
pub(crate) fn find(dispatch: &Dispatch, span: u64) -> Option<(u32, TraceContext)> {
    let registry = registry_of(dispatch);
    let layers = LAYERS.load();
    let mut layers = layers.as_deref().into_iter().flatten();
    layers.find_map(|entry| {
        let context = entry.spans.context(span)?;
        let is_it = entry.is_of(dispatch, registry);
        is_it.then_some((entry.layer, context))
    })
}

/// The context of a span of any registry, for callers without a subscriber.
#[cfg(feature = "fmt")]
pub(crate) fn context_anywhere(span: u64, metadata: &Metadata<'_>) -> Option<TraceContext> {
    let layers = LAYERS.load();
    let mut layers = layers.as_deref().into_iter().flatten();
    layers
        .find(|entry| entry.spans.has(span, metadata))
        .and_then(|entry| entry.spans.context(span))
}

/// Calls `f` with each layer that has this span of a subscriber open; false if none has. Holds no lock:
/// `f` may make or drop layers.
pub(crate) fn each(
    dispatch: &Dispatch,
    span: u64,
    metadata: &Metadata<'_>,
    mut f: impl FnMut(&dyn Spans),
) -> bool {
    let registry = registry_of(dispatch);
    let layers = LAYERS.load();
    let mut found = false;
    for entry in layers.as_deref().into_iter().flatten() {
        if entry.spans.has(span, metadata) && entry.is_of(dispatch, registry) {
            found = true;
            f(&*entry.spans);
        }
    }
    found
}

/// Whether a filter may hide the current span from some layer.
pub(super) fn may_hide() -> bool {
    let layers = LAYERS.load();
    let mut layers = layers.as_deref().into_iter().flatten();
    layers.any(|entry| entry.spans.may_hide())
}

/// Whether a layer's spans are those of this registry; true while the layer's registry is unknown.
pub(super) fn is_of(layer: u32, registry: usize) -> bool {
    let layers = LAYERS.load();
    let mut layers = layers.as_deref().into_iter().flatten();
    let found = layers.find(|entry| entry.layer == layer);
    found.is_some_and(|entry| [registry, UNKNOWN].contains(&entry.registry.load(Ordering::Relaxed)))
}

/// Whether any layer belongs to this registry, or has an unknown one.
pub(crate) fn any(registry: usize) -> bool {
    let layers = LAYERS.load();
    layers.as_ref().is_some_and(|layers| {
        layers
            .iter()
            .any(|entry| [registry, UNKNOWN].contains(&entry.registry.load(Ordering::Relaxed)))
    })
}
