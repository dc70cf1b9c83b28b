//! The context of a span by its registry: its own, or that of the nearest ancestor that a layer records.

use tracing_core::Metadata;
use tracing_core::dispatcher::{self, Dispatch};
use tracing_core::span::Id;
use tracing_subscriber::Registry;
use tracing_subscriber::registry::{LookupSpan, SpanRef};

use super::registry_address::registry_of;
use super::{TraceContext, layer_registry};
use crate::registry::OtlpRegistry;

/// The context of a span.
pub(crate) fn context(
    dispatch: &Dispatch,
    id: &Id,
    metadata: &Metadata<'_>,
) -> Option<TraceContext> {
    own_context(dispatch, id, metadata).or_else(|| inherited(dispatch, id))
}

/// The context of the span that is current to this thread's subscriber, unless the subscriber does not
/// have the layer of the last entered span. Runs foreign code.
#[cold]
pub(super) fn current(entered: Option<u32>) -> Option<TraceContext> {
    dispatcher::get_default(|dispatch| {
        if entered.is_some_and(|layer| !layer_registry::is_of(layer, registry_of(dispatch))) {
            return None;
        }
        let (id, metadata) = dispatch.current_span().into_inner()?;
        context(dispatch, &id, metadata)
    })
}

fn own_context(dispatch: &Dispatch, id: &Id, metadata: &Metadata<'_>) -> Option<TraceContext> {
    let id = id.into_u64();
    let mut context = None;
    layer_registry::each(dispatch, id, metadata, |spans| {
        context = context.take().or_else(|| spans.context(id));
    });
    context
}

fn inherited(dispatch: &Dispatch, id: &Id) -> Option<TraceContext> {
    let mut context = None;
    find_ancestor(dispatch, id, |span, metadata| {
        context = own_context(dispatch, span, metadata);
        context.is_some()
    });
    context
}

/// Parent, grandparent and so on, without those that a filter hides from the layer of the lookup.
pub(crate) fn ancestors<'a, R>(span: SpanRef<'a, R>) -> impl Iterator<Item = SpanRef<'a, R>>
where
    R: LookupSpan<'a>,
{
    std::iter::successors(span.parent(), SpanRef::parent)
}

/// The first ancestor of a span for which `f` is true, hidden ones included.
pub(crate) fn find_ancestor(
    dispatch: &Dispatch,
    span: &Id,
    mut f: impl FnMut(&Id, &'static Metadata<'static>) -> bool,
) -> Option<u64> {
    fn find<'a, R: LookupSpan<'a>>(
        registry: &'a R,
        span: &Id,
        f: &mut dyn FnMut(&Id, &'static Metadata<'static>) -> bool,
    ) -> Option<u64> {
        let found = ancestors(registry.span(span)?).find(|s| f(&s.id(), s.metadata()));
        found.map(|span| span.id().into_u64())
    }
    if let Some(registry) = dispatch.downcast_ref::<OtlpRegistry>() {
        return find(registry, span, &mut f);
    }
    find(dispatch.downcast_ref::<Registry>()?, span, &mut f)
}
