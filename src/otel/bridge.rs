//! Context activation: the OpenTelemetry context follows the spans that are entered.

use std::borrow::Cow;
use std::cell::RefCell;
use std::time::SystemTime;

use opentelemetry::baggage::BaggageExt as _;
use opentelemetry::trace::{self as otel, SpanContext, TraceContextExt as _};
use opentelemetry::{Context, ContextGuard, KeyValue};

use super::convert::{from_context, key_values, with_baggage};
use crate::context::bridge::{self, Bridge};
use crate::context::doors::{self, Change, Spans};
use crate::context::{Baggage, SpanId, TraceContext};

/// The bridge, from now on also told of scopes.
pub(crate) fn activation() -> &'static dyn Bridge {
    bridge::set(&Activation);
    &Activation
}

struct Activation;

/// A context that is attached for a span or scope.
struct Attached {
    layer: u32,
    span: u64,
    context: TraceContext,
    _guard: ContextGuard,
}

impl Attached {
    fn new(layer: u32, span: u64, context: &TraceContext) -> Self {
        Self {
            layer,
            span,
            context: context.clone(),
            _guard: active(layer, span, context).attach(),
        }
    }
}

thread_local! {
    static ATTACHED: RefCell<Vec<Attached>> = const { RefCell::new(Vec::new()) };
}

impl Bridge for Activation {
    fn entered(&self, layer: u32, span: u64, context: &TraceContext) {
        if is_live() {
            let attached = Attached::new(layer, span, context);
            // Where the thread's locals are gone, it is detached at once.
            let _ = ATTACHED.try_with(|all| all.borrow_mut().push(attached));
        }
    }

    fn changed(&self, layer: u32, span: u64, context: &TraceContext) {
        let is_last = ATTACHED.try_with(|all| {
            let all = all.borrow();
            let last = all.last();
            last.is_some_and(|a| (a.layer, a.span) == (layer, span))
        });
        // Attached before the other is left, so that all else in the context stays.
        if is_last.unwrap_or(false) {
            let anew = Attached::new(layer, span, context);
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
        // Outside of the borrow: observers of the context may be foreign code.
        drop(last);
    }

    fn current(&self) -> Option<TraceContext> {
        if !is_live() {
            return None;
        }
        Context::map_current(|context| {
            let last = ATTACHED.try_with(|all| all.borrow().last().map(|a| a.context.clone()));
            let span_id = context.span().span_context().span_id();
            match last.ok().flatten() {
                // One of ours, which we know better: they have no debug flag, for one.
                Some(own) if span_id == own.span_id().into() => {
                    let baggage = Baggage::from(context.baggage());
                    (baggage != *own.baggage()).then(|| own.with_baggage(baggage))
                }
                _ => {
                    let theirs = from_context(context);
                    (theirs.is_valid() || !theirs.baggage().is_empty()).then_some(theirs)
                }
            }
        })
    }
}

struct Live;

impl Drop for Live {
    fn drop(&mut self) {}
}

thread_local! {
    /// Begins after the thread's current context, so it is gone before that is.
    static LIVE: Live = {
        Context::map_current(|_| ());
        Live
    };
}

/// Whether the thread's current context can still be asked for: to ask for it after that aborts.
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
    with_baggage(Context::current().with_span(own), context.baggage())
}

/// One of our spans, or a scope, as the OpenTelemetry API sees it. What is said of it reaches the span
/// as long as it is open.
#[derive(Debug)]
struct ActiveSpan {
    layer: u32,
    span: u64,
    id: SpanId,
    context: SpanContext,
}

impl ActiveSpan {
    fn change(&self, change: &Change<'_>) {
        doors::with(self.layer, |spans| {
            if self.is_open(spans) {
                spans.change(self.span, change);
            }
        });
    }

    /// The registry uses its ids again; ours tells whether it is the same span.
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
        doors::with(self.layer, |spans| {
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
        doors::with(self.layer, |spans| {
            if self.is_open(spans) {
                spans.end(self.span, Some(at));
            }
        });
    }
}
