//! Whose child is a new span: the explicit one's, the current one's, or nobody's.

use std::sync::atomic::Ordering;
use tracing_core::Subscriber;

use tracing_core::span::{Attributes, Id};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::OtlpLayer;
use super::open_spans::OpenSpans;
use super::span::Identity;
use crate::context::stack::{self, Innermost};

/// Where a new span comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lineage {
    /// Nobody's child.
    Root,
    /// A child of an open span.
    Local,
    /// A child of the context of a scope: of another process, or of a span that may be gone.
    Context,
}

impl Lineage {
    fn local_if(found: bool) -> Self {
        if found { Self::Local } else { Self::Root }
    }
}

impl OtlpLayer {
    /// Makes `child` a child of the nearest recorded ancestor of the new span `id`.
    #[inline]
    pub(super) fn inherit<S>(
        &self,
        child: &mut Identity,
        attributes: &Attributes<'_>,
        id: &Id,
        context: &Context<'_, S>,
    ) -> Lineage
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let spans = &self.core.spans;
        let parent = if attributes.is_contextual() {
            let has_detail = self.core.config.watch().has_detail();
            // One that was too detailed is entered, but not there.
            let is_there = |span| !has_detail || spans.has(span);
            let innermost = match stack::innermost(self.layer, is_there) {
                Innermost::Span(span) => Some(span),
                Innermost::Nothing => None,
                // Wins over whatever was entered before it was opened.
                Innermost::Scope => return inherit_scope(child),
            };
            if self.core.may_be_filtered.load(Ordering::Relaxed) || has_detail {
                // What the registry takes for the parent may be hidden from us.
                let registered = context.current_span().id().map(Id::into_u64);
                if registered != innermost {
                    let found = registered.is_some() && inherit_nearest(child, spans, id, context);
                    return Lineage::local_if(found);
                }
            }
            innermost
        } else {
            attributes.parent().map(Id::into_u64)
        };
        let Some(parent) = parent else {
            return Lineage::Root;
        };
        let found = spans.with(parent, |parent| parent.bear(child));
        Lineage::local_if(found.is_some() || inherit_nearest(child, spans, id, context))
    }
}

/// Goes on where the scope's context comes from.
#[cold]
fn inherit_scope(child: &mut Identity) -> Lineage {
    if child.continues(&stack::scope_context()) {
        Lineage::Context
    } else {
        Lineage::Root
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
        if spans.with(parent, |parent| parent.bear(child)).is_some() {
            return true;
        }
        ancestor = span.parent();
    }
    false
}
