//! Tail sampling through the front door: local traces are exported whole, or dropped and counted.

use std::time::{Duration, Instant};

use crate::capture::{Capture, layer_with, named};
use tracing::{Dispatch, Span, dispatcher, error, info_span};
use tracing_otlp::config::TailConfig;
use tracing_otlp::context::{IdGenerator, TraceFlags};
use tracing_otlp::{
    DropReason, OtlpBuilder, SpanExt as _, SpanId, Status, TraceContext, TraceId, context,
};
use tracing_subscriber::layer::SubscriberExt as _;

const LONG: Duration = Duration::from_secs(120);

fn tail(edit: impl FnOnce(&mut TailConfig)) -> impl FnOnce(OtlpBuilder) -> OtlpBuilder {
    let mut config = TailConfig::default();
    edit(&mut config);
    move |builder| builder.with_tail_sampling(config)
}

/// Runs `f` under such a pipeline; the layer lives on in the dispatch.
fn under(edit: impl FnOnce(&mut TailConfig), f: impl FnOnce()) -> (Dispatch, Capture) {
    let (layer, capture) = layer_with(tail(edit));
    let dispatch = Dispatch::new(tracing_subscriber::registry().with(layer));
    dispatcher::with_default(&dispatch, f);
    (dispatch, capture)
}

/// Names of what arrived, sorted; the sums are exact.
#[track_caller]
fn arrived(capture: &Capture) -> Vec<String> {
    let mut names: Vec<_> = capture.spans().into_iter().map(|s| s.name).collect();
    names.sort();
    let stats = capture.stats();
    assert_eq!(stats.unaccounted(), 0, "{stats}");
    assert_eq!(stats.delivered, names.len() as u64, "{stats}");
    names
}

fn tail_dropped(capture: &Capture) -> u64 {
    capture.stats().dropped(DropReason::TailDropped)
}

#[test]
fn a_failed_trace_is_kept_whole_and_in_order_a_quiet_one_is_dropped_and_counted() {
    let (_dispatch, capture) = under(
        |_| {},
        || {
            for fails in [false, true] {
                let root = info_span!("root", fails).entered();
                info_span!("early").in_scope(|| info_span!("grandchild").in_scope(|| {}));
                info_span!("middle").in_scope(|| {
                    if fails {
                        error!("broken");
                    }
                });
                info_span!("last").in_scope(|| {});
                drop(root);
            }
        },
    );
    let spans = capture.spans();
    let names: Vec<_> = spans.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["grandchild", "early", "middle", "last", "root"]);
    let root = named(&spans, "root");
    assert!(spans.iter().all(|s| s.trace_id == root.trace_id));
    assert_eq!(named(&spans, "early").parent_span_id, root.span_id);
    assert_eq!(named(&spans, "middle").status.clone().unwrap().code, 2);
    assert_eq!(tail_dropped(&capture), 5);
    assert_eq!(capture.stats().unaccounted(), 0);
}

#[test]
fn a_slow_trace_is_kept() {
    let limit = Duration::from_millis(20);
    let (_dispatch, capture) = under(
        |c| {
            c.slower_than = Some(limit);
            c.keep_errors = false;
        },
        || {
            info_span!("slow").in_scope(|| {
                info_span!("in slow").in_scope(|| {});
                let begun = Instant::now();
                while begun.elapsed() < 2 * limit {
                    std::thread::sleep(limit);
                }
            });
        },
    );
    assert_eq!(arrived(&capture), ["in slow", "slow"]);
}

/// Trace ids that count up from one; the ratio keeps the greatest.
struct Counted(std::sync::atomic::AtomicU64);

impl IdGenerator for Counted {
    fn new_trace_id(&self) -> TraceId {
        let n = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        // Ten steps through the rightmost 56 bits.
        let low = (n % 10) * ((1 << 56) / 10) + 10;
        TraceId::from_bytes(((1 << 64) | u128::from(low)).to_be_bytes())
    }

    fn new_span_id(&self) -> SpanId {
        SpanId::INVALID
    }
}

/// SMP-4: the same traces as the sampler of that name.
#[test]
fn the_ratio_keeps_traces_by_their_id() {
    let (layer, capture) = layer_with(|builder| {
        tail(|c| c.ratio = 0.3)(builder).with_id_generator(Counted(Default::default()))
    });
    crate::capture::under(tracing_subscriber::registry().with(layer), || {
        for _ in 0..100 {
            info_span!("root").in_scope(|| info_span!("child").in_scope(|| {}));
        }
    });
    assert_eq!(arrived(&capture).len(), 60);
    assert_eq!(tail_dropped(&capture), 140);
}

/// A registry closes a span when its last child has closed: a child that outlives its root's last
/// handle has its say.
#[test]
fn a_trace_waits_for_children_that_outlive_the_handles_of_their_root() {
    let mut late: Vec<Span> = Vec::new();
    let (dispatch, capture) = under(
        |_| {},
        || {
            for name in ["good", "bad"] {
                let root = info_span!("root", otel.name = name);
                late.push(info_span!(parent: &root, "late"));
                root.in_scope(|| {});
            }
        },
    );
    assert_eq!(arrived(&capture), [""; 0]);
    assert_eq!((capture.stats().open, tail_dropped(&capture)), (4, 0));
    dispatcher::with_default(&dispatch, || {
        late[1].in_scope(|| error!("broken, late"));
        late.clear();
    });
    assert_eq!(arrived(&capture), ["bad", "late"]);
    assert_eq!(tail_dropped(&capture), 2);
}

#[test]
fn spans_that_end_after_an_early_decision_follow_it_and_errors_are_kept() {
    let (_dispatch, capture) = under(
        |c| c.max_spans = 1,
        || {
            for fails in [false, true] {
                let _root = info_span!("root").entered();
                info_span!("first").in_scope(|| {
                    if fails {
                        error!("broken");
                    }
                });
                // One too many: the trace is decided.
                info_span!("second").in_scope(|| {});
                info_span!("third").in_scope(|| {});
                info_span!("fourth").in_scope(|| error!("broken"));
            }
        },
    );
    let all = ["first", "fourth", "fourth", "root", "second", "third"];
    assert_eq!(arrived(&capture), all);
    assert_eq!(tail_dropped(&capture), 4);
}

#[test]
fn a_flush_leaves_held_spans_and_a_shutdown_decides_them() {
    let mut roots = Vec::new();
    let (dispatch, capture) = under(
        |_| {},
        || {
            for fails in [false, true] {
                let root = info_span!("root");
                info_span!(parent: &root, "child").in_scope(|| {
                    if fails {
                        error!("broken");
                    }
                });
                roots.push(root);
            }
        },
    );
    assert_eq!(arrived(&capture), [""; 0]);
    assert_eq!((capture.stats().held, capture.stats().open), (2, 2));
    assert!(capture.stats().to_string().contains("held 2"));
    capture.guard().shutdown_blocking(LONG).unwrap();
    assert_eq!(arrived(&capture), ["child"]);
    assert_eq!((capture.stats().held, tail_dropped(&capture)), (0, 1));
    dispatcher::with_default(&dispatch, || roots.clear());
    let stats = capture.stats();
    assert_eq!(stats.dropped(DropReason::AlreadyShutdown), 1, "{stats}");
    assert_eq!((tail_dropped(&capture), stats.unaccounted()), (2, 0));
}

#[test]
fn the_end_of_the_layer_decides_what_is_held() {
    let (layer, capture) = layer_with(tail(|_| {}));
    let (layer, handle) = tracing_subscriber::reload::Layer::new(Some(layer));
    crate::capture::under(tracing_subscriber::registry().with(layer), || {
        let root = info_span!("root");
        info_span!(parent: &root, "child").in_scope(|| error!("broken"));
        handle.reload(None).unwrap();
    });
    capture.spans_but_for_losses();
    assert_eq!(arrived(&capture), ["child"]);
    assert_eq!(capture.stats().dropped(DropReason::LayerGone), 1);
}

/// No further span has to end for that: the worker looks after it.
#[test]
fn what_is_held_too_long_is_decided_without_anyone_s_help() {
    let mut root = Span::none();
    let (_dispatch, capture) = under(
        |c| c.max_hold = Duration::from_millis(10),
        || {
            root = info_span!("root");
            info_span!(parent: &root, "child").in_scope(|| error!("broken"));
        },
    );
    let begun = Instant::now();
    while capture.stats().held > 0 {
        assert!(begun.elapsed() < LONG, "held for ever");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(arrived(&capture), ["child"]);
}

/// The worst that spans can do: threads, deep traces, tight bounds, spans that outlive their root.
#[test]
fn eight_threads_under_tight_bounds_lose_nothing_uncounted() {
    let (dispatch, capture) = under(
        |c| {
            c.ratio = 0.5;
            c.max_spans = 40;
            c.max_bytes = 64 << 10;
        },
        || {},
    );
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (dispatch, capture) = (&dispatch, &capture);
            scope.spawn(move || {
                dispatcher::with_default(dispatch, || {
                    for round in 0..200 {
                        let root = info_span!("root", thread, round);
                        let late = info_span!(parent: &root, "late");
                        let root = root.entered();
                        for child in 0..round % 20 {
                            info_span!("child", child).in_scope(|| {
                                if round % 50 == 7 {
                                    error!("broken");
                                }
                            });
                            assert!(capture.stats().held <= 40);
                        }
                        drop(root);
                        drop(late);
                    }
                });
            });
        }
    });
    let started = 8 * (200 * 2 + (0..200u64).map(|r| r % 20).sum::<u64>());
    let kept = arrived(&capture).len() as u64;
    let stats = capture.stats();
    assert_eq!((stats.started, stats.held, stats.open), (started, 0, 0));
    assert_eq!(tail_dropped(&capture) + kept, started, "{stats}");
}

#[test]
fn a_root_that_is_ended_early_decides_and_its_late_children_follow() {
    for fails in [false, true] {
        let (_dispatch, capture) = under(
            |_| {},
            || {
                let root = info_span!("root").entered();
                drop(info_span!("early"));
                let late = info_span!("late");
                if fails {
                    root.set_status(Status::error("broken"));
                }
                root.end();
                drop(late);
            },
        );
        let names: &[&str] = if fails {
            &["early", "late", "root"]
        } else {
            &[]
        };
        assert_eq!(arrived(&capture), names);
        assert_eq!(tail_dropped(&capture), 3 - names.len() as u64);
    }
}

#[test]
fn a_parent_from_elsewhere_begins_a_local_trace_of_its_own() {
    let parent = |flags| {
        let (trace, span) = (TraceId::from_bytes([7; 16]), SpanId::from_bytes([7; 8]));
        TraceContext::new(trace, span, flags).with_remote(true)
    };
    let (_dispatch, capture) = under(
        |_| {},
        || {
            let consumer = info_span!("loop").entered();
            let message = info_span!("message");
            message.set_parent(parent(TraceFlags::SAMPLED)).unwrap();
            message.in_scope(|| error!("broken"));
            drop(message);
            let unsampled = info_span!("unsampled");
            unsampled.set_parent(parent(TraceFlags::default())).unwrap();
            drop(unsampled);
            drop(consumer);
        },
    );
    // The loop it ran in did not fail.
    assert_eq!(arrived(&capture), ["message"]);
    assert_eq!(tail_dropped(&capture), 1);
}

#[test]
fn what_goes_on_in_the_context_of_an_open_span_is_of_its_local_trace() {
    let (_dispatch, capture) = under(
        |_| {},
        || {
            for fails in [false, true] {
                let root = info_span!("root");
                let other = info_span!("another's root");
                let dispatch = dispatcher::get_default(Clone::clone);
                let taken = root.in_scope(|| {
                    context::in_current_trace_context(move || drop(info_span!("elsewhere")))
                });
                let cx = root.trace_context();
                let work = || {
                    dispatcher::with_default(&dispatch, || {
                        taken();
                        let late = info_span!("late");
                        late.set_parent(cx).unwrap();
                        if fails {
                            late.in_scope(|| error!("broken"));
                        }
                    })
                };
                std::thread::scope(|s| s.spawn(work).join().unwrap());
                drop((root, other));
            }
        },
    );
    assert_eq!(arrived(&capture), ["elsewhere", "late", "root"]);
    assert_eq!(tail_dropped(&capture), 5);
}
