//! [`OtlpSpanData`]: what layers see of a span.

use std::cell::OnceCell;

use tracing_core::Metadata;
use tracing_core::span::Id;
use tracing_subscriber::filter::FilterId;
use tracing_subscriber::registry::{Extensions, ExtensionsMut, LookupSpan, SpanData};

use super::OtlpRegistry;
use super::slots::RegisteredSpan;
use super::twins::{TwinData, to_id};
use crate::context::stack;

/// A span of an [`OtlpRegistry`], for layers.
#[derive(Debug)]
pub struct OtlpSpanData<'a> {
    registry: &'a OtlpRegistry,
    span: SeenSpan<'a>,
    /// Whether a layer looks for the current span.
    is_current: bool,
    /// The current span to a layer from which a filter hides the innermost one.
    visible: OnceCell<SeenSpan<'a>>,
}

#[derive(Debug)]
struct SeenSpan<'a> {
    id: Id,
    parent: Option<Id>,
    known: RegisteredSpan,
    twin: OnceCell<TwinData<'a>>,
}

impl<'a> SeenSpan<'a> {
    #[inline]
    fn new(registry: &'a OtlpRegistry, known: RegisteredSpan) -> Option<Self> {
        // A twin that is there is held from now on, and keeps its data when the span closes.
        let twin = match known.twin {
            0 => None,
            twin => registry.twins().data(twin),
        };
        Some(Self {
            id: to_id(known.id)?,
            parent: to_id(known.parent),
            known,
            twin: twin.map(OnceCell::from).unwrap_or_default(),
        })
    }

    /// The span's twin; made for the first layer that asks.
    fn twin(&self, registry: &'a OtlpRegistry) -> &TwinData<'a> {
        self.twin.get_or_init(|| registry.twin(&self.known))
    }
}

impl<'a> OtlpSpanData<'a> {
    #[inline]
    pub(super) fn new(
        registry: &'a OtlpRegistry,
        known: RegisteredSpan,
        is_current: bool,
    ) -> Option<Self> {
        Some(Self {
            registry,
            span: SeenSpan::new(registry, known)?,
            is_current,
            visible: OnceCell::new(),
        })
    }

    #[inline]
    fn found(&self) -> &SeenSpan<'a> {
        self.visible.get().unwrap_or(&self.span)
    }

    /// Stands for the innermost entered span that the filter lets through, if there is one.
    #[cold]
    fn look_beneath(&self, filter: FilterId) -> bool {
        let visible = stack::find_entered(self.registry.number(), |id| {
            let found = SeenSpan::new(self.registry, self.registry.slots.known(id)?)?;
            let is_visible = found.twin(self.registry).is_enabled_for(filter);
            is_visible.then_some(found)
        });
        visible.is_some_and(|found| self.visible.set(found).is_ok())
    }
}

impl<'a> SpanData<'a> for OtlpSpanData<'a> {
    fn id(&self) -> Id {
        self.found().id.clone()
    }

    fn metadata(&self) -> &'static Metadata<'static> {
        self.found().known.metadata
    }

    fn parent(&self) -> Option<&Id> {
        self.found().parent.as_ref()
    }

    fn extensions(&self) -> Extensions<'_> {
        self.found().twin(self.registry).extensions()
    }

    fn extensions_mut(&self) -> ExtensionsMut<'_> {
        self.found().twin(self.registry).extensions_mut()
    }

    fn is_enabled_for(&self, filter: FilterId) -> bool {
        !self.registry.has_filters()
            || self.found().twin(self.registry).is_enabled_for(filter)
            || self.is_current && self.visible.get().is_none() && self.look_beneath(filter)
    }
}

impl<'a> LookupSpan<'a> for OtlpRegistry {
    type Data = OtlpSpanData<'a>;

    #[inline]
    fn span_data(&'a self, id: &Id) -> Option<Self::Data> {
        let known = self.slots.known(id.into_u64())?;
        let is_current = self.has_filters() && super::asked::is_asked(id.into_u64());
        OtlpSpanData::new(self, known, is_current)
    }

    fn register_filter(&mut self) -> FilterId {
        self.filters
            .get_or_insert_with(super::twins::Twins::new)
            .register_filter()
    }
}
