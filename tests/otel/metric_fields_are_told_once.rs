//! Fields by which tracing-opentelemetry's `MetricsLayer` knows metrics are attributes here, which is worth
//! one warning. Alone in its process, because "one" is meant of that, and any pipeline may give it (MIG-4).
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "../support/capture.rs"]
mod capture;
#[path = "../support/life.rs"]
mod life;
#[path = "../support/pace.rs"]
mod pace;

use life::{LONG, Pipeline, pipeline, quiet};
use tracing::{dispatcher, info_span};
use tracing_otlp::Protocol;
use tracing_otlp::testing::Collector;

#[test]
fn once_and_they_are_recorded_all_the_same() {
    for round in 0..2 {
        let collector = Collector::start();
        let endpoint = collector.endpoint(Protocol::Grpc);
        let Pipeline {
            dispatch,
            guard,
            ear,
        } = pipeline(quiet(&endpoint, Protocol::Grpc));
        dispatcher::with_default(&dispatch, || {
            info_span!("work", histogram.of_a_span = 1).in_scope(|| {
                tracing::info!(monotonic_counter.requests = 1, "one more");
            });
        });
        guard.shutdown_blocking(LONG).unwrap();
        let said = ear.diagnostics();
        let said: Vec<_> = said.iter().filter(|s| s.contains("MetricsLayer")).collect();
        assert_eq!(said.len(), usize::from(round == 0), "{said:?}");
        let [span] = collector.expect_names(["work"]);
        assert!(span.events.iter().any(|event| event.name == "one more"));
    }
}
