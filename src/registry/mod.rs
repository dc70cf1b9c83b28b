//! A registry for the spans of this crate, in the place of `tracing_subscriber::Registry`: [`registry()`].
//!
//! ```no_run
//! use tracing_subscriber::{filter::LevelFilter, fmt, prelude::*};
//!
//! # fn main() -> Result<(), tracing_otlp::Error> {
//! let (layer, guard) = tracing_otlp::builder().build()?;
//! tracing_otlp::registry()
//!     .with(layer)
//!     .with(fmt::layer())
//!     .with(LevelFilter::INFO)
//!     .init();
//! # Ok(()) }
//! ```
//!
//! [`OtlpRegistry`] tells what differs.

mod asked;
mod closing;
mod free_slots;
mod slots;
mod span_data;
mod twins;

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use once_cell::race::OnceBox;
use tracing_core::dispatcher::{self, Dispatch, WeakDispatch};
use tracing_core::span::{Attributes, Current, Id, Record};
use tracing_core::subscriber::Interest;
use tracing_core::{Event, Metadata, Subscriber};

use self::slots::{RegisteredSpan, Released, Slots};
pub use self::span_data::OtlpSpanData;
use self::twins::{TwinData, Twins, to_id};
use crate::context::stack;
use crate::sync::{Mutex, lock};

/// A registry for a subscriber with an [`OtlpLayer`](crate::OtlpLayer).
///
/// Takes layers as [`tracing_subscriber::registry()`] does. A span costs 550 to 1,000
/// instructions less.
pub fn registry() -> OtlpRegistry {
    OtlpRegistry::new()
}

/// Keeps the spans of a subscriber: their references, parents, and which are entered. Made by
/// [`registry()`].
///
/// It does what `tracing_subscriber::Registry` does, and layers find in it what they find there: spans,
/// their parents and scopes, extensions, filters of layers. Where the two differ:
///
/// | | `tracing_subscriber::Registry` | `OtlpRegistry` |
/// | --- | --- | --- |
/// | A handle is used after its span is closed | panics | has no effect here; a layer that expects the span, as `fmt` does, panics |
/// | A span is named as the parent of a span of another such registry | may be taken for a span of that one | the new span is a root |
/// | An event, or a span, that the filters of all layers leave out | is left out for good, at its callsite | each is asked for |
/// | A layer reads extensions, or has a filter of its own | | each of these spans has a twin in a `Registry`, so it costs more than one there |
/// | A chain of parents that end with their last child | recursion for each | a loop |
/// | [`Dispatch::try_close`] of the last reference | true | false: layers see the close in a call within this one |
/// | `dispatch.downcast_ref::<Registry>()` | finds it | finds nothing: a crate that asks for the type `Registry` needs that one |
/// | A layer of the type `dyn Layer<Registry>` | fits | does not fit |
///
/// With a layer that keeps extensions for each span `Registry` is as fast, and with filters for single layers it
/// is faster where they leave much out. A filter for the whole subscriber, such as `LevelFilter::INFO` in the
/// example above, costs the same in both.
pub struct OtlpRegistry {
    pub(in crate::registry) slots: Slots,
    /// Stands for this registry, or for the layer that shares the stack with it.
    number: AtomicU32,
    is_shared: AtomicBool,
    dispatch: OnceBox<WeakDispatch>,
    /// The same as the default of the process or the thread where the first span closed, which may be cheaper
    /// to upgrade: that of the process needs no count. `None` in it: it was not found.
    default: OnceBox<Option<WeakDispatch>>,
    /// Made for the first layer that has a filter: then each span has a twin.
    filters: Option<Twins>,
    /// Made for the first layer that asks for extensions.
    extensions: OnceBox<Twins>,
    /// Closed spans that are freed with the next close, because the registry does not know its dispatch.
    closed: Mutex<Vec<u64>>,
    has_closed: AtomicBool,
}

impl OtlpRegistry {
    fn new() -> Self {
        let number = stack::next_number();
        Self {
            slots: Slots::new(number),
            number: AtomicU32::new(number),
            is_shared: AtomicBool::new(false),
            dispatch: OnceBox::new(),
            default: OnceBox::new(),
            filters: None,
            extensions: OnceBox::new(),
            closed: Mutex::new(Vec::new()),
            has_closed: AtomicBool::new(false),
        }
    }

    /// Notes entered spans under the number of a layer, which then need not note them itself. False if
    /// another layer has that place, or a filter may hide spans from the layer.
    pub(crate) fn share_stack(&self, layer: u32) -> bool {
        let is_free = !self.has_filters() && !self.is_shared.swap(true, Ordering::Relaxed);
        if is_free {
            self.number.store(layer, Ordering::Relaxed);
        }
        is_free
    }

    /// Whether a filter may hide spans from a layer.
    #[inline]
    pub(crate) fn has_filters(&self) -> bool {
        self.filters.is_some()
    }

    #[inline(always)]
    fn number(&self) -> u32 {
        self.number.load(Ordering::Relaxed)
    }

    fn twins(&self) -> &Twins {
        let made = self.filters.as_ref();
        made.unwrap_or_else(|| self.extensions.get_or_init(|| Box::new(Twins::new())))
    }

    /// The twin of a span; one without a span if that is closed.
    fn twin(&self, span: &RegisteredSpan) -> TwinData<'_> {
        let twins = self.twins();
        if let Some(data) = twins.data(span.twin) {
            return data;
        }
        let (twin, data) = twins.open_to_read(span.metadata);
        let set = self.slots.set_twin(span.id, twin);
        if set == Some(twin) {
            return data;
        }
        // Another thread was faster, or the span is closed: then the data goes when it is dropped.
        twins.close(twin);
        set.and_then(|twin| twins.data(twin)).unwrap_or(data)
    }

    /// Tells the layers that a span closes, and frees it. Then the same for each parent whose last child
    /// this was.
    ///
    /// A layer that is told may look for the span and its parent, and a parent is told after its child. A
    /// registry cannot see when the last layer has returned, so the layers are told in a call from here,
    /// and the outer call says that nothing closed.
    #[inline]
    fn close(&self, span: u64) -> bool {
        match self.dispatch() {
            Some(dispatch) => {
                self.tell_closed(&dispatch, span);
                false
            }
            None => self.close_later(span),
        }
    }

    #[inline]
    fn tell_closed(&self, dispatch: &Dispatch, span: u64) {
        let mut closing = ClosingSpan {
            registry: self,
            dispatch,
            span,
        };
        while let Some(id) = to_id(closing.span) {
            closing::tell(self.number(), closing.span, || dispatch.try_close(id));
            closing.span = self.free(closing.span);
        }
    }

    /// Frees a span, and returns its parent if this was the last reference to it.
    #[inline]
    fn free(&self, span: u64) -> u64 {
        let Some(span) = self.slots.free(span) else {
            return 0;
        };
        if span.twin != 0 {
            self.twins().close(span.twin);
        }
        match span.parent != 0 && self.slots.release(span.parent) == Released::Last {
            true => span.parent,
            false => 0,
        }
    }

    #[inline(always)]
    fn dispatch(&self) -> Option<Dispatch> {
        match self.default.get() {
            Some(Some(default)) => default.upgrade().or_else(|| self.own_dispatch()),
            _ => self.find_default(),
        }
    }

    #[cold]
    #[inline(never)]
    fn find_default(&self) -> Option<Dispatch> {
        if self.default.get().is_none() {
            let default = self.find_dispatch().map(|dispatch| dispatch.downgrade());
            let _ = self.default.set(Box::new(default));
        }
        self.own_dispatch()
    }

    #[inline(never)]
    fn own_dispatch(&self) -> Option<Dispatch> {
        // One dispatch of a subscriber that several share may be gone.
        let own = self.dispatch.get().and_then(WeakDispatch::upgrade);
        own.or_else(|| {
            let dispatch = self.find_dispatch()?;
            let _ = self.dispatch.set(Box::new(dispatch.downgrade()));
            Some(dispatch)
        })
    }

    /// A box around the subscriber does not pass on which dispatch it belongs to.
    #[cold]
    #[inline(never)]
    fn find_dispatch(&self) -> Option<Dispatch> {
        dispatcher::get_default(|dispatch| {
            let found = dispatch.downcast_ref::<Self>()?;
            std::ptr::eq(found, self).then(|| dispatch.clone())
        })
    }

    #[cold]
    #[inline(never)]
    fn close_later(&self, span: u64) -> bool {
        lock(&self.closed).push(span);
        self.has_closed.store(true, Ordering::Relaxed);
        true
    }

    #[cold]
    #[inline(never)]
    fn free_closed(&self) {
        self.has_closed.store(false, Ordering::Relaxed);
        let closed = std::mem::take(&mut *lock(&self.closed));
        for span in closed {
            let parent = self.free(span);
            if parent != 0 {
                // Something called this one, most likely the subscriber of the thread.
                let dispatch = self.dispatch();
                let dispatch = dispatch.unwrap_or_else(|| dispatcher::get_default(Dispatch::clone));
                self.tell_closed(&dispatch, parent);
            }
        }
    }

    #[inline(always)]
    fn begin(&self, told: [u64; 2]) {
        if self.has_filters() {
            asked::begin(told);
        }
    }
}

/// A span that the layers are being told to close; freed also if one of them panics.
struct ClosingSpan<'a> {
    registry: &'a OtlpRegistry,
    dispatch: &'a Dispatch,
    /// Zero once all is told.
    span: u64,
}

impl Drop for ClosingSpan<'_> {
    #[inline]
    fn drop(&mut self) {
        #[cold]
        #[inline(never)]
        fn free(closing: &ClosingSpan<'_>) {
            let parent = closing.registry.free(closing.span);
            if parent != 0 {
                closing.registry.tell_closed(closing.dispatch, parent);
            }
        }
        if self.span != 0 {
            free(self);
        }
    }
}

impl Subscriber for OtlpRegistry {
    fn on_register_dispatch(&self, subscriber: &Dispatch) {
        let _ = self.dispatch.set(Box::new(subscriber.downgrade()));
    }

    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        let filters = self.filters.as_ref();
        filters.map_or_else(Interest::always, |f| f.register_callsite(metadata))
    }

    #[inline]
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.begin([0; 2]);
        self.filters.as_ref().is_none_or(|f| f.enabled(metadata))
    }

    #[inline]
    fn event_enabled(&self, event: &Event<'_>) -> bool {
        self.begin([0; 2]);
        self.filters.as_ref().is_none_or(|f| f.event_enabled(event))
    }

    #[inline]
    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        self.begin([0; 2]);
        let parent = match attributes.is_contextual() {
            true => stack::current(self.number()),
            false => attributes.parent().map_or(0, Id::into_u64),
        };
        let parent = match parent {
            0 => 0,
            parent if self.slots.retain(parent) => parent,
            _ => 0,
        };
        let metadata = attributes.metadata();
        let twin = self.filters.as_ref().map_or(0, |f| f.open(metadata));
        Id::from_u64(self.slots.open(metadata, parent, twin))
    }

    #[inline]
    fn record(&self, span: &Id, _: &Record<'_>) {
        self.begin([span.into_u64(), 0]);
    }

    #[inline]
    fn record_follows_from(&self, span: &Id, follows: &Id) {
        self.begin([span.into_u64(), follows.into_u64()]);
    }

    #[inline]
    fn event(&self, _: &Event<'_>) {
        self.begin([0; 2]);
    }

    #[inline]
    fn enter(&self, span: &Id) {
        self.begin([span.into_u64(), 0]);
        stack::enter(self.number(), span.into_u64());
    }

    #[inline]
    fn exit(&self, span: &Id) {
        self.begin([span.into_u64(), 0]);
        stack::exit(self.number(), span.into_u64());
    }

    #[inline]
    fn clone_span(&self, span: &Id) -> Id {
        self.slots.retain(span.into_u64());
        span.clone()
    }

    #[inline]
    fn try_close(&self, span: Id) -> bool {
        self.begin([span.into_u64(), 0]);
        if closing::is_told(self.number(), span.into_u64()) {
            return true;
        }
        if self.has_closed.load(Ordering::Relaxed) {
            self.free_closed();
        }
        match self.slots.release(span.into_u64()) {
            Released::Open => false,
            Released::Last => self.close(span.into_u64()),
        }
    }

    #[inline]
    fn current_span(&self) -> Current {
        let current = stack::current(self.number());
        let known = match current {
            0 => None,
            current => self.slots.known(current),
        };
        let Some((known, id)) = known.and_then(|known| Some((known, to_id(current)?))) else {
            return Current::none();
        };
        if self.has_filters() {
            asked::ask(current);
        }
        Current::new(id, known.metadata)
    }
}

impl std::fmt::Debug for OtlpRegistry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OtlpRegistry")
            .field("number", &self.number())
            .field("has_filters", &self.has_filters())
            .finish_non_exhaustive()
    }
}
