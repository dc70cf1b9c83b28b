//! When a span closes, in what order, and what layers see of it meanwhile.

use std::sync::{Arc, Mutex};

use tracing::span::Id;
use tracing::{Dispatch, Span, Subscriber, dispatcher, info_span};
use tracing_otlp::registry::{OtlpRegistry, registry};
use tracing_subscriber::Registry;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

#[derive(Clone, Default)]
struct Closed(Arc<Mutex<Vec<String>>>);

impl Closed {
    fn names(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

/// Notes each close, with the parent that is seen then.
struct Watch(&'static str, Closed);

impl<S> Layer<S> for Watch
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let span = context.span(&id).expect("a closing span is there");
        let parent = span.parent().map_or("none", |p| p.name());
        let line = format!("{}: {} in {parent}", self.0, span.name());
        self.1.0.lock().unwrap().push(line);
    }
}

fn both(test: impl Fn(Dispatch, Closed)) {
    fn stack<S>(registry: S) -> (Dispatch, Closed)
    where
        S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        let closed = Closed::default();
        let (inner, outer) = (Watch("in", closed.clone()), Watch("out", closed.clone()));
        (Dispatch::new(registry.with(inner).with(outer)), closed)
    }
    for (dispatch, closed) in [stack(Registry::default()), stack(registry())] {
        dispatcher::with_default(&dispatch.clone(), || test(dispatch, closed));
    }
}

#[test]
fn a_span_closes_with_its_last_handle() {
    both(|_, closed| {
        let span = info_span!("a");
        let other = span.clone();
        drop(span);
        assert!(closed.names().is_empty());
        drop(other);
        assert_eq!(closed.names(), ["in: a in none", "out: a in none"]);
    });
}

#[test]
fn parents_close_after_their_last_child_at_once() {
    both(|_, closed| {
        let a = info_span!("a");
        let b = info_span!(parent: &a, "b");
        let c = info_span!(parent: &b, "c");
        drop((a, b));
        assert!(closed.names().is_empty());
        drop(c);
        assert_eq!(
            closed.names(),
            [
                "in: c in b",
                "out: c in b",
                "in: b in a",
                "out: b in a",
                "in: a in none",
                "out: a in none",
            ]
        );
    });
}

#[test]
fn an_entered_guard_keeps_its_span() {
    both(|_, closed| {
        let entered = info_span!("a").entered();
        let child = info_span!("b");
        drop(entered);
        assert!(closed.names().is_empty());
        drop(child);
        assert_eq!(closed.names().len(), 4);
    });
}

#[test]
fn a_span_closes_on_the_thread_that_drops_it() {
    both(|dispatch, closed| {
        let parent = info_span!("a");
        let child = info_span!(parent: &parent, "b");
        drop(parent);
        // Without a default subscriber there.
        std::thread::scope(|s| {
            s.spawn(|| drop(child));
        });
        if dispatch.is::<Registry>() {
            // It looks for the parent's subscriber on the thread.
            assert_eq!(closed.names().len(), 2);
        } else {
            assert_eq!(closed.names().len(), 4);
        }
    });
}

/// A box does not tell the registry which subscriber it belongs to.
#[test]
fn a_boxed_subscriber_closes_its_spans() {
    let closed = Closed::default();
    let (inner, outer) = (Watch("in", closed.clone()), Watch("out", closed.clone()));
    let stack: Box<dyn Subscriber + Send + Sync> = Box::new(registry().with(inner).with(outer));
    let dispatch = Dispatch::new(stack);
    let mut orphan = Span::none();
    dispatcher::with_default(&dispatch, || {
        let parent = info_span!("a");
        orphan = info_span!(parent: &parent, "b");
        drop(info_span!(parent: &parent, "c"));
        assert_eq!(closed.names(), ["in: c in a", "out: c in a"]);
    });
    drop(orphan);
    assert_eq!(closed.names().len(), 4);

    // Where no thread has shown the subscriber yet, parents close with the next call.
    let (inner, outer) = (Watch("in", closed.clone()), Watch("out", closed.clone()));
    let stack: Box<dyn Subscriber + Send + Sync> = Box::new(registry().with(inner).with(outer));
    let dispatch = Dispatch::new(stack);
    let (mut parent, mut child) = (Span::none(), Span::none());
    dispatcher::with_default(&dispatch, || {
        parent = info_span!("a");
        child = info_span!(parent: &parent, "b");
    });
    drop((parent, child));
    assert_eq!(closed.names(), ["in: b in a", "out: b in a"]);
    dispatcher::with_default(&dispatch, || drop(info_span!("c")));
    assert_eq!(closed.names().len(), 4);
}

/// Without recursion: each of these would take some hundred bytes of the stack.
#[test]
fn a_long_chain_of_parents_closes() {
    const LENGTH: usize = 200_000;
    let dispatch = Dispatch::new(registry());
    dispatcher::with_default(&dispatch, || {
        let mut span = info_span!(parent: None, "a");
        for _ in 1..LENGTH {
            span = info_span!(parent: &span, "a");
        }
        drop(span);
        let first = info_span!("b").id().unwrap().into_u64();
        assert!(first as u32 <= LENGTH as u32, "a slot is used again");
    });
}

#[test]
fn a_layer_that_panics_leaves_no_span_open() {
    struct Panics;
    impl<S: Subscriber> Layer<S> for Panics {
        fn on_close(&self, _: Id, _: Context<'_, S>) {
            panic!("on purpose");
        }
    }
    let dispatch = Dispatch::new(registry().with(Panics));
    dispatcher::with_default(&dispatch, || {
        let span = info_span!("a");
        let id = span.id().unwrap();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(span)));
        assert!(panicked.is_err());
        let registry = dispatch.downcast_ref::<OtlpRegistry>().unwrap();
        assert!(registry.span(&id).is_none());
    });
}

#[test]
fn handles_of_closed_spans_do_nothing() {
    let dispatch = Dispatch::new(registry());
    dispatcher::with_default(&dispatch, || {
        let id = info_span!("a").id().unwrap();
        assert!(dispatch.current_span().id().is_none());
        assert_eq!(dispatch.clone_span(&id), id);
        assert!(!dispatch.try_close(id.clone()));
        dispatch.enter(&id);
        assert!(dispatch.current_span().id().is_none());
        let other = info_span!("b");
        dispatch.exit(&id);
        assert_ne!(other.id(), Some(id), "an id is not used again at once");
    });
}

#[test]
fn spans_close_while_a_layer_is_told_of_another() {
    /// Drops a span that it holds, and makes one.
    struct Holds(Mutex<Option<Span>>);
    impl<S: Subscriber> Layer<S> for Holds {
        fn on_close(&self, _: Id, _: Context<'_, S>) {
            let held = self.0.lock().unwrap().take();
            if held.is_some() {
                drop(held);
                drop(info_span!("made"));
            }
        }
    }
    let closed = Closed::default();
    let holds = Holds(Mutex::new(None));
    let stack = registry().with(Watch("in", closed.clone())).with(holds);
    let dispatch = Dispatch::new(stack);
    dispatcher::with_default(&dispatch, || {
        let holds = dispatch.downcast_ref::<Holds>().unwrap();
        *holds.0.lock().unwrap() = Some(info_span!("held"));
        drop(info_span!("a"));
    });
    assert_eq!(
        closed.names(),
        ["in: a in none", "in: held in none", "in: made in none"]
    );
}

/// Each span is opened on one thread, and closed on another.
#[test]
fn threads_share_spans() {
    let closed = Closed::default();
    let dispatch = Dispatch::new(registry().with(Watch("in", closed.clone())));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                dispatcher::with_default(&dispatch, || {
                    for _ in 0..50 {
                        let root = info_span!("root");
                        let children: Vec<_> =
                            (0..4).map(|_| info_span!(parent: &root, "child")).collect();
                        drop(root);
                        std::thread::scope(|s| {
                            for child in children {
                                s.spawn(|| drop(child));
                            }
                        });
                    }
                });
            });
        }
    });
    let names = closed.names();
    let count = |name: &str| names.iter().filter(|n| n.as_str() == name).count();
    assert_eq!(count("in: child in root"), 4 * 50 * 4);
    assert_eq!(count("in: root in none"), 4 * 50);
}

/// A subscriber around the layers that drops a span of its own before it passes a close on.
#[test]
fn a_subscriber_around_may_close_a_span_within_a_close() {
    struct Around<S> {
        inner: S,
        own: Arc<Mutex<Vec<Span>>>,
    }

    impl<S: Subscriber> Subscriber for Around<S> {
        fn on_register_dispatch(&self, dispatch: &Dispatch) {
            self.inner.on_register_dispatch(dispatch);
        }
        fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
            self.inner.enabled(metadata)
        }
        fn new_span(&self, attributes: &tracing::span::Attributes<'_>) -> Id {
            self.inner.new_span(attributes)
        }
        fn record(&self, span: &Id, values: &tracing::span::Record<'_>) {
            self.inner.record(span, values);
        }
        fn record_follows_from(&self, span: &Id, follows: &Id) {
            self.inner.record_follows_from(span, follows);
        }
        fn event(&self, event: &tracing::Event<'_>) {
            self.inner.event(event);
        }
        fn enter(&self, span: &Id) {
            self.inner.enter(span);
        }
        fn exit(&self, span: &Id) {
            self.inner.exit(span);
        }
        fn clone_span(&self, span: &Id) -> Id {
            self.inner.clone_span(span)
        }
        fn try_close(&self, span: Id) -> bool {
            let own = self.own.lock().unwrap().pop();
            drop(own);
            self.inner.try_close(span)
        }
    }

    fn closed_around<S>(registry: S) -> Vec<String>
    where
        S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        let closed = Closed::default();
        let own: Arc<Mutex<Vec<Span>>> = Arc::default();
        let dispatch = Dispatch::new(Around {
            inner: registry.with(Watch("in", closed.clone())),
            own: Arc::clone(&own),
        });
        dispatcher::with_default(&dispatch, || {
            let [a, b] = [info_span!("a"), info_span!("b")];
            // With `Registry` a close is one call, with ours two: of either, one ends a span of these.
            let more = [Span::none(), info_span!("c"), info_span!("d"), Span::none()];
            own.lock().unwrap().extend(more);
            drop(a);
            drop(b);
            let rest = std::mem::take(&mut *own.lock().unwrap());
            drop(rest);
        });
        let mut names = closed.names();
        names.sort();
        names
    }

    let expected = closed_around(Registry::default());
    assert_eq!(expected.len(), 4);
    assert_eq!(closed_around(registry()), expected);
}

/// The first of two dispatches of one subscriber is gone.
#[test]
fn a_subscriber_that_is_shared_closes_parents_at_once() {
    let closed = Closed::default();
    let subscriber = Arc::new(registry().with(Watch("in", closed.clone())));
    dispatcher::with_default(&Dispatch::new(Arc::clone(&subscriber)), || {
        drop(info_span!("first"));
        assert_eq!(closed.names(), ["in: first in none"]);
    });
    dispatcher::with_default(&Dispatch::new(subscriber), || {
        let parent = info_span!("a");
        let child = info_span!(parent: &parent, "b");
        drop((parent, child));
        assert_eq!(closed.names(), ["in: b in a", "in: a in none"]);
    });
}
