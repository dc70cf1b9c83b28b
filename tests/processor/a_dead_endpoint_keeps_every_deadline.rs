//! Nobody listens, or nobody answers: every call still ends in its time, every span is counted, and
//! the user is told (PAIN 2, 7, 29, 30, 31; EH-2).

use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::life::pace::{SLACK, answered, fit};
use crate::life::{
    FLAVOURS, Flavour, LONG, PROTOCOLS, Pipeline, pipeline, quiet, ten_spans, until,
};
use tracing_otlp::testing::{Answer, Collector};
use tracing_otlp::{DropReason, Error, Protocol, Stats};

const PATIENCE: Duration = Duration::from_millis(150);

#[derive(Debug, Clone, Copy, PartialEq)]
enum Dead {
    /// Refuses connections.
    Closed,
    /// Takes connections and never says a word.
    Silent,
    /// Takes requests and never answers.
    Mute,
}

/// What holds the port of an endpoint that is dead.
type Corpse = Box<dyn std::any::Any>;

impl Dead {
    fn endpoint(self, protocol: Protocol) -> (String, Corpse) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        match self {
            Self::Closed => (url, Box::new(())),
            // The system accepts for it.
            Self::Silent => (url, Box::new(listener)),
            Self::Mute => {
                let collector = Collector::start();
                collector.always(Answer::never());
                (collector.endpoint(protocol), Box::new(collector))
            }
        }
    }
}

/// Ten spans to an endpoint that is dead in each way.
fn each(check: impl Fn(&str, Dead, Pipeline)) {
    for protocol in PROTOCOLS {
        for dead in [Dead::Closed, Dead::Silent, Dead::Mute] {
            let (endpoint, corpse) = dead.endpoint(protocol);
            let builder = quiet(&endpoint, protocol).with_shutdown_timeout(PATIENCE);
            let pipeline = pipeline(builder);
            ten_spans(&pipeline.dispatch);
            if let Some(mute) = corpse.downcast_ref::<Collector>() {
                // It has them before a deadline is over.
                drop(pipeline.guard.force_flush(LONG));
                mute.wait_until(LONG, |c| c.received_attempts() == 1)
                    .unwrap();
            }
            check(&format!("{protocol:?}, {dead:?}"), dead, pipeline);
        }
    }
}

/// Runs `call`, which must keep [`PATIENCE`].
#[track_caller]
fn timed<T>(what: &str, call: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let returned = call();
    let took = begun.elapsed();
    assert!(took < PATIENCE + SLACK, "{what}: {took:?}");
    returned
}

/// A shutdown gives up an endpoint that refuses connections, where there is time to see that it does.
#[track_caller]
fn failed(what: &str, dead: Dead, result: Result<(), Error>) {
    match (dead, result) {
        (Dead::Closed, Err(error)) => {
            assert!(error.is_timeout() || error.is_export(), "{what}: {error}");
        }
        (_, result) => timed_out(what, result),
    }
}

#[track_caller]
fn timed_out(what: &str, result: Result<(), Error>) {
    let Err(error) = result else {
        panic!("{what}: no deadline passed")
    };
    assert!(error.is_timeout(), "{what}: {error}");
}

/// All ten are lost, each under the reason that is true.
#[track_caller]
fn ten_lost(what: &str, dead: Dead, stats: impl Fn() -> Stats) {
    // A worker that had no time when the deadline passed counts them when it has.
    until("all are counted", || {
        let stats = stats();
        stats.queued == 0 && stats.in_flight == 0
    });
    let stats = &stats();
    assert_eq!(
        (stats.started, stats.delivered, stats.dropped_total()),
        (10, 0, 10),
        "{what}: {stats}"
    );
    assert_eq!(
        (stats.queued, stats.in_flight, stats.unaccounted()),
        (0, 0, 0)
    );
    let unsent = stats.dropped(DropReason::ShutdownTimeout) + stats.dropped(DropReason::Unsent);
    match dead {
        Dead::Closed => assert_eq!(unsent, 10, "{what}: {stats}"),
        Dead::Mute => assert_eq!(
            stats.dropped(DropReason::Unconfirmed),
            10,
            "{what}: {stats}"
        ),
        Dead::Silent => {}
    }
}

#[test]
fn without_a_runtime() {
    each(|what, dead, Pipeline { guard, .. }| {
        timed_out(what, timed(what, || guard.force_flush_blocking(PATIENCE)));
        failed(
            what,
            dead,
            timed(what, || guard.shutdown_blocking(PATIENCE)),
        );
        ten_lost(what, dead, || guard.stats());
        failed(what, dead, timed(what, || guard.shutdown_blocking(LONG)));
    });
}

#[test]
fn on_every_runtime() {
    for flavour in FLAVOURS {
        let runtime = flavour.build();
        each(|what, dead, Pipeline { guard, .. }| {
            let what = &format!("{flavour:?}, {what}");
            runtime.block_on(async {
                let begun = Instant::now();
                timed_out(what, guard.force_flush(PATIENCE).await);
                timed(what, || {
                    failed(what, dead, guard.shutdown_blocking(PATIENCE))
                });
                failed(what, dead, guard.shutdown(PATIENCE).await);
                assert!(begun.elapsed() < 2 * PATIENCE + SLACK, "{what}");
            });
            ten_lost(what, dead, || guard.stats());
        });
    }
}

/// PAIN 7: one deadline for all that a drop does, also after a shutdown that used it up.
#[test]
fn when_the_guard_is_dropped() {
    let runtime = Flavour::CurrentThread.build();
    each(|what, dead, Pipeline { guard, .. }| {
        let handle = guard.handle();
        timed(what, || runtime.block_on(async { drop(guard) }));
        ten_lost(what, dead, || handle.stats());
    });
    each(|what, dead, Pipeline { guard, .. }| {
        let handle = guard.handle();
        timed(what, || {
            failed(what, dead, guard.shutdown_blocking(PATIENCE));
            drop(guard);
        });
        ten_lost(what, dead, || handle.stats());
    });
}

/// A wrong endpoint is told of once, soon, with address and cause; and what became of the spans.
#[test]
fn a_wrong_endpoint_is_told_of_once() {
    for protocol in PROTOCOLS {
        let (endpoint, _) = Dead::Closed.endpoint(protocol);
        let address = endpoint.strip_prefix("http://").unwrap();
        let Pipeline {
            dispatch,
            guard,
            ear,
        } = pipeline(quiet(&endpoint, protocol).with_schedule_delay(Duration::from_millis(10)));
        ten_spans(&dispatch);
        until("the first word", || !ear.diagnostics().is_empty());
        let said = ear.diagnostics();
        assert!(said[0].starts_with("WARN"), "{said:?}");
        for part in [
            address,
            "refused",
            "takes no spans now",
            "OTEL_EXPORTER_OTLP_ENDPOINT",
        ] {
            assert!(said[0].contains(part), "{part}: {said:?}");
        }
        let (_, error) = guard.stats().last_error.unwrap();
        assert!(error.contains(address), "{error}");
        // The worker asks each second and says no more; it is no matter of more spans or flushes.
        for _ in 0..20 {
            ten_spans(&dispatch);
            let _ = guard.force_flush_blocking(Duration::from_millis(100));
        }
        assert_eq!(ear.diagnostics().len(), 1, "{:?}", ear.diagnostics());
        let _ = answered(guard.shutdown(Duration::from_millis(10)));
        let said = ear.diagnostics();
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(
            said[1].contains("spans=210") && said[1].contains("shutdown"),
            "{said:?}"
        );
    }
}

/// A program that lives for a moment is told why its spans are lost, too.
#[test]
fn a_short_life_is_told_the_cause() {
    let (endpoint, _) = Dead::Closed.endpoint(Protocol::Grpc);
    let Pipeline {
        dispatch,
        guard,
        ear,
    } = pipeline(quiet(&endpoint, Protocol::Grpc));
    ten_spans(&dispatch);
    let moment = fit(PATIENCE);
    answered(guard.shutdown(moment)).unwrap_err();
    let said = ear.diagnostics().join("\n");
    assert!(
        said.contains("spans=10") && said.contains("refused"),
        "{said}"
    );
}

/// EH-2: spans wait out an outage, none is lost, and its end is told.
#[test]
fn an_outage_is_waited_out() {
    for protocol in PROTOCOLS {
        let collector = Collector::start();
        let endpoint = collector.endpoint(protocol);
        collector.go_offline();
        let Pipeline {
            dispatch,
            guard,
            ear,
        } = pipeline(quiet(&endpoint, protocol).with_schedule_delay(Duration::from_millis(10)));
        ten_spans(&dispatch);
        until("the outage", || ear.has_heard("takes no spans now"));
        assert_eq!(guard.stats().queued, 10);
        collector.go_online().unwrap();
        until("its end", || {
            ear.has_heard("INFO the endpoint takes spans again")
        });
        guard.force_flush_blocking(LONG).unwrap();
        crate::life::ten_arrived(&collector, &guard.stats(), "after the outage");
        guard.shutdown_blocking(LONG).unwrap();
        assert_eq!(ear.diagnostics().len(), 2, "{:?}", ear.diagnostics());
    }
}
