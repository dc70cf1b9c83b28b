//! [`LiveTree`]: prints a tree for each trace when its local root has ended.
//!
//! Spans of a trace arrive in several batches, children before their parents, so they are held until the
//! root arrives, for a second at most. A batch is settled when the last of its spans is printed.

use std::io;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::block::{kind, no_span, text};
use crate::drawing::{self, Drawing, Key, Layout, arrange};
use crate::export::{Batch, BatchItem, Outcome};
use crate::semconv;
use crate::stats::DropReason;
use crate::sync::{Arc, AtomicBool, Mutex, Ordering, lock};
use crate::text;
use crate::wire::decode::{Attributes, DecodedResource, DecodedValue, Span};

/// The longest wait of spans for the root of their trace.
const HOLD: Duration = Duration::from_secs(1);
/// The bound of held spans. Above it, all are printed at once.
const MOST_SPANS: usize = 10_000;
/// `Span.flags`: the parent belongs to another process.
const IS_REMOTE: u32 = 0x200;

#[derive(Debug, Default)]
pub(super) struct LiveTree {
    held: Mutex<HeldTraces>,
}

#[derive(Debug, Default)]
struct HeldTraces {
    /// In the order of arrival of their first spans.
    traces: Vec<HeldTrace>,
    spans: usize,
}

#[derive(Debug)]
struct HeldTrace {
    id: [u8; 16],
    until: Instant,
    has_root: bool,
    spans: Vec<HeldSpan>,
}

#[derive(Debug)]
struct HeldSpan {
    bytes: Vec<u8>,
    service: Option<Arc<str>>,
    batch: Arc<PendingBatch>,
}

/// A batch that is not printed yet.
#[derive(Debug)]
struct PendingBatch {
    state: Mutex<(u64, Outcome)>,
    is_done: Notify,
}

impl LiveTree {
    /// Holds the spans of a batch until their traces are printed, and returns their outcome.
    pub(super) async fn send(
        &self,
        batch: &Batch,
        closed: &AtomicBool,
        layout: impl Fn() -> Layout,
        write: impl Fn(&str) -> io::Result<()>,
    ) -> Outcome {
        let pending = self.hold(batch);
        loop {
            let (due, next) = self.take_due(closed.load(Ordering::Relaxed));
            if !due.is_empty() {
                print(&due, &layout(), &write);
            }
            if let Some(outcome) = pending.outcome() {
                return outcome;
            }
            let until = next.unwrap_or_else(|| Instant::now() + HOLD);
            tokio::select! {
                () = pending.is_done.notified() => {}
                () = tokio::time::sleep_until(until) => {}
            }
        }
    }

    /// Makes all held spans due.
    pub(super) fn wake(&self) {
        let held = lock(&self.held);
        for span in held.traces.iter().flat_map(|t| &t.spans) {
            span.batch.is_done.notify_one();
        }
    }

    fn hold(&self, batch: &Batch) -> Arc<PendingBatch> {
        let pending = Arc::new(PendingBatch {
            state: Mutex::new((batch.item_count() as u64, Outcome::default())),
            is_done: Notify::new(),
        });
        let service = service(batch);
        let mut unreadable = 0;
        let mut held = lock(&self.held);
        for BatchItem { message: bytes, .. } in batch.items() {
            let Some(span) = Span::decode(bytes) else {
                unreadable += 1;
                continue;
            };
            let id = span.trace_id;
            let at = match held.traces.iter().position(|t| t.id == id) {
                Some(at) => at,
                None => {
                    held.traces.push(HeldTrace {
                        id,
                        until: Instant::now() + HOLD,
                        has_root: false,
                        spans: Vec::new(),
                    });
                    held.traces.len() - 1
                }
            };
            held.spans += 1;
            if let Some(trace) = held.traces.get_mut(at) {
                trace.has_root |= span.parent_span_id.is_none() || span.flags & IS_REMOTE != 0;
                trace.spans.push(HeldSpan {
                    bytes: bytes.to_vec(),
                    service: service.clone(),
                    batch: Arc::clone(&pending),
                });
            }
        }
        drop(held);
        if unreadable > 0 {
            pending.settle(unreadable, no_span(unreadable));
        }
        pending
    }

    /// Takes the traces that are due now, and returns when the next one is due.
    fn take_due(&self, is_closed: bool) -> (Vec<HeldTrace>, Option<Instant>) {
        let now = Instant::now();
        let mut held = lock(&self.held);
        let all = is_closed || held.spans > MOST_SPANS;
        let (due, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut held.traces)
            .into_iter()
            .partition(|t| all || t.has_root || t.until <= now);
        held.spans -= due.iter().map(|t| t.spans.len()).sum::<usize>();
        held.traces = rest;
        let next = held.traces.iter().map(|t| t.until).min();
        (due, next)
    }
}

impl PendingBatch {
    fn settle(&self, spans: u64, outcome: Outcome) {
        let mut state = lock(&self.state);
        state.0 = state.0.saturating_sub(spans);
        state.1 = std::mem::take(&mut state.1).merge(outcome);
        if state.0 == 0 {
            self.is_done.notify_one();
        }
    }

    fn outcome(&self) -> Option<Outcome> {
        let mut state = lock(&self.state);
        (state.0 == 0).then(|| std::mem::take(&mut state.1))
    }
}

/// Writes traces in one piece, and settles their spans.
fn print(traces: &[HeldTrace], layout: &Layout, write: &impl Fn(&str) -> io::Result<()>) {
    let mut out = String::new();
    for trace in traces {
        draw(&mut out, trace, layout);
    }
    let written = write(&out);
    for span in traces.iter().flat_map(|t| &t.spans) {
        let outcome = match &written {
            Ok(()) => Outcome::delivered(1),
            Err(e) => Outcome::dropped(DropReason::Internal, 1, format!("console: {e}")),
        };
        span.batch.settle(1, outcome);
    }
}

fn draw(out: &mut String, trace: &HeldTrace, layout: &Layout) {
    use std::fmt::Write as _;
    let spans: Vec<Span<'_>> = trace
        .spans
        .iter()
        .map(|s| Span::decode(&s.bytes).unwrap_or_default())
        .collect();
    let key = |span: &Span<'_>| Key {
        id: span.span_id,
        parent: span.parent_span_id,
        start: span.start_unix_nanos,
    };
    let keys: Vec<Key> = spans.iter().map(key).collect();
    let drawn = arrange(&keys).into_iter().filter_map(|place| {
        let (span, held) = (spans.get(place.span)?, trace.spans.get(place.span)?);
        Some((place, drawn(span, held.service.as_deref())))
    });
    let drawing = Drawing {
        id: trace.id,
        spans: drawn.collect(),
        keys: None,
        layout,
        is_airy: false,
    };
    // Writing to a String does not fail.
    let _ = writeln!(out, "{drawing}");
}

fn drawn(span: &Span<'_>, service: Option<&str>) -> drawing::DrawnSpan {
    drawing::DrawnSpan {
        name: span.name.to_owned(),
        kind: kind(span.kind).unwrap_or_default().to_owned(),
        parent: span.parent_span_id.map(|id| text::hex(&id)),
        start: span.start_unix_nanos,
        end: span.end_unix_nanos,
        status: match span.status.code {
            1 => drawing::DrawnStatus::Ok,
            2 => drawing::DrawnStatus::Error(span.status.message.to_owned()),
            _ => drawing::DrawnStatus::Unset,
        },
        links: span.links.len(),
        attributes: attributes(&span.attributes),
        events: span
            .events
            .iter()
            .map(|event| drawing::DrawnEvent {
                mark: drawing::Mark::Event,
                name: event.name.to_owned(),
                at: event.unix_nanos,
                attributes: attributes(&event.attributes),
            })
            .collect(),
        service: service.map(str::to_owned),
    }
}

fn attributes(list: &Attributes<'_>) -> Vec<drawing::Attribute> {
    let attribute = |(key, value): &(&str, DecodedValue<'_>)| drawing::Attribute {
        key: (*key).to_owned(),
        value: match value {
            DecodedValue::String(text) => (*text).to_owned(),
            other => text(other),
        },
        is_text: matches!(value, DecodedValue::String(_)),
    };
    list.iter().map(attribute).collect()
}

/// The `service.name` of a batch's resource.
fn service(batch: &Batch) -> Option<Arc<str>> {
    let resource = DecodedResource::decode(batch.resource())?;
    let mut names = resource.attributes.iter();
    names.find_map(|(key, value)| match value {
        DecodedValue::String(name) if *key == semconv::SERVICE_NAME => Some(Arc::from(*name)),
        _ => None,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests;
