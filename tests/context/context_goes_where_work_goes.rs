//! A context is current along a future, a closure and a thread, with and without spans (DESIGN §4).
//!
//! One subscriber for the whole process, as an application has it; each test has traces of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "../support/capture.rs"]
mod capture;

use std::future::{Future, pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;

use capture::{Capture, Span, layer, named};
use tokio::task::yield_now;
use tracing::{Instrument as _, info_span};
use tracing_otlp::context::TraceFlags;
use tracing_otlp::context::{self, FutureExt as _};
use tracing_otlp::{SpanExt as _, SpanId, TraceContext, TraceId};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

static CAPTURE: OnceLock<Capture> = OnceLock::new();

fn capture() -> &'static Capture {
    CAPTURE.get_or_init(|| {
        let (layer, capture) = layer();
        match capture::has_own_registry() {
            true => tracing_otlp::registry().with(layer).init(),
            false => tracing_subscriber::registry().with(layer).init(),
        }
        capture
    })
}

/// A remote parent in a trace that no other test has.
fn remote(flags: TraceFlags) -> TraceContext {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    capture();
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    TraceContext::new(
        TraceId::from_bytes([id; 16]),
        SpanId::from_bytes([id; 8]),
        flags,
    )
    .with_remote(true)
}

/// What arrived of a trace.
fn spans_of(trace: &TraceContext) -> Vec<Span> {
    let mut spans = capture().spans();
    spans.retain(|span| span.trace_id == trace.trace_id().to_bytes());
    spans
}

#[track_caller]
fn assert_parent(span: &Span, parent: &TraceContext) {
    assert_eq!(span.trace_id, parent.trace_id().to_bytes());
    assert_eq!(span.parent_span_id, parent.span_id().to_bytes());
}

#[test]
fn a_span_in_a_scope_continues_its_trace() {
    let cx = remote(TraceFlags::SAMPLED);
    context::sync_scope(cx.clone(), || {
        let outer = info_span!("outer").entered();
        assert_eq!(context::current(), outer.trace_context());
        drop(info_span!("inner"));
        drop(info_span!(parent: None, "apart"));
    });
    let spans = spans_of(&cx);
    assert_parent(named(&spans, "outer"), &cx);
    // Sampled, the parent is known to be remote; the random flag is the caller's (W3C-4).
    assert_eq!(named(&spans, "outer").flags, 0x301);
    let (outer, inner) = (named(&spans, "outer"), named(&spans, "inner"));
    assert_eq!(inner.parent_span_id, outer.span_id);
    assert_eq!(inner.flags, 0x101);
    assert_eq!(spans.len(), 2, "a root by its own word is apart: {spans:?}");
}

#[test]
fn code_without_a_span_sees_the_trace() {
    let cx = remote(TraceFlags::SAMPLED);
    assert!(!context::current().is_valid());
    context::sync_scope(cx.clone(), || assert_eq!(context::current(), cx));
    assert!(!context::current().is_valid());
}

#[test]
fn an_unsampled_parent_is_followed_and_passed_on() {
    let cx = remote(TraceFlags::RANDOM);
    context::sync_scope(cx.clone(), || {
        let span = info_span!("not recorded").entered();
        let own = context::current();
        assert_eq!(own.trace_id(), cx.trace_id());
        assert_ne!(own.span_id(), cx.span_id());
        assert_eq!(own.flags(), TraceFlags::RANDOM);
        assert!(!span.is_recording());
    });
    assert!(spans_of(&cx).is_empty());
}

#[test]
fn what_came_with_a_request_goes_on_with_the_next_one() {
    use std::collections::HashMap;
    use tracing_otlp::propagation::{
        B3Propagator, BaggagePropagator, CompositePropagator, Propagator as _,
        TraceContextPropagator,
    };
    capture();
    let formats = CompositePropagator::none()
        .with(B3Propagator::single())
        .with(TraceContextPropagator)
        .with(BaggagePropagator);
    let mut request = HashMap::new();
    for (key, value) in [
        ("b3", "fe000000000000000000000000000001-00000000000000fe-d"),
        (
            "traceparent",
            "00-fe000000000000000000000000000001-00000000000000fe-03",
        ),
        ("tracestate", "rojo=1,congo=2"),
        ("baggage", "user=7;p=1"),
    ] {
        request.insert(key.to_owned(), value.to_owned());
    }
    let cx = formats.extract(TraceContext::default(), &request);
    assert!(cx.is_remote() && cx.flags().is_debug(), "{cx:?}");
    let (sent, child) = context::sync_scope(cx.clone(), || {
        let _server = info_span!("server").entered();
        let client = info_span!("client").entered();
        let mut next = HashMap::new();
        formats.inject(&context::current(), &mut next);
        (next, client.trace_context().span_id())
    });
    let trace = cx.trace_id();
    assert_eq!(sent["b3"], format!("{trace}-{child}-d"));
    assert_eq!(sent["traceparent"], format!("00-{trace}-{child}-03"));
    assert_eq!(sent["tracestate"], "rojo=1,congo=2");
    assert_eq!(sent["baggage"], "user=7;p=1");
    let spans = spans_of(&cx);
    assert_eq!(named(&spans, "client").trace_state, "rojo=1,congo=2");
    // The debug flag is ours and theirs, not W3C's.
    assert!(spans.iter().all(|span| span.flags & 0xff == 3));
}

#[test]
fn scopes_nest_and_restore_also_in_panics() {
    let (a, b) = (remote(TraceFlags::SAMPLED), remote(TraceFlags::SAMPLED));
    context::sync_scope(a.clone(), || {
        context::sync_scope(b.clone(), || assert_eq!(context::current(), b));
        assert_eq!(context::current(), a);
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            context::sync_scope(b.clone(), || panic!("on purpose"))
        }));
        assert!(panicked.is_err());
        assert_eq!(context::current(), a);
    });
    assert!(!context::current().is_valid());
}

#[test]
fn a_scope_wins_over_the_span_around_it_until_another_is_entered() {
    // A consumer's loop that handles one message's context.
    let cx = remote(TraceFlags::SAMPLED);
    let consumer = info_span!("loop").entered();
    context::sync_scope(cx.clone(), || {
        assert_eq!(context::current(), cx);
        let message = info_span!("message").entered();
        drop(info_span!("step"));
        assert_eq!(context::current(), message.trace_context());
        drop(message);
        assert_eq!(context::current(), cx);
    });
    assert_eq!(context::current(), consumer.trace_context());
    drop(consumer);
    let spans = spans_of(&cx);
    assert_parent(named(&spans, "message"), &cx);
    assert_eq!(
        named(&spans, "step").parent_span_id,
        named(&spans, "message").span_id
    );
}

#[test]
fn a_context_without_a_trace_separates() {
    let cx = remote(TraceFlags::SAMPLED);
    context::sync_scope(cx.clone(), || {
        let outer = info_span!("outer").entered();
        context::sync_scope(TraceContext::default(), || {
            assert!(!context::current().is_valid());
            let apart = info_span!("apart").entered();
            assert_ne!(
                apart.trace_context().trace_id(),
                outer.trace_context().trace_id()
            );
        });
    });
    assert_eq!(spans_of(&cx).len(), 1);
}

#[test]
fn a_future_has_its_context_in_each_poll_and_when_it_is_dropped() {
    struct Late(&'static str);
    impl Drop for Late {
        fn drop(&mut self) {
            drop(info_span!("late", name = self.0));
        }
    }
    let cx = remote(TraceFlags::SAMPLED);
    let mut task = Context::from_waker(Waker::noop());
    {
        let mut future = pin!(
            async {
                let _late = Late("dropped with the future");
                drop(info_span!("first poll"));
                pending::<()>().await;
            }
            .with_trace_context(cx.clone())
        );
        assert!(future.as_mut().poll(&mut task).is_pending());
        assert!(!context::current().is_valid(), "between two polls");
        assert_eq!(future.trace_context(), &cx);
        // Cancelled here.
    }
    assert!(!context::current().is_valid());
    let spans = spans_of(&cx);
    assert_parent(named(&spans, "first poll"), &cx);
    assert_parent(named(&spans, "late"), &cx);
}

#[test]
fn a_future_that_moves_between_threads_takes_its_context_along() {
    let cx = remote(TraceFlags::SAMPLED);
    let mut polls = 0;
    let mut future = Box::pin(
        poll_fn(move |_| {
            polls += 1;
            drop(info_span!("poll"));
            match polls {
                4 => Poll::Ready(context::current()),
                _ => Poll::Pending,
            }
        })
        .with_trace_context(cx.clone()),
    );
    for _ in 0..3 {
        let here = thread::spawn(move || {
            let mut task = Context::from_waker(Waker::noop());
            assert!(future.as_mut().poll(&mut task).is_pending());
            assert!(!context::current().is_valid());
            future
        });
        future = here.join().unwrap();
    }
    let mut task = Context::from_waker(Waker::noop());
    assert_eq!(future.as_mut().poll(&mut task), Poll::Ready(cx.clone()));
    let spans = spans_of(&cx);
    assert_eq!(spans.len(), 4);
    for span in &spans {
        assert_parent(span, &cx);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spawned_work_carries_what_was_current() {
    let cx = remote(TraceFlags::SAMPLED);
    let request = context::sync_scope(cx.clone(), || info_span!("request"));
    let own = request.trace_context();
    async {
        let task = async {
            yield_now().await;
            drop(info_span!("task"));
            context::current()
        };
        let task = tokio::spawn(task.in_current_trace_context());
        let blocking = tokio::task::spawn_blocking(context::in_current_trace_context(|| {
            drop(info_span!("blocking"));
        }));
        let thread = thread::spawn(context::in_current_trace_context(|| {
            drop(info_span!("thread"));
        }));
        assert_eq!(task.await.unwrap(), context::current());
        blocking.await.unwrap();
        thread.join().unwrap();
    }
    .instrument(request)
    .await;
    let spans = spans_of(&cx);
    for name in ["task", "blocking", "thread"] {
        assert_parent(named(&spans, name), &own);
    }
    assert_parent(named(&spans, "request"), &cx);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_never_merge_their_traces() {
    let contexts: Vec<_> = (0..20).map(|_| remote(TraceFlags::SAMPLED)).collect();
    let tasks: Vec<_> = contexts
        .iter()
        .map(|cx| {
            let expected = cx.clone();
            let work = async move {
                for _ in 0..50 {
                    let span = info_span!("work");
                    assert_eq!(span.trace_context().trace_id(), expected.trace_id());
                    async {
                        yield_now().await;
                        assert_eq!(context::current().trace_id(), expected.trace_id());
                    }
                    .instrument(span)
                    .await;
                    assert_eq!(context::current(), expected);
                }
            };
            tokio::spawn(work.with_trace_context(cx.clone()))
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    for cx in &contexts {
        let spans = spans_of(cx);
        assert_eq!(spans.len(), 50);
        assert!(
            spans
                .iter()
                .all(|s| s.parent_span_id == cx.span_id().to_bytes())
        );
    }
}
