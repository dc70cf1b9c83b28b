//! The doors to the layers of the process: what an extension of a span, or a context read, needs
//! from the layer that knows the span.
//!
//! A layer cannot always be found by a downcast (`reload::Layer` answers none), so each opens a door
//! here: a layer's number finds it for what is current on a thread, the address of its registry for
//! a span. A layer inside an `Option` or a `Vec` is told no registry, but a downcast finds it there. One
//! that came by a reload neither is told nor found; it is recognised by its spans.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::SystemTime;

use arc_swap::ArcSwapOption;
use tracing_core::{Dispatch, Metadata};

use super::registry_lookup::registry_of;
use super::{SetParentError, TraceContext};
use crate::attribute::KeyValue;
use crate::span_data::Status;

/// What a layer does for spans that it has open. No call runs foreign code under a lock.
pub(crate) trait Spans: Send + Sync {
    /// Whether it is the layer that a downcast finds in a subscriber; `None`: none is found.
    fn is_in(&self, dispatch: &Dispatch) -> Option<bool>;

    /// This is the subscriber that it is in.
    fn learn(&self, dispatch: &Dispatch);

    /// Whether it has this span, made at this callsite.
    fn has(&self, span: u64, metadata: &Metadata<'_>) -> bool;

    /// Whether a span may be current that it does not have.
    fn may_hide(&self) -> bool;

    /// The span's own context.
    fn context(&self, span: u64) -> Option<TraceContext>;

    /// Whether what is said of the span is kept.
    fn is_recording(&self, span: u64) -> bool;

    /// Whether a free span of this id is open.
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

    /// Ends the span, now or then.
    fn end(&self, span: u64, at: Option<SystemTime>);
}

/// What can be said of a span that is open.
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
    Status(&'a Status),
    Name(&'a str),
}

/// The registry of a door that was told none.
const UNKNOWN: usize = usize::MAX;

#[derive(Clone)]
struct Entry {
    layer: u32,
    registry: Arc<AtomicUsize>,
    spans: Arc<dyn Spans>,
}

/// Read on each look at the current context, written when a layer is made or dropped.
static LAYERS: ArcSwapOption<Vec<Entry>> = ArcSwapOption::const_empty();

/// A layer's door, open until this is dropped.
pub(crate) struct LayerHandle {
    layer: u32,
    registry: Arc<AtomicUsize>,
}

impl LayerHandle {
    /// A number for a layer; its spans are found from [`open`](Self::open) on.
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        Self {
            layer: NEXT.fetch_add(1, Ordering::Relaxed),
            registry: Arc::new(AtomicUsize::new(UNKNOWN)),
        }
    }

    pub(crate) fn open(&self, spans: Arc<dyn Spans>) {
        let entry = Entry {
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

    /// The number that tells this layer's spans from those of another in the same process.
    #[inline]
    pub(crate) fn layer(&self) -> u32 {
        self.layer
    }

    /// Whether the layer was told its registry, or was found in it.
    pub(crate) fn is_known(&self) -> bool {
        self.registry.load(Ordering::Relaxed) != UNKNOWN
    }

    /// The layer's spans are those of the registry at this address.
    pub(crate) fn set_registry(&self, address: usize) {
        self.registry.store(address, Ordering::Relaxed);
    }
}

impl Entry {
    /// Whether a span of a subscriber may be one of the layer's.
    fn is_of(&self, dispatch: &Dispatch, registry: usize) -> bool {
        match self.registry.load(Ordering::Relaxed) {
            UNKNOWN => self.seems_to_be_of(dispatch, registry),
            told => told == registry,
        }
    }

    #[cold]
    fn seems_to_be_of(&self, dispatch: &Dispatch, registry: usize) -> bool {
        let is_in = self.spans.is_in(dispatch);
        if is_in == Some(true) {
            self.registry.store(registry, Ordering::Relaxed);
            self.spans.learn(dispatch);
        }
        // Where no layer is found at all, there may be one behind a reload.
        is_in.unwrap_or(true)
    }
}

impl Drop for LayerHandle {
    fn drop(&mut self) {
        LAYERS.rcu(|layers| {
            let mut layers = layers.as_deref().cloned().unwrap_or_default();
            layers.retain(|handle| handle.layer != self.layer);
            Some(Arc::new(layers))
        });
    }
}

/// The context of a layer's span.
#[inline]
pub(super) fn context(layer: u32, span: u64) -> Option<TraceContext> {
    let layers = LAYERS.load();
    let handle = layers
        .as_ref()?
        .iter()
        .find(|handle| handle.layer == layer)?;
    handle.spans.context(span)
}

/// The same, unless another span may be current that the layer does not have.
#[inline]
pub(super) fn certain_context(layer: u32, span: u64) -> Option<TraceContext> {
    let layers = LAYERS.load();
    let handle = layers
        .as_ref()?
        .iter()
        .find(|handle| handle.layer == layer)?;
    (!handle.spans.may_hide()).then(|| handle.spans.context(span))?
}

/// Calls `f` with a layer.
#[cfg(feature = "opentelemetry")]
pub(crate) fn with(layer: u32, f: impl FnOnce(&dyn Spans)) {
    let layers = LAYERS.load();
    let mut layers = layers.as_deref().into_iter().flatten();
    if let Some(handle) = layers.find(|handle| handle.layer == layer) {
        f(&*handle.spans);
    }
}

/// Whether a free span of this id is open in any layer.
#[cfg(feature = "opentelemetry")]
pub(crate) fn has_free(span_id: [u8; 8]) -> bool {
    let layers = LAYERS.load();
    let mut layers = layers.as_deref().into_iter().flatten();
    layers.any(|handle| handle.spans.has_free(span_id))
}

/// The first layer that has this span of a subscriber open, and the span's context.
#[cfg(feature = "opentelemetry")]
pub(crate) fn find(dispatch: &Dispatch, span: u64) -> Option<(u32, TraceContext)> {
    let registry = registry_of(dispatch);
    let layers = LAYERS.load();
    let mut layers = layers.as_deref().into_iter().flatten();
    layers.find_map(|handle| {
        let context = handle.spans.context(span)?;
        let is_it = handle.is_of(dispatch, registry);
        is_it.then_some((handle.layer, context))
    })
}

/// The context of a span of whichever registry, for those who are told none.
#[cfg(feature = "fmt")]
pub(crate) fn context_anywhere(span: u64, metadata: &Metadata<'_>) -> Option<TraceContext> {
    let layers = LAYERS.load();
    let mut layers = layers.as_deref().into_iter().flatten();
    layers
        .find(|handle| handle.spans.has(span, metadata))
        .and_then(|handle| handle.spans.context(span))
}

/// Calls `f` with each layer that has this span of a subscriber open; says whether any has. Layers
/// are made and dropped meanwhile without waiting.
pub(crate) fn each(
    dispatch: &Dispatch,
    span: u64,
    metadata: &Metadata<'_>,
    mut f: impl FnMut(&dyn Spans),
) -> bool {
    let registry = registry_of(dispatch);
    let layers = LAYERS.load();
    let mut found = false;
    for handle in layers.as_deref().into_iter().flatten() {
        if handle.spans.has(span, metadata) && handle.is_of(dispatch, registry) {
            found = true;
            f(&*handle.spans);
        }
    }
    found
}

/// Whether a span may be current that some layer does not have.
pub(super) fn may_hide() -> bool {
    let layers = LAYERS.load();
    let mut layers = layers.as_deref().into_iter().flatten();
    layers.any(|handle| handle.spans.may_hide())
}

/// Whether a layer's spans are those of this registry, as far as is known.
pub(super) fn is_of(layer: u32, registry: usize) -> bool {
    let layers = LAYERS.load();
    let mut layers = layers.as_deref().into_iter().flatten();
    let told = layers.find(|handle| handle.layer == layer);
    told.is_some_and(|handle| {
        [registry, UNKNOWN].contains(&handle.registry.load(Ordering::Relaxed))
    })
}

/// Whether any layer knows this registry, or may know it.
pub(crate) fn any(registry: usize) -> bool {
    let layers = LAYERS.load();
    layers.as_ref().is_some_and(|layers| {
        layers
            .iter()
            .any(|d| [registry, UNKNOWN].contains(&d.registry.load(Ordering::Relaxed)))
    })
}
