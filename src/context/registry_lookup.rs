//! The context of a span as its registry has it: its own, or that of the nearest ancestor which is not
//! hidden from the layers.

use tracing_core::Metadata;
use tracing_core::dispatcher::{self, Dispatch};
use tracing_core::span::Id;
use tracing_subscriber::Registry;
use tracing_subscriber::registry::{LookupSpan, SpanRef};

use super::{TraceContext, layer_registry};

/// What tells the spans of this subscriber from those of another in the process: where its registry
/// is, or zero where that is not the usual one.
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

/// The context of what the subscriber of this thread takes for the current span, unless it knows
/// nothing of the layer whose span was entered last. Foreign code runs.
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

/// Parent, grandparent and so on, but for those that a filter hides from who looked the span up.
pub(crate) fn ancestors<'a, R>(span: SpanRef<'a, R>) -> impl Iterator<Item = SpanRef<'a, R>>
where
    R: LookupSpan<'a>,
{
    std::iter::successors(span.parent(), SpanRef::parent)
}

/// The nearest ancestor of a span to which `f` says yes, whatever filters hide.
pub(crate) fn find_ancestor(
    dispatch: &Dispatch,
    span: &Id,
    f: impl FnMut(&u64) -> bool,
) -> Option<u64> {
    let registry = dispatch.downcast_ref::<Registry>()?;
    let mut ancestors = ancestors(registry.span(span)?).map(|span| span.id().into_u64());
    ancestors.find(f)
}
