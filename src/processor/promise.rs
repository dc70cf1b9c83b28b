//! [`Promises`]: the tickets that the worker has picked up, and what it owes for each.

use std::time::Instant;

use super::flight::Settled;
use super::ticket::{Desk, Fault, Ticket, Verdict, Wish};
use crate::stats::{DropReason, Stats};
use crate::sync::Arc;

#[derive(Debug, Default)]
pub(crate) struct Promises {
    pending: Vec<Promise>,
    /// All that was lost so far, and how much of it a flush or the shutdown has told of.
    lost: Loss,
    told: Loss,
    /// Why the last spans were lost that an exporter had been given.
    why: Option<String>,
    /// The shutdown that came first; its deadline is the worker's.
    closing: Option<Arc<Ticket>>,
}

#[derive(Debug)]
struct Promise {
    ticket: Arc<Ticket>,
    /// It covers the spans below this number.
    upto: u64,
    /// What was lost before it was made and is told by it, and of the spans that it covers.
    lost: Loss,
    /// All that will have been told then.
    told: Loss,
    why: Option<String>,
}

/// What was lost that was not asked for.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Loss {
    /// Before they came to an exporter, by reason.
    early: [u64; EARLY.len()],
    /// Spans that an exporter had been given, or that were given up.
    late: u64,
    /// What spans left out for want of memory.
    left_out: u64,
}

/// Why spans are lost before they come to an exporter, other than by the shutdown.
const EARLY: [DropReason; 4] = [
    DropReason::QueueFull,
    DropReason::MemoryFull,
    DropReason::TooLarge,
    DropReason::LayerGone,
];

impl Loss {
    fn since(self, told: Self) -> Self {
        Self {
            early: std::array::from_fn(|i| self.early[i].saturating_sub(told.early[i])),
            late: self.late.saturating_sub(told.late),
            left_out: self.left_out.saturating_sub(told.left_out),
        }
    }

    fn max(self, other: Self) -> Self {
        Self {
            early: std::array::from_fn(|i| self.early[i].max(other.early[i])),
            late: self.late.max(other.late),
            left_out: self.left_out.max(other.left_out),
        }
    }

    fn spans(&self) -> u64 {
        self.early.iter().sum::<u64>() + self.late
    }

    /// As `memory_full 3, queue_full 1`.
    fn reasons(&self) -> Option<String> {
        let counts = EARLY.iter().zip(self.early).filter(|(_, count)| *count > 0);
        let told: Vec<_> = counts.map(|(reason, n)| format!("{reason} {n}")).collect();
        (!told.is_empty()).then(|| told.join(", "))
    }
}

impl Promises {
    /// Whether `ticket` is the one that begins the shutdown.
    pub(crate) fn begins_shutdown(&self, ticket: &Ticket) -> bool {
        ticket.wish == Wish::Shutdown && self.closing.is_none()
    }

    /// Takes on a ticket that covers the spans numbered below `upto`, and what has been lost since
    /// one was last answered.
    pub(crate) fn make(&mut self, ticket: Arc<Ticket>, upto: u64, stats: &Stats) {
        self.lost.early = EARLY.map(|reason| stats.dropped_early(reason));
        self.lost.left_out = stats.truncated_for_memory;
        if self.begins_shutdown(&ticket) {
            self.closing = Some(Arc::clone(&ticket));
        }
        self.pending.push(Promise {
            ticket,
            upto,
            lost: self.lost.since(self.told),
            told: self.lost,
            why: self.why.clone(),
        });
    }

    /// The ticket of the shutdown that is under way.
    pub(crate) fn closing(&self) -> Option<&Arc<Ticket>> {
        self.closing.as_ref()
    }

    /// The earliest deadline.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.pending.iter().filter_map(|p| p.ticket.deadline).min()
    }

    /// Notes a loss for those who wait for the spans it concerns.
    pub(crate) fn note(&mut self, settled: &Settled) {
        if settled.lost == 0 {
            return;
        }
        self.lost.late += settled.lost;
        self.why = settled.error.clone().or(self.why.take());
        for promise in &mut self.pending {
            let covered = promise.upto.saturating_sub(settled.start);
            if covered > 0 {
                let lost = settled.lost.min(covered);
                promise.lost.late += lost;
                promise.told.late += lost;
                promise.why = settled.error.clone().or(promise.why.take());
            }
        }
    }

    /// Whether somebody's patience is over.
    pub(crate) fn is_any_overdue(&self, now: Instant) -> bool {
        self.pending.iter().any(|p| p.ticket.is_overdue(now))
    }

    /// Answers those whose spans are all below `settled`, and those whose patience is over: `why` is
    /// what stands in the way.
    pub(crate) fn keep(&mut self, settled: u64, now: Instant, why: Option<&str>) {
        let closing = self.closing.as_ref();
        let told = &mut self.told;
        let before = *told;
        self.pending.retain_mut(|promise| {
            let ticket = &promise.ticket;
            if closing.is_some_and(|closing| Arc::ptr_eq(closing, ticket)) {
                return true;
            }
            let verdict = if ticket.wish == Wish::Flush && promise.upto <= settled {
                *told = told.max(promise.told);
                promise.verdict()
            } else if ticket.is_overdue(now) {
                let why = why.map(str::to_owned);
                ticket.timed_out(why.or(promise.why.take()))
            } else {
                return true;
            };
            ticket.resolve(verdict);
            false
        });
        if *told != before && told.late >= self.lost.late {
            self.why = None;
        }
    }

    /// Everything is settled: answers everybody, and closes the desk. `why`: what stood in the way, if
    /// it was not settled in time.
    pub(crate) fn conclude(&mut self, in_time: bool, why: Option<String>, desk: &Desk) {
        let closing = self.closing.as_ref();
        let first = self
            .pending
            .iter()
            .find(|p| closing.is_some_and(|closing| Arc::ptr_eq(closing, &p.ticket)));
        let verdict = match first {
            Some(promise) if in_time => promise.verdict(),
            Some(promise) => promise.ticket.timed_out(why.or(promise.why.clone())),
            None => Ok(()),
        };
        desk.close(verdict.clone());
        for promise in self.pending.drain(..) {
            promise.ticket.resolve(match promise.ticket.wish {
                Wish::Shutdown => verdict.clone(),
                Wish::Flush => promise.verdict(),
            });
        }
    }
}

impl Promise {
    fn verdict(&self) -> Verdict {
        let (spans, left_out) = (self.lost.spans(), self.lost.left_out);
        if spans == 0 && left_out == 0 {
            return Ok(());
        }
        let late = self.why.clone().filter(|_| self.lost.late > 0);
        let why: Vec<_> = self.lost.reasons().into_iter().chain(late).collect();
        Err(Fault::Lost {
            spans,
            left_out,
            why: (!why.is_empty()).then(|| why.join("; ")),
        })
    }
}
