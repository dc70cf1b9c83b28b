//! The current context of a thread, of any layer.

use super::stack::{self, Top};
use super::{TraceContext, layer_registry, otel_context, registry_lookup};

/// The current context on this thread; one that is not valid if there is none.
pub(super) fn current_context() -> TraceContext {
    // First, because the observer receives all entries: a context that it returns is newer.
    let elsewhere = otel_context::get().and_then(otel_context::ContextObserver::current);
    if let Some(context) = elsewhere.as_ref().filter(|context| context.is_valid()) {
        return context.clone();
    }
    // A span that a filter or the level filter hides is not on the stack, but may be the registry's
    // current one.
    let current = match stack::top() {
        Top::Span(layer, span) => layer_registry::certain_context(layer, span)
            .or_else(|| registry_lookup::current(Some(layer))),
        Top::Again(layer) => registry_lookup::current(Some(layer)),
        Top::Nothing if layer_registry::may_hide() => registry_lookup::current(None),
        Top::Nothing | Top::Scope => None,
    };
    current
        .or_else(|| stack::find_context(layer_registry::context))
        .or(elsewhere)
        .unwrap_or_default()
}
