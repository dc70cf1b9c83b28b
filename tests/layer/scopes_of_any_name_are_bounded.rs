//! Tracers may be named by strangers: their scopes are bounded, and every span arrives all the same.
//! Alone in its process: another pipeline could give the hint about scopes, which comes once.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "../support/pace.rs"]
mod pace;

use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use opentelemetry::trace::{Span as _, Tracer as _, TracerProvider as _};
use pace::cpu_time;
use tracing_otlp::otel::TracerProvider;
use tracing_otlp::testing::Collector;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::prelude::*;

const LONG: Duration = Duration::from_secs(120);

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn count(&self, text: &str) -> usize {
        let lines = self.0.lock().unwrap();
        String::from_utf8_lossy(&lines).matches(text).count()
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[test]
fn forty_thousand_tracers_cost_no_more_than_a_thousand() {
    const NAMES: usize = 40_000;
    let collector = Collector::start();
    let (layer, guard) = tracing_otlp::builder()
        .without_env()
        .with_endpoint(collector.http_endpoint())
        .configure(|config| config.capture.scope_name = "shop".to_owned())
        .with_schedule_delay(Duration::from_millis(50))
        .build()
        .unwrap();
    let provider = TracerProvider::new(&layer);
    let lines = Lines::default();
    let told = tracing_subscriber::fmt::layer().with_writer(lines.clone());
    let subscriber = tracing_subscriber::registry().with(layer).with(told);
    let _default = tracing::subscriber::set_default(subscriber);

    // Each run of as many names: the last one takes no longer than the first.
    let mut runs = Vec::new();
    for run in 0..8 {
        let began = cpu_time();
        for n in 0..NAMES / 8 {
            drop(provider.tracer(format!("tenant {}", run * NAMES / 8 + n)));
        }
        runs.push(cpu_time() - began);
    }
    let (first, last) = (runs[0], runs[7]);
    assert!(last < 20 * first, "{runs:?}");
    assert!(guard.stats().memory_used < 4 << 20);

    for name in ["tenant 7", "tenant 39999"] {
        provider.tracer(name).start(name).end();
    }
    guard.force_flush_blocking(LONG).unwrap();
    let spans = collector.spans();
    let find = |name: &str| spans.iter().find(|s| s.name == name).unwrap();
    assert_eq!(find("tenant 7").scope.name, "tenant 7");
    assert_eq!(find("tenant 7").attr("otel.scope.name"), None);
    let late = find("tenant 39999");
    assert_eq!(late.scope.name, "shop");
    assert_eq!(late["otel.scope.name"], "tenant 39999");

    let deadline = Instant::now() + LONG;
    while lines.count("instrumentation scopes were asked for") == 0 {
        assert!(Instant::now() < deadline, "nobody is told");
        std::thread::sleep(Duration::from_millis(5));
    }
    guard.shutdown_blocking(LONG).unwrap();
    assert_eq!(lines.count("instrumentation scopes were asked for"), 1);
}
