//! The layer alone, beside others, filtered, boxed, reloaded, twice; spans entered and closed in
//! every odd way; and after the end (PAIN 13, 14, 15, 17, 18).

use std::cell::RefCell;
use std::sync::{Arc, Barrier};
use std::thread::LocalKey;
use std::time::Duration;

use crate::capture::Span;
use crate::life::{LONG, PROTOCOLS, quiet};
use tracing::{Dispatch, Subscriber, dispatcher, info, info_span};
use tracing_otlp::testing::Collector;
use tracing_otlp::{DropReason, OtlpLayer};
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::{Registry, fmt, registry, reload};

/// A parent, a child, an event in each, and a field that is recorded late.
fn work() {
    let parent = info_span!("parent", late = tracing::field::Empty).entered();
    info!("in the parent");
    info_span!("child").in_scope(|| info!("in the child"));
    parent.record("late", 7);
}

/// Fails unless `spans` are what [`work`] makes.
#[track_caller]
fn worked(spans: &[Span], what: &str) {
    let names: Vec<_> = spans.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["child", "parent"], "{what}");
    let [child, parent] = spans else {
        unreachable!()
    };
    assert_eq!(child.parent_span_id, parent.span_id, "{what}");
    assert_eq!(child.trace_id, parent.trace_id, "{what}");
    assert!(parent.parent_span_id.is_empty(), "{what}");
    assert_eq!((child.events.len(), parent.events.len()), (1, 1), "{what}");
    assert_eq!(
        crate::capture::value(&parent.attributes, "late"),
        Some(&crate::capture::int(7).unwrap())
    );
}

#[track_caller]
fn works<S>(what: &str, wrap: impl FnOnce(OtlpLayer) -> S)
where
    S: Subscriber + Send + Sync + 'static,
{
    let (layer, capture) = crate::capture::layer();
    let dispatch = Dispatch::new(wrap(layer));
    dispatcher::with_default(&dispatch, work);
    worked(&capture.spans(), what);
    let stats = capture.stats();
    assert_eq!(
        (stats.started, stats.unaccounted()),
        (2, 0),
        "{what}: {stats}"
    );
}

fn quiet_fmt<S>() -> impl Layer<S>
where
    S: Subscriber + for<'a> registry::LookupSpan<'a>,
{
    fmt::layer().with_writer(std::io::sink)
}

/// PAIN 15
#[test]
fn in_every_wrapper() {
    let info = LevelFilter::INFO;
    works("alone", |l| registry().with(l));
    works("under fmt", |l| registry().with(l).with(quiet_fmt()));
    works("over fmt", |l| registry().with(quiet_fmt()).with(l));
    works("a global filter", |l| registry().with(info).with(l));
    works("its own filter", |l| registry().with(l.with_filter(info)));
    works("others filtered", |l| {
        registry()
            .with(quiet_fmt().with_filter(LevelFilter::OFF))
            .with(l)
    });
    works("all filtered", |l| {
        registry()
            .with(quiet_fmt().with_filter(LevelFilter::WARN))
            .with(l.with_filter(info))
    });
    works("Some", |l| registry().with(Some(l)));
    works("None beside", |l| {
        registry().with(None::<LevelFilter>).with(l)
    });
    works("boxed", |l| registry().with(l.boxed()));
    works("boxed twice, filtered", |l| {
        registry().with(l.with_filter(info).boxed().boxed())
    });
    works("a Vec", |l| {
        registry().with(vec![l.boxed(), quiet_fmt().boxed()])
    });
    works("reload", |l| registry().with(reload::Layer::new(l).0));
    works("reload, filtered", |l| {
        registry().with(reload::Layer::new(l.with_filter(info)).0)
    });
    works("and_then", |l| registry().with(quiet_fmt().and_then(l)));
    works("and_then, first", |l| {
        registry().with(l.and_then(quiet_fmt()))
    });
}

/// A span that is hidden from us joins its children to the recorded ancestor, in each wrapper.
#[test]
fn a_hidden_span_is_bridged() {
    fn hides() -> impl tracing_subscriber::layer::Filter<Registry> {
        filter_fn(|metadata| metadata.name() != "hidden")
    }
    type Wrap = fn(OtlpLayer) -> Box<dyn Layer<Registry> + Send + Sync>;
    let wraps: [(&str, Wrap); 4] = [
        ("filtered", |l| l.with_filter(hides()).boxed()),
        ("Option", |l| Some(l.with_filter(hides())).boxed()),
        ("Vec", |l| vec![l.with_filter(hides()).boxed()].boxed()),
        ("reload", |l| {
            reload::Layer::new(l.with_filter(hides())).0.boxed()
        }),
    ];
    for (what, wrap) in wraps {
        let (layer, capture) = crate::capture::layer();
        crate::capture::under(registry().with(wrap(layer)), || {
            let _outer = info_span!("outer").entered();
            let _hidden = info_span!("hidden").entered();
            info_span!("inner").in_scope(|| info!("seen"));
        });
        let spans = capture.spans();
        let [inner, outer] = &spans[..] else {
            panic!("{what}: {spans:?}")
        };
        assert_eq!(inner.parent_span_id, outer.span_id, "{what}");
        assert_eq!(inner.trace_id, outer.trace_id, "{what}");
    }
}

/// A layer that comes late records spans of callsites that registered before it; the spans that are
/// open when it goes are counted.
#[test]
fn reloaded_in_and_away() {
    let (layer, capture) = crate::capture::layer();
    let (slot, handle) = reload::Layer::new(None::<OtlpLayer>);
    let dispatch = Dispatch::new(registry().with(slot));
    let open = dispatcher::with_default(&dispatch, || {
        let before = info_span!("before it came").entered();
        work();
        handle.reload(Some(layer)).unwrap();
        info!("an event for a span that it does not know");
        drop(before);
        work();
        let open = info_span!("open when it goes");
        info_span!("closed in time");
        open
    });
    let stats = capture.stats();
    assert_eq!((stats.started, stats.open), (4, 1), "{stats}");
    handle.reload(None).unwrap();
    let stats = capture.stats();
    assert_eq!(stats.dropped(DropReason::LayerGone), 1, "{stats}");
    assert_eq!((stats.open, stats.unaccounted()), (0, 0), "{stats}");
    dispatcher::with_default(&dispatch, || {
        open.in_scope(|| info!("too late"));
        drop(open);
        work();
    });
    let spans = capture.spans_but_for_losses();
    worked(&spans[..2], "reloaded in");
    assert_eq!(spans.len(), 3);
    assert_eq!(capture.stats().started, 4);
}

/// Two pipelines in one subscriber, each with its endpoint: every span is at each, once.
#[test]
fn two_layers_with_two_endpoints() {
    let [first, second] = PROTOCOLS.map(|protocol| {
        let collector = Collector::start();
        let endpoint = collector.endpoint(protocol);
        let (layer, guard) = quiet(&endpoint, protocol).build().unwrap();
        (collector, layer, guard)
    });
    let subscriber = registry().with(first.1).with(second.1);
    crate::capture::under(subscriber, || (0..10).for_each(|_| work()));
    for (collector, guard) in [(first.0, first.2), (second.0, second.2)] {
        guard.shutdown_blocking(LONG).unwrap();
        assert_eq!(collector.span_count(), 20);
        for span in collector.spans() {
            assert_eq!(span.events.len(), 1);
        }
        let stats = guard.stats();
        assert_eq!((stats.delivered, stats.unaccounted()), (20, 0), "{stats}");
    }
}

/// Two registries give the same ids to their spans; neither layer takes the other's for its own.
#[test]
fn two_subscribers_whose_ids_collide() {
    let (layer, ours) = crate::capture::layer();
    let a = Dispatch::new(registry().with(layer));
    let (layer, theirs) = crate::capture::layer();
    let b = Dispatch::new(registry().with(layer));
    let open = |dispatch: &Dispatch, name: &'static str| {
        dispatcher::with_default(dispatch, || info_span!("open", name))
    };
    let (in_a, in_b) = (open(&a, "a"), open(&b, "b"));
    assert_eq!(in_a.id().unwrap().into_u64(), in_b.id().unwrap().into_u64());
    {
        let _a = in_a.enter();
        let _b = in_b.enter();
        dispatcher::with_default(&a, || info_span!("child of a").in_scope(|| info!("a")));
        dispatcher::with_default(&b, || info_span!("child of b").in_scope(|| info!("b")));
    }
    drop((in_a, in_b));
    for (capture, child) in [(ours, "child of a"), (theirs, "child of b")] {
        let spans = capture.spans();
        assert_eq!(spans.len(), 2);
        assert_eq!(spans[0].name, child);
        assert_eq!(spans[0].parent_span_id, spans[1].span_id);
        assert_eq!(spans[0].events.len(), 1);
    }
}

/// PAIN 17, 18: entered often, on many threads at once, left out of order, closed elsewhere.
#[test]
fn spans_entered_everywhere() {
    let (layer, capture) = crate::capture::layer();
    let dispatch = Dispatch::new(registry().with(layer));
    dispatcher::with_default(&dispatch, || {
        let shared = info_span!("shared");
        let barrier = Arc::new(Barrier::new(4));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (span, barrier) = (shared.clone(), Arc::clone(&barrier));
                let dispatch = dispatch.clone();
                std::thread::spawn(move || {
                    dispatcher::with_default(&dispatch, || {
                        for _ in 0..500 {
                            let _guard = span.enter();
                            info_span!("short").in_scope(|| {});
                        }
                        barrier.wait();
                    });
                })
            })
            .collect();
        drop(shared);
        threads.into_iter().for_each(|t| t.join().unwrap());

        let (first, second) = (info_span!("first"), info_span!("second"));
        let (a, b) = (first.enter(), second.enter());
        drop(a);
        info_span!("within second").in_scope(|| {});
        drop(b);
        info_span!("a root again").in_scope(|| {});
    });
    let spans = capture.spans();
    let find = |name: &str| spans.iter().find(|s| s.name == name).unwrap();
    let shorts = spans.iter().filter(|s| s.name == "short");
    let shared = &find("shared").span_id;
    assert_eq!(shorts.filter(|s| &s.parent_span_id == shared).count(), 2000);
    assert_eq!(find("within second").parent_span_id, find("second").span_id);
    assert!(find("a root again").parent_span_id.is_empty());
    let stats = capture.stats();
    assert_eq!((stats.delivered, stats.unaccounted()), (2005, 0), "{stats}");
}

/// PAIN 18: a guard held across an await is left on whatever thread the task wakes up on. Traces may
/// mix, as for every layer; nothing panics or leaks, and the threads' stacks mend themselves. (Many
/// more would overflow the registry's own stack, which closes parents by recursion.)
#[test]
fn a_guard_held_across_an_await() {
    let (layer, capture) = crate::capture::layer();
    let dispatch = Dispatch::new(registry().with(layer));
    let local = tokio::task::LocalSet::new();
    let runtime = crate::life::FLAVOURS[0].build();
    dispatcher::with_default(&dispatch, || {
        local.block_on(&runtime, async {
            let tasks: Vec<_> = (0..8)
                .map(|task| {
                    tokio::task::spawn_local(async move {
                        for round in 0..12 {
                            let held = info_span!("held", task, round).entered();
                            tokio::task::yield_now().await;
                            info!("after the await");
                            drop(held);
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
        });
        info_span!("a root again").in_scope(|| info!("its own"));
    });
    let spans = capture.spans();
    let last = spans.iter().find(|s| s.name == "a root again").unwrap();
    assert!(last.parent_span_id.is_empty());
    assert_eq!(last.events.len(), 1);
    let stats = capture.stats();
    assert_eq!(
        (stats.delivered, stats.open, stats.unaccounted()),
        (97, 0, 0),
        "{stats}"
    );
}

/// A span that lives in a thread-local closes in its destructor, when other locals may be gone.
#[test]
fn spans_closed_by_destructors_of_thread_locals() {
    struct Late(Option<tracing::Span>, Dispatch);
    impl Drop for Late {
        fn drop(&mut self) {
            // The registry itself panics where a span is made or entered here.
            let span = self.0.take().unwrap();
            dispatcher::with_default(&self.1, || {
                info!(parent: &span, "late");
                span.record("late", "text");
                drop(span);
            });
        }
    }
    thread_local! {
        static FIRST: RefCell<Option<Late>> = const { RefCell::new(None) };
        static LAST: RefCell<Option<Late>> = const { RefCell::new(None) };
    }
    let (layer, capture) = crate::capture::layer();
    let dispatch = Dispatch::new(registry().with(layer));
    for touch_first in [false, true] {
        let dispatch = dispatch.clone();
        let thread = std::thread::spawn(move || {
            let keep = |slot: &'static LocalKey<RefCell<Option<Late>>>, name: &'static str| {
                slot.with(|s| {
                    let span = info_span!("kept", name, late = tracing::field::Empty);
                    *s.borrow_mut() = Some(Late(Some(span), dispatch.clone()));
                });
            };
            dispatcher::with_default(&dispatch, || {
                // The order in which locals are first used is that in which they go.
                if touch_first {
                    FIRST.with(|s| drop(s.borrow_mut().take()));
                }
                work();
                keep(&FIRST, "first");
                keep(&LAST, "last");
            });
        });
        thread.join().unwrap();
    }
    capture.guard().force_flush_blocking(LONG).unwrap();
    let stats = capture.stats();
    assert_eq!((stats.open, stats.unaccounted()), (0, 0), "{stats}");
    assert_eq!(stats.started, stats.delivered, "{stats}");
    let spans = capture.spans();
    let kept: Vec<_> = spans.iter().filter(|s| s.name == "kept").collect();
    assert_eq!(kept.len(), 4);
    for span in kept {
        assert_eq!(span.events.len(), 1);
        assert_eq!(
            crate::capture::value(&span.attributes, "late"),
            crate::capture::text("text").as_ref()
        );
    }
}

/// At shutdown open spans are open still; those that close later are counted, and no call fails.
#[test]
fn after_shutdown() {
    let collector = Collector::start();
    let crate::life::Pipeline {
        dispatch, guard, ..
    } = crate::life::pipeline(quiet(&collector.grpc_endpoint(), PROTOCOLS[0]));
    let (never_closed, closed_late) = dispatcher::with_default(&dispatch, || {
        work();
        (info_span!("never closed"), info_span!("closed late"))
    });
    guard.shutdown_blocking(LONG).unwrap();
    let stats = guard.stats();
    assert_eq!(
        (stats.delivered, stats.open, stats.unaccounted()),
        (2, 2, 0),
        "{stats}"
    );
    closed_late.in_scope(|| info!("late"));
    drop(closed_late);
    dispatcher::with_default(&dispatch, work);
    let stats = guard.stats();
    assert_eq!(stats.dropped(DropReason::AlreadyShutdown), 3, "{stats}");
    assert_eq!((stats.open, stats.unaccounted()), (1, 0), "{stats}");
    guard
        .force_flush_blocking(Duration::from_millis(100))
        .unwrap();
    guard.shutdown_blocking(LONG).unwrap();
    drop(guard);
    dispatcher::with_default(&dispatch, work);
    drop(never_closed);
    assert_eq!(collector.span_count(), 2);
}
