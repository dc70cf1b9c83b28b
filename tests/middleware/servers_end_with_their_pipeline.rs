//! A server and its pipeline end in order, within one deadline, on a signal or when told to.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "../support/capture.rs"]
mod capture;
#[path = "../support/child.rs"]
mod child;
#[path = "../support/pace.rs"]
mod pace;
#[path = "../support/web.rs"]
mod web;

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use capture::under;
use pace::fit;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_stream::StreamExt as _;
use tracing::info_span;
use tracing_otlp::middleware::ServerLayer;
use tracing_otlp::testing::{Answer, Collector};
use tracing_otlp::{GracefulShutdown, ShutdownGuard};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use web::{block_on, open, read, request};

const LONG: Duration = pace::PATIENCE;

/// A pipeline that delivers to `collector`, when it is told to or ends.
fn pipeline(collector: &Collector) -> (impl tracing::Subscriber + Send + Sync, ShutdownGuard) {
    let (layer, guard) = tracing_otlp::builder()
        .without_env()
        .with_endpoint(collector.http_endpoint())
        .with_timeout(LONG)
        .with_export_timeout(LONG)
        .with_schedule_delay(Duration::from_secs(3600))
        .build()
        .unwrap();
    let registry = tracing_subscriber::registry().with(LevelFilter::INFO);
    (registry.with(layer), guard)
}

/// `/` answers when it is let to, and says when it was asked.
#[derive(Clone, Default)]
struct Gate {
    asked: Arc<Notify>,
    answer: Arc<Notify>,
}

impl Gate {
    fn app(&self, graceful: &GracefulShutdown<'_>) -> Router {
        let gate = self.clone();
        let handler = get(move || async move {
            gate.asked.notify_one();
            gate.answer.notified().await;
            "well"
        });
        let layer = ServerLayer::new().with_in_flight(graceful.in_flight());
        Router::new().route("/", handler).layer(layer)
    }
}

#[test]
fn requests_in_flight_are_answered_and_every_span_arrives() {
    let collector = Collector::start();
    let (subscriber, guard) = pipeline(&collector);
    under(subscriber, || {
        block_on(|| async {
            let graceful = guard.graceful(LONG);
            let gate = Gate::default();
            let app = gate.app(&graceful);
            let stop = graceful.stop_handle();
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let client = tokio::spawn(async move {
                let response = open(address, request("GET", "/")).await.unwrap();
                read(response).await.0
            });
            let asked = Arc::clone(&gate.asked);
            tokio::spawn(async move {
                asked.notified().await;
                stop.stop();
                // Not before the server knows that it is to stop.
                tokio::task::yield_now().await;
                gate.answer.notify_one();
            });
            let ended = graceful
                .serve(|stop| axum::serve(listener, app).with_graceful_shutdown(stop))
                .await;
            assert!(matches!(ended.server, Some(Ok(()))));
            assert_eq!(ended.in_flight, 0);
            ended.pipeline.unwrap();
            assert_eq!(client.await.unwrap(), "well");
        });
    });
    assert_eq!(collector.span_count(), 1);
    assert_eq!(guard.stats().delivered, 1);
}

#[test]
fn a_request_that_hangs_does_not_hang_the_shutdown() {
    let collector = Collector::start();
    // Nor does an endpoint that never answers.
    collector.always(Answer::never());
    let (subscriber, guard) = pipeline(&collector);
    under(subscriber, || {
        tracing::info_span!("an earlier span").in_scope(|| {});
        block_on(|| async {
            let graceful = guard.graceful(Duration::from_millis(400));
            let gate = Gate::default();
            let app = gate.app(&graceful);
            let stop = graceful.stop_handle();
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            tokio::spawn(async move { open(address, request("GET", "/")).await });
            tokio::spawn(async move {
                gate.asked.notified().await;
                stop.stop();
            });
            let began = Instant::now();
            let ended = graceful
                .serve(|stop| axum::serve(listener, app).with_graceful_shutdown(stop))
                .await;
            assert!(ended.server.is_none());
            assert_eq!(ended.in_flight, 1);
            ended.pipeline.unwrap_err();
            assert!(began.elapsed() < LONG / 2);
        });
    });
}

#[test]
fn a_server_that_ends_by_itself_takes_the_pipeline_along() {
    let collector = Collector::start();
    let (subscriber, guard) = pipeline(&collector);
    under(subscriber, || {
        block_on(|| async {
            let graceful = guard.graceful(Duration::MAX);
            let beside = graceful.stop_signal();
            let ended = graceful
                .serve(|_| async {
                    tracing::info_span!("its only work").in_scope(|| {});
                    7
                })
                .await;
            assert_eq!(ended.server, Some(7));
            ended.pipeline.unwrap();
            beside.await;
        });
    });
    assert_eq!(collector.span_count(), 1);
}

/// Sends a signal to this process.
fn raise(name: &str) {
    let id = std::process::id().to_string();
    let sent = Command::new("kill").args(["-s", name, &id]).status();
    assert!(sent.unwrap().success());
}

#[test]
fn signals_end_it_and_a_second_one_ends_it_at_once() {
    const TEST: &str = "signals_end_it_and_a_second_one_ends_it_at_once";
    let Some(role) = child::role() else {
        for role in ["INT", "TERM", "TERM twice"] {
            child::run(TEST, role).well();
        }
        return;
    };
    let (signal, is_twice) = match role.strip_suffix(" twice") {
        Some(signal) => (signal.to_owned(), true),
        None => (role, false),
    };
    let collector = Collector::start();
    let (subscriber, guard) = pipeline(&collector);
    tracing::subscriber::set_global_default(subscriber).unwrap();
    tracing::info_span!("an earlier span").in_scope(|| {});
    block_on(|| async {
        let graceful = guard.graceful(Duration::from_secs(3600));
        let in_flight = graceful.in_flight();
        let gate = Gate::default();
        let app = gate.app(&graceful);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stopped = graceful.stop_signal();
        tokio::spawn(async move { open(address, request("GET", "/")).await });
        tokio::spawn(async move {
            gate.asked.notified().await;
            raise(&signal);
            stopped.await;
            match is_twice {
                true => raise(&signal),
                false => gate.answer.notify_one(),
            }
        });
        let ended = graceful
            .serve(|stop| axum::serve(listener, app).with_graceful_shutdown(stop))
            .await;
        assert_eq!(ended.in_flight, usize::from(is_twice));
        assert_eq!(in_flight.len(), usize::from(is_twice));
        ended.pipeline.unwrap();
    });
    let spans = collector.spans();
    let find = |name: &str| spans.iter().find(|span| span.name == name);
    assert!(find("an earlier span").is_some());
    // What was cut short is told as that.
    let request = find("GET /").unwrap();
    let mark = request.attr("tracing_otlp.unfinished");
    assert_eq!(mark.is_some(), is_twice);
}

#[test]
fn a_process_that_is_frozen_between_requests_has_flushed_and_nobody_waited() {
    let collector = Collector::start();
    collector.script([Answer::ok().after(fit(Duration::from_millis(300)))]);
    let (subscriber, guard) = pipeline(&collector);
    under(subscriber, || {
        block_on(|| async {
            let layer = ServerLayer::new().with_flush(guard.handle(), LONG);
            let app = Router::new()
                .route("/", get(|| async { "well" }))
                .layer(layer);
            let address = web::serve(app).await;
            assert_eq!(web::get(address, "/").await.1, "well");
            assert_eq!(guard.stats().delivered, 0, "the answer came first");
            // Nothing but a flush makes it send.
            web::until(|| guard.stats().delivered == 1).await;
        });
    });
    assert_eq!(collector.span_count(), 1);
}

/// A span that lives in a response's body, and one of a request that has none of its own.
#[test]
fn a_flush_after_a_response_takes_what_was_made_for_it() {
    let collector = Collector::start();
    let (subscriber, guard) = pipeline(&collector);
    under(subscriber, || {
        block_on(|| async {
            let layer = ServerLayer::new()
                .with_flush(guard.handle(), LONG)
                .with_filter(|head| head.uri().path() != "/left-out");
            let streams = || async {
                let span = info_span!("streams");
                let frames = tokio_stream::iter(["a", "b"]).map(move |text| {
                    let _entered = span.enter();
                    Ok::<_, std::io::Error>(text)
                });
                Body::from_stream(frames)
            };
            let app = Router::new()
                .route("/streams", get(streams))
                .route(
                    "/left-out",
                    get(|| async { info_span!("left out").in_scope(|| "") }),
                )
                .layer(layer);
            let address = web::serve(app).await;
            for (path, so_far) in [("/streams", 2), ("/left-out", 3)] {
                web::get(address, path).await;
                web::until(|| guard.stats().delivered == so_far).await;
            }
        });
    });
    assert_eq!(guard.stats().started, 3);
}
