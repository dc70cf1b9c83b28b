//! Whose child is a new span: the explicit one's, the current one's, or nobody's.

use std::sync::atomic::Ordering;
use tracing_core::Subscriber;

use tracing_core::span::{Attributes, Id};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::OtlpLayer;
use super::identity::Identity;
use super::open_spans::OpenSpans;
use super::recorder::Recorder;
use super::span::OpenSpan;
use crate::context::TraceContext;
use crate::context::otel_context::ContextObserver;
use crate::context::registry_lookup::ancestors;
use crate::context::stack::{self, Innermost};
use crate::runtime_config::SamplingFlags;

/// Where a new span comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ParentKind {
    /// Nobody's child.
    Root,
    /// A child of an open span.
    Local,
    /// A child of a context: of another process, or of a span that is gone or was decided otherwise.
    Context,
}

impl ParentKind {
    /// Whether the sampler has to be asked for such a span.
    #[inline]
    pub(super) fn asks(self, sampling_flags: SamplingFlags) -> bool {
        match self {
            Self::Local => sampling_flags.asks_for_children(),
            Self::Root | Self::Context => sampling_flags.asks_sampler(),
        }
    }

    fn local_if(found: bool) -> Self {
        if found { Self::Local } else { Self::Root }
    }
}

impl OtlpLayer {
    /// Makes `child` a child of the nearest recorded ancestor of the new span `id`. Inlined, for nearly
    /// all calls come from one place.
    #[inline(always)]
    pub(super) fn inherit<S>(
        &self,
        (recorder, sampling_flags): (&Recorder, SamplingFlags),
        child: &mut Identity,
        attributes: &Attributes<'_>,
        id: &Id,
        context: &Context<'_, S>,
    ) -> ParentKind
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let spans = &recorder.spans;
        let parent = if attributes.is_contextual() {
            if let Some(elsewhere) = recorder.settings.bridge.and_then(ContextObserver::current) {
                if elsewhere.is_valid() {
                    return recorder.inherit_context(child, &elsewhere);
                }
                child.set_baggage(elsewhere.baggage());
            }
            let has_detail = sampling_flags.has_detail();
            // One that was too detailed is entered, but not there.
            let is_there = |span| !has_detail || spans.has(span);
            let innermost = match stack::innermost(self.layer, is_there) {
                Innermost::Span(span) => Some(span),
                Innermost::Nothing => None,
                // Wins over whatever was entered before it was opened.
                Innermost::Scope => {
                    return recorder.inherit_context(child, &stack::scope_context());
                }
            };
            if recorder.may_be_filtered.load(Ordering::Relaxed) || has_detail {
                // What the registry takes for the parent may be hidden from us.
                let registered = context.current_span().id().map(Id::into_u64);
                if registered != innermost {
                    let found = registered.is_some() && inherit_nearest(child, spans, id, context);
                    return ParentKind::local_if(found);
                }
            }
            innermost
        } else {
            attributes.parent().map(Id::into_u64)
        };
        let Some(parent) = parent else {
            return ParentKind::Root;
        };
        let found = spans.with(parent, |parent| parent.adopt_child(child));
        if found.is_some()
            || recorder.inherit_from_before(parent, child)
            || inherit_nearest(child, spans, id, context)
        {
            return ParentKind::Local;
        }
        match attributes.is_contextual() {
            true => self.inherit_around(recorder, child),
            false => ParentKind::Root,
        }
    }
}

impl OtlpLayer {
    /// Makes `child` a child of what is current around spans that are not here, as those are that
    /// there was no memory for.
    #[cold]
    fn inherit_around(&self, recorder: &Recorder, child: &mut Identity) -> ParentKind {
        let spans = &recorder.spans;
        match stack::innermost(self.layer, |span| spans.has(span)) {
            Innermost::Span(span) => ParentKind::local_if(
                spans
                    .with(span, |parent| parent.adopt_child(child))
                    .is_some(),
            ),
            Innermost::Scope => recorder.inherit_context(child, &stack::scope_context()),
            Innermost::Nothing => ParentKind::Root,
        }
    }
}

impl Recorder {
    /// Goes on where a context comes from: at a span that is open here, elsewhere, or nowhere. What
    /// travels is the context's.
    #[cold]
    pub(super) fn inherit_context(
        &self,
        child: &mut Identity,
        parent: &TraceContext,
    ) -> ParentKind {
        if self.inherit_open(child, parent) {
            child.set_baggage(parent.baggage());
            // One that came by the other API may have lost its state.
            let is_whole = parent.origin(self.layer).is_some();
            if child.is_of(parent.trace_id()) && (is_whole || !parent.trace_state().is_empty()) {
                child.set_trace_state(parent.trace_state().clone());
            }
            ParentKind::Local
        } else if child.continues(parent) {
            child.check_threshold();
            ParentKind::Context
        } else {
            ParentKind::Root
        }
    }

    /// Makes `child` a child of the span that a context is of, if it is open here. Flags that the
    /// span has not mean another decision, unless the span has moved to another trace since.
    fn inherit_open(&self, child: &mut Identity, parent: &TraceContext) -> bool {
        if parent.is_remote() || !parent.is_valid() {
            return false;
        }
        let span_id = parent.span_id().to_bytes();
        let mut bear = |span: &mut OpenSpan| {
            let own = &span.identity;
            let (flags, theirs) = (own.trace_flags(), parent.flags());
            let is_same = match parent.origin(self.layer) {
                Some(_) => flags == theirs,
                // The other API does not know them all.
                None => flags.bits() == theirs.bits(),
            };
            let is_it = own.span_id == span_id && (is_same || !own.is_of(parent.trace_id()));
            if is_it {
                span.adopt_child(child);
            }
            is_it
        };
        let mut is_parent = |id| self.spans.with(id, &mut bear) == Some(true);
        // A context that came by the other API has lost its origin, but as a rule not its thread.
        if parent.origin(self.layer).is_some_and(&mut is_parent)
            || stack::innermost_spans(|layer, id| layer == self.layer && is_parent(id))
        {
            return true;
        }
        let free = self.free.get();
        free.and_then(|free| free.with(u64::from_be_bytes(span_id), bear)) == Some(true)
    }
}

/// Makes `child` a child of the nearest ancestor that was not hidden from us.
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
    let mut bear = |parent: u64| {
        spans
            .with(parent, |parent| parent.adopt_child(child))
            .is_some()
    };
    let span = context.span(id);
    span.is_some_and(|span| ancestors(span).any(|span| bear(span.id().into_u64())))
}
