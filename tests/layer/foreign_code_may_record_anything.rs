//! Values, samplers, id generators and other layers that themselves record spans and events, or
//! read extensions, while ours works: nothing dead-locks, nothing panics, nothing gets lost
//! (PAIN 11). Under a global default: in a scoped one `tracing` hides itself from its callbacks.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "../support/capture.rs"]
mod capture;

use std::fmt;
use std::sync::mpsc;
use std::time::Duration;

use capture::{named, text, value};
use tracing::{Span, debug, info, info_span};
use tracing_otlp::context::{IdGenerator, RandomIds};
use tracing_otlp::sampler::{Sampler, SamplingInput, SamplingResult};
use tracing_otlp::{SpanId, TraceId};
use tracing_subscriber::Registry;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan as _;

/// A value whose formatting does all that it should not.
struct Meddler(u8);

impl fmt::Debug for Meddler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 > 0 {
            let current = Span::current();
            current.record("late", "set by a value");
            info!(inner = ?Meddler(self.0 - 1), "an event by a value");
            let child = info_span!("made by a value", inner = ?Meddler(self.0 - 1)).entered();
            child.follows_from(&current);
            info!("in it");
            read_extensions(&current);
        }
        write!(f, "meddler {}", self.0)
    }
}

fn read_extensions(span: &Span) {
    span.with_subscriber(|(id, dispatch)| {
        let registry = dispatch.downcast_ref::<Registry>().expect("a registry");
        if let Some(data) = registry.span(id) {
            data.extensions_mut().replace(7u8);
            assert_eq!(data.extensions().get::<u8>(), Some(&7));
        }
    });
}

struct Chatty;

impl Sampler for Chatty {
    fn should_sample(&self, input: &SamplingInput<'_>) -> SamplingResult {
        if input.name != "made by the sampler" {
            debug!("sampling {}", input.name);
            let _span = info_span!("made by the sampler").entered();
        }
        SamplingResult::RECORD_AND_SAMPLE
    }

    fn description(&self) -> String {
        "Chatty".into()
    }
}

impl IdGenerator for Chatty {
    fn new_trace_id(&self) -> TraceId {
        debug!("a trace");
        RandomIds.new_trace_id()
    }

    fn new_span_id(&self) -> SpanId {
        debug!("a span");
        RandomIds.new_span_id()
    }
}

#[test]
fn nothing_deadlocks_and_nothing_is_lost() {
    let (layer, capture) =
        capture::layer_with(|b| b.with_sampler(Chatty).with_id_generator(Chatty));
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::set_global_default(subscriber).expect("the first");

    // A dead-lock would hang this thread, not the test.
    let (done, wait) = mpsc::channel();
    let work = std::thread::spawn(move || {
        {
            let outer = info_span!("outer", value = ?Meddler(2), late = tracing::field::Empty);
            let _entered = outer.enter();
            info!(value = ?Meddler(1), "an event, {:?}", Meddler(1));
            outer.record("late", tracing::field::debug(Meddler(1)));
            let _ = std::panic::catch_unwind(|| info!(value = ?Panics, "never arrives"));
            // A root: the registry keeps the parent of a span that is never finished open.
            let _ = std::panic::catch_unwind(
                || info_span!(parent: None, "never made", value = ?Panics),
            );
            info!("still here");
        }
        let _ = done.send(());
    });
    wait.recv_timeout(Duration::from_secs(60))
        .expect("no dead-lock");
    work.join().expect("no panic");

    let spans = capture.spans();
    let outer = named(&spans, "outer");
    assert_eq!(
        value(&outer.attributes, "value").cloned(),
        text("meddler 2")
    );
    assert_eq!(value(&outer.attributes, "late").cloned(), text("meddler 1"));
    let names: Vec<_> = outer.events.iter().map(|e| e.name.as_str()).collect();
    assert!(names.contains(&"an event, meddler 1"), "{names:?}");
    assert!(names.contains(&"an event by a value"), "{names:?}");
    assert_eq!(names.last(), Some(&"still here"));
    assert!(!names.contains(&"never arrives"));
    assert!(spans.iter().filter(|s| s.name == "made by a value").count() > 3);
    assert!(spans.iter().any(|s| s.name == "made by the sampler"));
    assert_eq!(capture.stats().unaccounted(), 0, "{}", capture.stats());
    assert_eq!(capture.stats().open, 0);
}

struct Panics;

impl fmt::Debug for Panics {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("a value that panics")
    }
}
