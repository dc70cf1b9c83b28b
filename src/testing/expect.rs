//! Expectations: wait, then fail with what arrived and what did not.

use std::fmt;

use super::collector::Collector;
use super::received::ReceivedSpan;
use super::trace::Trace;
use super::wait::{Names, plural};
use crate::text;

/// Each waits as long as the collector's [patience](super::CollectorBuilder::with_patience) allows and
/// blocks the thread meanwhile. In a task on a current-thread runtime that is right for spans sent
/// by this crate, which has a thread of its own; for others, wait with
/// [`wait_for_async`](Collector::wait_for_async) first.
impl Collector {
    /// Waits for `n` spans and returns them.
    ///
    /// # Panics
    ///
    /// If fewer arrive in time, or more have arrived; the message names them.
    #[track_caller]
    pub fn expect_spans(&self, n: usize) -> Vec<ReceivedSpan> {
        let _ = self.wait_until(self.patience, |c| c.span_count() >= n);
        let spans = self.spans();
        if spans.len() != n {
            self.fail(format!("expected {n} {}", plural(n as u64, "span")), "");
        }
        spans
    }

    /// Waits for a span of that name and returns it: the first, if there are several.
    ///
    /// # Panics
    ///
    /// If none arrives in time; the message names those that did.
    #[track_caller]
    pub fn expect_span(&self, name: &str) -> ReceivedSpan {
        let mut found = None;
        let _ = self.wait_until(self.patience, |c| {
            found = c.spans().into_iter().find(|s| s.name == name);
            found.is_some()
        });
        match found {
            Some(span) => span,
            None => self.fail(format!("expected a span {name:?}"), ""),
        }
    }

    /// Waits for spans of exactly these names, in any order, and returns them in the order of
    /// `names`. A name given twice must arrive twice.
    ///
    /// # Panics
    ///
    /// If one of them does not arrive in time, or others have arrived; the message says which.
    #[track_caller]
    pub fn expect_names<const N: usize>(&self, names: [&str; N]) -> [ReceivedSpan; N] {
        let mut picked = Picked::default();
        let _ = self.wait_until(self.patience, |c| {
            picked = Picked::from(&names, c.spans());
            picked.missing.is_empty()
        });
        match picked {
            Picked {
                spans,
                missing,
                others,
            } if missing.is_empty() && others.is_empty() => match spans.try_into() {
                Ok(spans) => spans,
                Err(_) => unreachable!("one span was picked for each name"),
            },
            Picked {
                missing, others, ..
            } => {
                let lists = format!(
                    "\n  missing: {}\n  unexpected: {}",
                    list(missing),
                    Names(&others)
                );
                self.fail(format!("expected spans {}", list(names)), &lists)
            }
        }
    }

    /// Waits for `n` spans of one trace and returns it, with those of its log records that have arrived
    /// by then.
    ///
    /// # Panics
    ///
    /// If fewer arrive in time, or more have arrived, or they belong to several traces.
    #[track_caller]
    pub fn expect_trace(&self, n: usize) -> Trace {
        let spans = self.expect_spans(n);
        let mut traces = Trace::all(&spans);
        match (traces.pop(), traces.is_empty()) {
            (Some(trace), true) => trace.with_logs(&self.logs()),
            _ => panic!(
                "expected one trace of {n} {}, they belong to {}:\n{}",
                plural(n as u64, "span"),
                traces.len() + 1,
                text::join(Trace::all(&spans), "\n"),
            ),
        }
    }

    #[track_caller]
    fn fail(&self, expected: impl fmt::Display, lists: &str) -> ! {
        let (attempts, requests) = (self.received_attempts(), self.requests());
        let accepted = requests.iter().filter(|r| r.accepted).count();
        panic!(
            "{expected} within {:?}{lists}\n  arrived: {}\n  \
             {attempts} {} came, {accepted} {} accepted, {} could not be read",
            self.patience,
            Names(&self.spans()),
            plural(attempts, "request"),
            if accepted == 1 { "was" } else { "were" },
            self.malformed().len(),
        )
    }
}

/// Spans matched with names.
#[derive(Default)]
struct Picked<'a> {
    /// One for each name that is not missing, in their order.
    spans: Vec<ReceivedSpan>,
    missing: Vec<&'a str>,
    /// The spans that no name asked for.
    others: Vec<ReceivedSpan>,
}

impl<'a> Picked<'a> {
    fn from(names: &[&'a str], mut others: Vec<ReceivedSpan>) -> Self {
        let mut spans = Vec::new();
        let mut missing = Vec::new();
        for name in names {
            match others.iter().position(|s| s.name == *name) {
                Some(i) => spans.push(others.remove(i)),
                None => missing.push(*name),
            }
        }
        Self {
            spans,
            missing,
            others,
        }
    }
}

fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let list = text::join(names.into_iter().map(|n| format!("{n:?}")), ", ");
    if list.is_empty() {
        "none".to_owned()
    } else {
        list
    }
}
