//! The context of a span by its registry: its own, or that of the nearest ancestor that a layer records.

use tracing_core::Metadata;
use tracing_core::dispatcher::{self, Dispatch};
use tracing_core::span::Id;
use tracing_subscriber::Registry;
use tracing_subscriber::registry::{LookupSpan, SpanRef};

use super::{TraceContext, layer_registry};

/// Identifies the registry of a subscriber, by its address; zero if the subscriber has no
/// `tracing_subscriber::Registry`.
pub(crate) fn registry_of(subscriber: &Dispatch) -> usize {
    let registry = subscriber.downcast_ref::<Registry>();
    registry.map_or(0, |registry| std::ptr::from_ref(registry) as usize)
}

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
    let registry = dispatch.downcast_ref::<Registry>()?;
    ancestors(registry.span(id)?).find_map(|s| own_context(dispatch, &s.id(), s.metadata()))
}

/// Parent, grandparent and so on, without those that a filter hides from the layer of the lookup.
pub(crate) fn ancestors<'a, R>(span: SpanRef<'a, R>) -> impl Iterator<Item = SpanRef<'a, R>>
where
    R: LookupSpan<'a>,
{
    std::iter::successors(span.parent(), SpanRef::parent)
}

/// The first result of `f` on the ancestors of a span, hidden ones included.
pub(crate) fn find_ancestor(
    dispatch: &Dispatch,
    span: &Id,
    f: impl FnMut(&u64) -> bool,
) -> Option<u64> {
    let registry = dispatch.downcast_ref::<Registry>()?;
    let mut ancestors = ancestors(registry.span(span)?).map(|span| span.id().into_u64());
    ancestors.find(f)
}
