//! A pipeline from spans to a collector, runtimes of every flavour, and an ear for what is said.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test binary uses its part, and a test may panic"
)]

pub(crate) use crate::pace;

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use tracing::field::{Field, Visit};
use tracing::{Dispatch, Event, Subscriber, dispatcher, info, info_span, span};
use tracing_otlp::testing::Collector;
use tracing_otlp::{OtlpBuilder, Protocol, ShutdownGuard, Stats};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

/// Long enough for a loaded machine; a test that passes never waits for it.
pub const LONG: Duration = pace::PATIENCE;

pub const PROTOCOLS: [Protocol; 2] = [Protocol::Grpc, Protocol::HttpProtobuf];

/// A builder that only a flush, a shutdown or a full batch makes send, and of which no deadline passes.
pub fn quiet(endpoint: &str, protocol: Protocol) -> OtlpBuilder {
    tracing_otlp::builder()
        .without_env()
        .with_protocol(protocol)
        .with_endpoint(endpoint)
        .with_timeout(LONG)
        .with_export_timeout(2 * LONG)
        .with_connect_timeout(LONG)
        .with_schedule_delay(Duration::from_secs(3600))
}

/// A pipeline, and the subscriber that feeds it.
pub struct Pipeline {
    pub dispatch: Dispatch,
    pub guard: ShutdownGuard,
    pub ear: Ear,
}

pub fn pipeline(builder: OtlpBuilder) -> Pipeline {
    let (layer, guard) = builder.build().unwrap();
    let ear = Ear::default();
    // `.ci/run tests` runs these tests on both registries.
    let is_own = std::env::var("TESTS_ON_OWN_REGISTRY").is_ok_and(|value| value == "1");
    let dispatch = match is_own {
        true => Dispatch::new(tracing_otlp::registry().with(layer).with(ear.clone())),
        false => Dispatch::new(tracing_subscriber::registry().with(layer).with(ear.clone())),
    };
    Pipeline {
        dispatch,
        guard,
        ear,
    }
}

/// A collector, and a pipeline to it.
pub fn connected(protocol: Protocol) -> (Collector, Pipeline) {
    let collector = Collector::start();
    let pipeline = pipeline(quiet(&collector.endpoint(protocol), protocol));
    (collector, pipeline)
}

/// Records ten spans with an event each.
pub fn ten_spans(dispatch: &Dispatch) {
    dispatcher::with_default(dispatch, || {
        for number in 0..10 {
            info_span!("work", number).in_scope(|| info!(number, "working"));
        }
    });
}

/// Fails unless ten whole spans arrived, and nothing else did.
#[track_caller]
pub fn ten_arrived(collector: &Collector, stats: &Stats, what: &str) {
    let mut numbers: Vec<_> = collector
        .spans()
        .iter()
        .map(|span| {
            assert_eq!((span.name.as_str(), span.events.len()), ("work", 1));
            span["number"].as_int().unwrap()
        })
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..10).collect::<Vec<_>>(), "{what}");
    assert!(collector.malformed().is_empty());
    assert_eq!(
        (stats.started, stats.delivered),
        (10, 10),
        "{what}: {stats}"
    );
    assert_eq!(stats.unaccounted(), 0, "{what}: {stats}");
}

/// The runtimes that applications have.
#[derive(Debug, Clone, Copy)]
pub enum Flavour {
    CurrentThread,
    OneWorker,
    FourWorkers,
}

pub const FLAVOURS: [Flavour; 3] = [
    Flavour::CurrentThread,
    Flavour::OneWorker,
    Flavour::FourWorkers,
];

impl Flavour {
    pub fn build(self) -> Runtime {
        let mut builder = match self {
            Self::CurrentThread => Builder::new_current_thread(),
            Self::OneWorker | Self::FourWorkers => Builder::new_multi_thread(),
        };
        if let Self::OneWorker = self {
            builder.worker_threads(1);
        } else {
            builder.worker_threads(4);
        }
        builder.enable_all().build().unwrap()
    }
}

/// Waits for `condition`; fails if it does not come true.
#[track_caller]
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A layer that keeps what is said, as `WARN tracing_otlp error=… message`.
#[derive(Debug, Clone, Default)]
pub struct Ear(Arc<Mutex<Heard>>);

#[derive(Debug, Default)]
struct Heard {
    lines: Vec<String>,
    /// Spans and events on the worker's threads.
    on_worker: usize,
}

impl Heard {
    fn note_thread(&mut self) {
        if std::thread::current().name() == Some("otlp-worker") {
            self.on_worker += 1;
        }
    }
}

impl Ear {
    /// What this crate said.
    pub fn diagnostics(&self) -> Vec<String> {
        self.0.lock().unwrap().lines.clone()
    }

    pub fn has_heard(&self, text: &str) -> bool {
        self.diagnostics().iter().any(|line| line.contains(text))
    }

    /// How many spans and events there were on the worker's threads.
    pub fn count_on_worker(&self) -> usize {
        self.0.lock().unwrap().on_worker
    }
}

impl<S: Subscriber> Layer<S> for Ear {
    fn on_new_span(&self, _: &span::Attributes<'_>, _: &span::Id, _: Context<'_, S>) {
        self.0.lock().unwrap().note_thread();
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        #[derive(Default)]
        struct Line {
            fields: String,
            message: String,
        }
        impl Visit for Line {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                let _ = match field.name() {
                    "message" => write!(self.message, "{value:?}"),
                    name => write!(self.fields, " {name}={value:?}"),
                };
            }
        }
        let metadata = event.metadata();
        let mut heard = self.0.lock().unwrap();
        heard.note_thread();
        if metadata.target() == "tracing_otlp" {
            let mut line = Line::default();
            event.record(&mut line);
            let Line { fields, message } = line;
            heard
                .lines
                .push(format!("{}{fields} {message}", metadata.level()));
        }
    }
}
