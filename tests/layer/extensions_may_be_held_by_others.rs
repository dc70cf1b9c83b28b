//! A layer may hold a span's extensions while it formats a value, as the fmt layer does. A value that
//! asks for its context then waits for nobody, also where the layer is inside an `Option` and was
//! told no registry. Under a global default: other threads see only that.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "../support/capture.rs"]
mod capture;

use std::fmt;
use std::sync::mpsc;
use std::time::Duration;

use capture::{int, named, value};
use tracing::{Span, info_span};
use tracing_otlp::{SpanExt as _, context};
use tracing_subscriber::layer::SubscriberExt as _;

/// A value whose formatting asks for everything.
struct Asks;

impl fmt::Debug for Asks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let current = Span::current();
        assert_eq!(context::current(), current.trace_context());
        current.set_attribute("by.value", 1_i64);
        f.write_str("asked")
    }
}

#[test]
fn a_value_that_asks_for_its_context_waits_for_nobody() {
    let (otlp, capture) = capture::layer();
    let log = tracing_subscriber::fmt::layer().with_writer(std::io::sink);
    let subscriber = tracing_subscriber::registry().with(log).with(Some(otlp));
    tracing::subscriber::set_global_default(subscriber).expect("the first");
    // A dead-lock would hang this thread, not the test.
    let (done, wait) = mpsc::channel();
    let work = std::thread::spawn(move || {
        info_span!("span", late = tracing::field::Empty).in_scope(|| {
            Span::current().record("late", tracing::field::debug(Asks));
        });
        let _ = done.send(());
    });
    wait.recv_timeout(Duration::from_secs(10))
        .expect("no dead-lock");
    work.join().expect("no panic");
    let spans = capture.spans();
    assert_eq!(
        value(&named(&spans, "span").attributes, "by.value"),
        int(1).as_ref()
    );
}
