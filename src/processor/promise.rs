//! [`Promises`]: the tickets that the worker has picked up, and what it owes for each.

use std::time::Instant;

use super::flight::Settled;
use super::ticket::{Desk, Fault, Ticket, Verdict, Wish};
use crate::sync::Arc;

#[derive(Debug, Default)]
pub(crate) struct Promises {
    pending: Vec<Promise>,
    /// The shutdown that came first; its deadline is the worker's.
    closing: Option<Arc<Ticket>>,
}

#[derive(Debug)]
struct Promise {
    ticket: Arc<Ticket>,
    /// It covers the spans below this number.
    upto: u64,
    /// How many of them were lost, and the last reason.
    lost: u64,
    why: Option<String>,
}

impl Promises {
    /// Whether `ticket` is the one that begins the shutdown.
    pub(crate) fn begins_shutdown(&self, ticket: &Ticket) -> bool {
        ticket.wish == Wish::Shutdown && self.closing.is_none()
    }

    /// Takes on a ticket that covers the spans numbered below `upto`.
    pub(crate) fn make(&mut self, ticket: Arc<Ticket>, upto: u64) {
        if self.begins_shutdown(&ticket) {
            self.closing = Some(Arc::clone(&ticket));
        }
        self.pending.push(Promise {
            ticket,
            upto,
            lost: 0,
            why: None,
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
        for promise in &mut self.pending {
            let covered = promise.upto.saturating_sub(settled.start);
            if covered > 0 {
                promise.lost += settled.lost.min(covered);
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
        self.pending.retain_mut(|promise| {
            let ticket = &promise.ticket;
            if closing.is_some_and(|closing| Arc::ptr_eq(closing, ticket)) {
                return true;
            }
            let verdict = if ticket.wish == Wish::Flush && promise.upto <= settled {
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
        match self.lost {
            0 => Ok(()),
            spans => Err(Fault::Lost {
                spans,
                why: self.why.clone(),
            }),
        }
    }
}
