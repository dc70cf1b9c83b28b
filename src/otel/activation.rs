//! Context activation: the OpenTelemetry context follows the spans that are entered.

use std::borrow::Cow;
use std::cell::RefCell;
use std::time::SystemTime;

use opentelemetry::baggage::BaggageExt as _;
use opentelemetry::trace::{self as otel, SpanContext, TraceContextExt as _};
use opentelemetry::{Context, ContextGuard, KeyValue};

use super::convert::{from_context, key_values, with_baggage};
use crate::context::layer_registry::{self, Change, Spans};
use crate::context::otel_context::{self, ContextObserver};
use crate::context::stack;
use crate::context::{Baggage, SpanId, TraceContext};

/// The observer of contexts; its first use also makes the stack report scopes.
pub(crate) fn context_observer() -> &'static dyn ContextObserver {
    otel_context::set(&Activation);
    &Activation
}

struct Activation;

/// A context that is attached for a span or scope.
struct Attached {
    layer: u32,
    span: u64,
    context: TraceContext,
    /// Whether the span of another layer stays active.
    is_beside: bool,
    _guard: ContextGuard,
}

impl Attached {
    fn new(layer: u32, span: u64, context: &TraceContext, is_beside: bool) -> Self {
        let shown = match is_beside {
            true => beside(layer, context),
            false => active(layer, span, context),
        };
        Self {
            layer,
            span,
            context: context.clone(),
            is_beside,
            _guard: shown.attach(),
        }
    }
}

/// A mark in the contexts that this crate attaches, and in all contexts made from them: their owner.
struct OwnerMark {
    layer: u32,
    context: TraceContext,
    /// The active span of the attached context. A context with another active span was made from it later.
    active: otel::SpanId,
}

impl OwnerMark {
    fn is_of(&self, attached: &Attached) -> bool {
        (self.layer, self.context.span_id()) == (attached.layer, attached.context.span_id())
    }
}

/// The owner of a context's active span.
enum Owner {
    Nobody,
    /// This crate attached the context.
    Ours,
    /// A span of this crate is entered, and the span of another layer is active.
    Beside(TraceContext),
    /// The tracer of this pipeline made the span, another process did, or code attached it on purpose.
    Newer,
    /// Another layer has made it active for a span that it has too, as tracing-opentelemetry does:
    /// it is in that layer's trace and not in ours, where what was attached last is the innermost.
    Other,
}

fn owner_of(context: &Context) -> Owner {
    let span = context.span();
    let active = span.span_context();
    if !active.is_valid() {
        return Owner::Nobody;
    }
    let mark = context.get::<OwnerMark>();
    if let Some(mark) = mark.filter(|mark| mark.active == active.span_id()) {
        let is_own = active.span_id() == mark.context.span_id().into();
        return match is_own {
            true => Owner::Ours,
            false => Owner::Beside(mark.context.clone()),
        };
    }
    if active.is_remote() || layer_registry::has_free(active.span_id().to_bytes()) {
        return Owner::Newer;
    }
    let judged = ATTACHED.try_with(|all| {
        let all = all.borrow();
        let Some(last) = all.last() else {
            return Owner::Newer;
        };
        let is_newer = mark.is_some_and(|mark| {
            let is_here = || all.iter().any(|attached| mark.is_of(attached));
            // A context from elsewhere was attached on purpose. The spans of another layer carry the mark
            // of the scope in which they were made, on every thread.
            mark.is_of(last) || (mark.layer != stack::SCOPE && !is_here())
        });
        if is_newer { Owner::Newer } else { Owner::Other }
    });
    judged.unwrap_or(Owner::Newer)
}

/// Whether another layer has just made its own span active for the span of ours that is being entered. Its
/// span then stays active, for the records of that layer. A span that was active when ours was made does not
/// count.
fn is_other_layers(parent: [u8; 8]) -> bool {
    Context::map_current(|context| {
        let active = context.span().span_context().span_id().to_bytes();
        match owner_of(context) {
            Owner::Nobody | Owner::Ours | Owner::Beside(_) => false,
            Owner::Newer if context.span().span_context().is_remote() => false,
            Owner::Newer | Owner::Other => active != parent && !layer_registry::has_free(active),
        }
    })
}

thread_local! {
    static ATTACHED: RefCell<Vec<Attached>> = const { RefCell::new(Vec::new()) };
}

impl ContextObserver for Activation {
    fn entered(&self, layer: u32, span: u64, context: &TraceContext, parent: [u8; 8]) {
        if is_live() {
            let is_beside = layer != stack::SCOPE && is_other_layers(parent);
            let attached = Attached::new(layer, span, context, is_beside);
            // Without thread locals (the thread ends) the context is detached at once.
            let _ = ATTACHED.try_with(|all| all.borrow_mut().push(attached));
        }
    }

    fn changed(&self, layer: u32, span: u64, context: &TraceContext) {
        let last = ATTACHED.try_with(|all| {
            let all = all.borrow();
            let last = all.last();
            let last = last.filter(|a| (a.layer, a.span) == (layer, span))?;
            Some(last.is_beside)
        });
        // The new context is attached first, so that other values of the old one stay.
        if let Ok(Some(is_beside)) = last {
            let anew = Attached::new(layer, span, context, is_beside);
            self.left(layer, span);
            let _ = ATTACHED.try_with(|all| all.borrow_mut().push(anew));
        }
    }

    fn left(&self, layer: u32, span: u64) {
        let last = ATTACHED.try_with(|all| {
            let mut all = all.borrow_mut();
            let is_it = |a: &Attached| (a.layer, a.span) == (layer, span);
            let at = all.iter().rposition(is_it)?;
            Some(all.remove(at))
        });
        // Outside of the borrow, because observers of the context may be foreign code.
        drop(last);
    }

    fn current(&self) -> Option<TraceContext> {
        if !is_live() {
            return None;
        }
        Context::map_current(|context| {
            let last = ATTACHED.try_with(|all| all.borrow().last().map(|a| a.context.clone()));
            let last = last.ok().flatten();
            let span_id = context.span().span_context().span_id();
            let seen = match owner_of(context) {
                Owner::Other => return None,
                Owner::Beside(own) => own.span_id().into(),
                Owner::Nobody | Owner::Ours | Owner::Newer => span_id,
            };
            match last {
                // The context of a span of this crate has more than the API's: a debug flag, for example.
                Some(own) if seen == own.span_id().into() => {
                    let baggage = Baggage::from(context.baggage());
                    (baggage != *own.baggage()).then(|| own.with_baggage(baggage))
                }
                _ => {
                    let theirs = own_context(context);
                    (theirs.is_valid() || !theirs.baggage().is_empty()).then_some(theirs)
                }
            }
        })
    }
}

/// The mark of a context, whichever span is active in it.
fn own_context(context: &Context) -> TraceContext {
    match owner_of(context) {
        Owner::Beside(own) => own.with_baggage(context.baggage().into()),
        _ => from_context(context),
    }
}

/// The parent of a span that code of the other API makes in `context`.
pub(super) fn parent_in(context: &Context) -> TraceContext {
    // An explicit parent counts; only the current span may belong to another layer.
    let is_current = || {
        Context::map_current(|current| {
            current.span().span_context() == context.span().span_context()
        })
    };
    match owner_of(context) {
        Owner::Other if is_live() && is_current() => crate::context::current(),
        _ => own_context(context),
    }
}

struct ActivationInUse;

impl Drop for ActivationInUse {
    fn drop(&mut self) {}
}

thread_local! {
    /// A thread local that begins after the current context, so it ends before that does.
    static LIVE: ActivationInUse = {
        Context::map_current(|_| ());
        ActivationInUse
    };
}

/// Whether the thread's current context may be read: a read after its end aborts the process.
fn is_live() -> bool {
    LIVE.try_with(|_| ()).is_ok()
}

/// The current OpenTelemetry context with one of our spans as its active span.
pub(super) fn active(layer: u32, span: u64, context: &TraceContext) -> Context {
    let own = ActiveSpan {
        layer,
        span,
        id: context.span_id(),
        context: context.into(),
    };
    let shown = Context::current().with_span(own).with_value(OwnerMark {
        layer,
        context: context.clone(),
        active: context.span_id().into(),
    });
    with_baggage(shown, context.baggage())
}

/// The current OpenTelemetry context, unchanged for another layer, with the mark of one of our spans.
fn beside(layer: u32, context: &TraceContext) -> Context {
    let current = Context::current();
    let active = current.span().span_context().span_id();
    let shown = current.with_value(OwnerMark {
        layer,
        context: context.clone(),
        active,
    });
    with_baggage(shown, context.baggage())
}

/// One of our spans, or a scope, as a span of the OpenTelemetry API. Calls on it reach our span while that
/// is open.
#[derive(Debug)]
struct ActiveSpan {
    layer: u32,
    span: u64,
    id: SpanId,
    context: SpanContext,
}

impl ActiveSpan {
    fn change(&self, change: &Change<'_>) {
        layer_registry::with(self.layer, |spans| {
            if self.is_open(spans) {
                spans.change(self.span, change);
            }
        });
    }

    /// The registry reuses its ids; the span id shows whether it is the same span.
    fn is_open(&self, spans: &dyn Spans) -> bool {
        let context = spans.context(self.span);
        context.is_some_and(|context| context.span_id() == self.id)
    }
}

impl otel::Span for ActiveSpan {
    fn add_event_with_timestamp<T>(&mut self, name: T, at: SystemTime, attributes: Vec<KeyValue>)
    where
        T: Into<Cow<'static, str>>,
    {
        self.change(&Change::Event {
            name: &name.into(),
            at: Some(at),
            attributes: &key_values(attributes),
        });
    }

    fn span_context(&self) -> &SpanContext {
        &self.context
    }

    fn is_recording(&self) -> bool {
        let mut recording = false;
        layer_registry::with(self.layer, |spans| {
            recording = self.is_open(spans) && spans.is_recording(self.span);
        });
        recording
    }

    fn set_attribute(&mut self, attribute: KeyValue) {
        self.change(&Change::Attributes(&[attribute.into()]));
    }

    fn set_status(&mut self, status: otel::Status) {
        self.change(&Change::Status(&status.into()));
    }

    fn update_name<T>(&mut self, name: T)
    where
        T: Into<Cow<'static, str>>,
    {
        self.change(&Change::Name(&name.into()));
    }

    fn add_link(&mut self, to: SpanContext, attributes: Vec<KeyValue>) {
        self.change(&Change::Link(&(&to).into(), &key_values(attributes)));
    }

    fn end_with_timestamp(&mut self, at: SystemTime) {
        layer_registry::with(self.layer, |spans| {
            if self.is_open(spans) {
                spans.end(self.span, Some(at));
            }
        });
    }
}
