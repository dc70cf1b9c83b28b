//! Whose child is a new span: the explicit one's, the current one's, or nobody's.

use std::sync::atomic::Ordering;
use tracing_core::Subscriber;

use tracing_core::span::{Attributes, Id};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::OtlpLayer;
use super::open_spans::OpenSpans;
use super::span::Identity;
use crate::context::current;

impl OtlpLayer {
    /// Makes `child` a child of the nearest recorded ancestor of the new span `id`; false for a
    /// root.
    #[inline]
    pub(super) fn inherit<S>(
        &self,
        child: &mut Identity,
        attributes: &Attributes<'_>,
        id: &Id,
        context: &Context<'_, S>,
    ) -> bool
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let parent = if attributes.is_contextual() {
            let innermost = current::innermost(self.layer);
            if self.may_be_filtered.load(Ordering::Relaxed) {
                // What the registry takes for the parent may be hidden from us.
                let registered = context.current_span().id().map(Id::into_u64);
                if registered != innermost {
                    return registered.is_some()
                        && inherit_nearest(child, &self.spans, id, context);
                }
            }
            innermost
        } else {
            attributes.parent().map(Id::into_u64)
        };
        let Some(parent) = parent else { return false };
        let found = self
            .spans
            .with(parent, |parent| child.inherit(&parent.identity));
        found.is_some() || inherit_nearest(child, &self.spans, id, context)
    }
}

/// Up the registry's own chain of parents to the first that was not hidden from us.
#[cold]
fn inherit_nearest<S>(
    child: &mut Identity,
    spans: &OpenSpans,
    id: &Id,
    context: &Context<'_, S>,
) -> bool
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let Some(span) = context.span(id) else {
        return false;
    };
    let mut ancestor = span.parent();
    while let Some(span) = ancestor {
        let parent = span.id().into_u64();
        if spans
            .with(parent, |parent| child.inherit(&parent.identity))
            .is_some()
        {
            return true;
        }
        ancestor = span.parent();
    }
    false
}
