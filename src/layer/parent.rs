//! Whose child is a new span: the explicit one's, the current one's, or nobody's.

use std::sync::atomic::Ordering;
use tracing_core::Subscriber;

use tracing_core::span::{Attributes, Id};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::OtlpLayer;
use super::core::Core;
use super::identity::Identity;
use super::open_spans::OpenSpans;
use super::span::OpenSpan;
use crate::context::TraceContext;
use crate::context::bridge::Bridge;
use crate::context::stack::{self, Innermost};
use crate::live::Watch;

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
    /// Whether the sampler has to be asked for such a span.
    #[inline]
    pub(super) fn asks(self, watch: Watch) -> bool {
        match self {
            Self::Local => watch.asks_for_children(),
            Self::Root | Self::Context => watch.asks_sampler(),
        }
    }

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
            if let Some(elsewhere) = self.core.settings.bridge.and_then(Bridge::current) {
                if elsewhere.is_valid() {
                    return self.inherit_elsewhere(child, &elsewhere);
                }
                child.set_baggage(elsewhere.baggage());
            }
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

impl OtlpLayer {
    /// Goes on where the other API is: at one of our own spans, or at one of its own.
    #[cold]
    fn inherit_elsewhere(&self, child: &mut Identity, parent: &TraceContext) -> Lineage {
        if self.core.inherit_local(child, parent) {
            child.set_baggage(parent.baggage());
            Lineage::Local
        } else if child.continues(parent) {
            Lineage::Context
        } else {
            Lineage::Root
        }
    }
}

impl Core {
    /// Makes `child` a child of a span that is open in this process: a free one, or the innermost
    /// of this thread.
    pub(super) fn inherit_local(&self, child: &mut Identity, parent: &TraceContext) -> bool {
        if parent.is_remote() || !parent.is_valid() {
            return false;
        }
        let span_id = parent.span_id().to_bytes();
        let mut bear = |span: &mut OpenSpan| {
            let is_it = span.identity.span_id == span_id;
            if is_it {
                span.bear(child);
            }
            is_it
        };
        let free = self.free.get();
        free.and_then(|free| free.with(u64::from_be_bytes(span_id), &mut bear)) == Some(true)
            || stack::innermost_spans(|_, id| self.spans.with(id, &mut bear) == Some(true))
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
