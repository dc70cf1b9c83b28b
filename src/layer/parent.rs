//! The parent of a new span.
//!
//! The first row that applies decides:
//!
//! | Case | Parent | Why |
//! | --- | --- | --- |
//! | `parent: None` | None: a root | The caller asks for a new trace |
//! | `parent: &span`, open here | That span | The caller names it |
//! | `parent: &span`, open at a fork of the process | The parent process's span | A trace continues in the child process |
//! | `parent: &span`, hidden by a filter | Its nearest open ancestor, else a root | A hidden span leaves no gap in the trace |
//! | An OpenTelemetry context attached after the entered spans | That context | The innermost of both APIs is current; without a span it gives its baggage alone |
//! | A scope attached after the entered spans | The scope's context | Same reason |
//! | The registry's current span is not the innermost recorded one | The nearest open ancestor, else a root | A filter hides the current span from this layer, or from the registry's context |
//! | An entered span, open here | That span | The ordinary case |
//! | An entered span, dropped for want of memory | Its nearest open ancestor, else the open span or scope around it | The trace continues above the gap |
//! | Nothing is current | None: a root | |
//!
//! A context (of a scope or of the OpenTelemetry API) stands for its span if that is open here with the
//! same flags: then the child is [`Local`](ParentKind::Local) and joins the local trace.

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

/// The kind of a new span's parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ParentKind {
    /// No parent.
    Root,
    /// A child of an open span.
    Local,
    /// A context: of another process, of a closed span, or with another sampling decision.
    Context,
}

impl ParentKind {
    /// Whether the sampler decides about such a span.
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
    /// Makes `child` a child of the parent of the new span `id`, see the table above. Inlined: nearly
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
            if let Some(active) = recorder
                .settings
                .observer
                .and_then(ContextObserver::current)
            {
                if active.is_valid() {
                    return recorder.inherit_context(child, &active);
                }
                child.set_baggage(active.baggage());
            }
            let has_span_filter = sampling_flags.has_span_filter();
            // The level filter leaves spans out that are entered all the same.
            let is_open = |span| !has_span_filter || spans.has(span);
            let innermost = match stack::innermost(self.layer, is_open) {
                Innermost::Span(span) => Some(span),
                Innermost::Nothing => None,
                Innermost::Scope => {
                    return recorder.inherit_context(child, &stack::scope_context());
                }
            };
            if recorder.may_be_filtered.load(Ordering::Relaxed) || has_span_filter {
                // The registry's current span may be hidden from this layer.
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
    /// Makes `child` a child of the innermost open span or scope, past entered spans that are not open
    /// here, such as spans dropped for want of memory.
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
    /// Makes `child` a child of a context: of its span if that is open here, else of the context itself,
    /// or a root if that is not valid. Baggage and trace state are the context's.
    #[cold]
    pub(super) fn inherit_context(
        &self,
        child: &mut Identity,
        parent: &TraceContext,
    ) -> ParentKind {
        if self.inherit_open(child, parent) {
            child.set_baggage(parent.baggage());
            // A context that passed through the OpenTelemetry API may have lost its trace state.
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

    /// Makes `child` a child of the context's span, if that is open here. If the context's flags differ
    /// from the span's, a sampler decided again; not so if the span has moved to another trace since.
    fn inherit_open(&self, child: &mut Identity, parent: &TraceContext) -> bool {
        if parent.is_remote() || !parent.is_valid() {
            return false;
        }
        let span_id = parent.span_id().to_bytes();
        let mut adopt = |span: &mut OpenSpan| {
            let own = &span.identity;
            let (flags, given) = (own.trace_flags(), parent.flags());
            let is_same = match parent.origin(self.layer) {
                Some(_) => flags == given,
                // The OpenTelemetry API keeps W3C's flags alone.
                None => flags.bits() == given.bits(),
            };
            let is_it = own.span_id == span_id && (is_same || !own.is_of(parent.trace_id()));
            if is_it {
                span.adopt_child(child);
            }
            is_it
        };
        let mut is_parent = |id| self.spans.with(id, &mut adopt) == Some(true);
        // A context that passed through the OpenTelemetry API has lost its origin; its span usually is
        // entered on the same thread.
        if parent.origin(self.layer).is_some_and(&mut is_parent)
            || stack::innermost_spans(|layer, id| layer == self.layer && is_parent(id))
        {
            return true;
        }
        let manual = self.manual.get();
        manual.and_then(|spans| spans.with(u64::from_be_bytes(span_id), adopt)) == Some(true)
    }
}

/// Makes `child` a child of the nearest ancestor that is open here.
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
    let mut adopt = |parent: u64| {
        spans
            .with(parent, |parent| parent.adopt_child(child))
            .is_some()
    };
    let span = context.span(id);
    span.is_some_and(|span| ancestors(span).any(|span| adopt(span.id().into_u64())))
}
