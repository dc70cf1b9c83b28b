//! [`Twins`]: what only the registry of tracing-subscriber can make, extensions and filter maps. A span that
//! needs one has a twin in it.

use tracing_core::span::{Attributes, Id};
use tracing_core::{Event, Interest, Metadata, Subscriber};
use tracing_subscriber::Registry;
use tracing_subscriber::filter::FilterId;
use tracing_subscriber::layer::{Identity, Layer as _, Layered};
use tracing_subscriber::registry::LookupSpan;

/// The data of a twin. It can be read for as long as this lives, also after the twin is closed.
pub(super) type TwinData<'a> = <Registry as LookupSpan<'a>>::Data;

/// With a layer, because a registry frees closed spans only beneath one.
#[derive(Debug)]
pub(super) struct Twins(Layered<Identity, Registry>);

impl Twins {
    pub(super) fn new() -> Self {
        Self(Identity::new().with_subscriber(Registry::default()))
    }

    /// Opens a twin. It takes over what the filters of this thread say about the new span.
    pub(super) fn open(&self, metadata: &'static Metadata<'static>) -> u64 {
        let values = metadata.fields().value_set(&[]);
        let attributes = Attributes::new_root(metadata, &values);
        self.0.new_span(&attributes).into_u64()
    }

    /// Opens a twin that no filter hides, and returns its data too.
    pub(super) fn open_to_read(&self, metadata: &'static Metadata<'static>) -> (u64, TwinData<'_>) {
        // A twin that was just opened is there.
        loop {
            let twin = self.open(metadata);
            if let Some(data) = self.data(twin) {
                return (twin, data);
            }
        }
    }

    pub(super) fn data(&self, twin: u64) -> Option<TwinData<'_>> {
        self.0.span_data(&to_id(twin)?)
    }

    pub(super) fn close(&self, twin: u64) {
        if let Some(twin) = to_id(twin).filter(|twin| self.0.span_data(twin).is_some()) {
            self.0.try_close(twin);
        }
    }

    pub(super) fn register_filter(&mut self) -> FilterId {
        self.0.register_filter()
    }

    pub(super) fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.0.enabled(metadata)
    }

    pub(super) fn event_enabled(&self, event: &Event<'_>) -> bool {
        self.0.event_enabled(event)
    }

    /// What the filters say about a callsite. If all of them hide it, a layer without a filter may see it,
    /// and only a `Registry` directly beneath a layer tells that apart: then each span and event is asked for.
    pub(super) fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        match self.0.register_callsite(metadata) {
            interest if interest.is_never() => Interest::sometimes(),
            interest => interest,
        }
    }
}

/// `None` for zero, which is no id.
pub(super) fn to_id(id: u64) -> Option<Id> {
    std::num::NonZeroU64::new(id).map(Id::from_non_zero_u64)
}
