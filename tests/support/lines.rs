//! The lines of the fmt layer for a small program.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each program uses its part, and a test may panic"
)]

use std::io::Write;
use std::sync::{Arc, Mutex};

use tracing::{Dispatch, Subscriber, debug, debug_span, dispatcher, info, info_span, trace};
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::Layer;
use tracing_subscriber::registry::LookupSpan;

#[derive(Clone, Default)]
pub struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn text(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

pub fn lines_to<S>(lines: &Lines) -> impl Layer<S> + Send + Sync + use<S>
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    fmt::layer()
        .without_time()
        .with_ansi(false)
        .with_span_events(fmt::format::FmtSpan::NEW | fmt::format::FmtSpan::CLOSE)
        .map_fmt_fields(|fields| fields)
        .with_writer(lines.clone())
}

/// A program with spans of two levels, nested, entered twice, entered elsewhere and with late fields.
pub fn work() {
    let outer = info_span!("outer", n = 1, late = tracing::field::Empty);
    let entered = outer.enter();
    info!("first");
    outer.record("late", "so");
    {
        let _hidden = debug_span!("hidden", m = 2).entered();
        info!("in a hidden span");
        debug!("of the same level");
        let _again = outer.enter();
        info!("entered again");
        let inner = info_span!("inner").entered();
        info!(parent: &outer, "explicit");
        drop(inner);
        std::thread::scope(|s| {
            let dispatch = dispatcher::get_default(Dispatch::clone);
            let outer = &outer;
            s.spawn(move || {
                dispatcher::with_default(&dispatch, || outer.in_scope(|| info!("elsewhere")))
            });
        });
    }
    drop(entered);
    trace!(parent: None, "alone");
}

/// The lines of `work` without the times that a closed span took.
pub fn lines_of(dispatch: &Dispatch, lines: &Lines) -> Vec<String> {
    dispatcher::with_default(dispatch, work);
    let text = lines.text();
    let untimed = text.lines().map(|line| match line.split_once("time.busy") {
        Some((line, _)) => line.to_owned(),
        None => line.to_owned(),
    });
    untimed.collect()
}
