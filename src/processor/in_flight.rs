//! [`InFlightBatches`]: the batches that are being sent. Each settles exactly once, also if its task panics, is
//! cancelled or never ends.

use std::collections::HashMap;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::task::{Id, JoinError, JoinSet};

use crate::error::panic_text;
use crate::export::Outcome;
use crate::signal::Signal;
use crate::stats::{Counters, DropReason, REJECTED};
use crate::sync::{Arc, AtomicBool, Ordering};

/// The items of one batch, until its outcome is counted.
#[derive(Debug)]
struct Claim {
    items: u64,
    began: Instant,
    settled: AtomicBool,
    counters: Arc<Counters>,
}

/// The result of a settled batch, for the requests of a flush.
#[derive(Debug)]
pub(crate) struct Settled {
    pub(crate) signal: Signal,
    /// The number of its first span.
    pub(crate) start: u64,
    /// Spans that did not arrive, or were rejected.
    pub(crate) lost: u64,
    pub(crate) error: Option<String>,
    /// Whether the endpoint takes the signal; `None`: the outcome does not say.
    pub(crate) is_supported: Option<bool>,
}

impl Claim {
    fn new(items: u64, counters: &Arc<Counters>) -> Arc<Self> {
        counters.in_flight.fetch_add(items, Ordering::Relaxed);
        counters.handed_over.fetch_add(items, Ordering::Relaxed);
        Arc::new(Self {
            items,
            began: Instant::now(),
            settled: AtomicBool::new(false),
            counters: Arc::clone(counters),
        })
    }

    /// Counts `outcome`, at the first call only, and returns how many items were lost.
    fn settle(&self, outcome: &Outcome) -> u64 {
        if self.settled.swap(true, Ordering::Relaxed) {
            return 0;
        }
        let counters = &self.counters;
        // Before the counts: a report that sees the loss has its cause.
        if let Some(error) = &outcome.error {
            counters.set_last_error(error.clone());
        }
        if let Some(warning) = &outcome.warning {
            counters.set_last_warning(warning.clone());
        }
        // An exporter's counts may be wrong: the sum must still be the number of items.
        let mut left = self.items;
        let mut claim = |count: u64| {
            let count = count.min(left);
            left -= count;
            count
        };
        let delivered = claim(outcome.delivered);
        let rejected = claim(outcome.rejected);
        for (reason, count) in &outcome.dropped {
            counters.drop_exported(*reason, claim(*count));
        }
        counters.drop_exported(DropReason::Internal, left);
        counters.delivered.fetch_add(delivered, Ordering::Relaxed);
        counters.rejected.fetch_add(rejected, Ordering::Relaxed);
        counters
            .retries
            .fetch_add(outcome.retries, Ordering::Relaxed);
        let possible_duplicates = outcome.possible_duplicates.min(delivered + rejected);
        counters
            .possible_duplicates
            .fetch_add(possible_duplicates, Ordering::Relaxed);
        let requests = if delivered + rejected == self.items {
            &counters.requests_ok
        } else {
            &counters.requests_failed
        };
        requests.fetch_add(1, Ordering::Relaxed);
        counters.in_flight.fetch_sub(self.items, Ordering::Relaxed);
        let failure = match outcome.dropped.first() {
            _ if delivered == self.items => None,
            Some((reason, _)) => Some(reason.as_str()),
            None if rejected > 0 => Some(REJECTED),
            None => Some(DropReason::Internal.as_str()),
        };
        counters.exported(self.began.elapsed(), failure);
        self.items - delivered
    }

    /// Counts all items as dropped, without an outcome.
    fn give_up(&self, reason: DropReason, error: &str) -> u64 {
        self.settle(&Outcome::dropped(reason, self.items, error))
    }
}

/// Settles the claim of a task on drop: a future that is dropped, or panics, settles too.
struct SettleOnDrop(Arc<Claim>);

impl Drop for SettleOnDrop {
    fn drop(&mut self) {
        // A settled claim is the common case: no message is formed for it.
        if self.0.settled.load(Ordering::Relaxed) {
            return;
        }
        if std::thread::panicking() {
            self.0
                .give_up(DropReason::Internal, "the exporter panicked");
        } else {
            self.0.give_up(DropReason::Unconfirmed, CANCELLED);
        }
    }
}

/// The outcome of `send`; a panic is one too, with its text, so that it is counted as any other.
async fn caught(send: impl Future<Output = Outcome>, items: u64) -> Outcome {
    let mut send = std::pin::pin!(send);
    let poll = |cx: &mut Context<'_>| {
        let polled = catch_unwind(AssertUnwindSafe(|| send.as_mut().poll(cx)));
        polled.unwrap_or_else(|panic| {
            let error = format!("the exporter panicked: {}", message_of(&*panic));
            Poll::Ready(Outcome::dropped(DropReason::Internal, items, error))
        })
    };
    std::future::poll_fn(poll).await
}

const CANCELLED: &str = "the export was cancelled before an answer came";

/// The batches that are being sent.
#[derive(Debug)]
pub(crate) struct InFlightBatches {
    tasks: JoinSet<Settled>,
    under_way: HashMap<Id, (u64, Arc<Claim>)>,
    signal: Signal,
    counters: Arc<Counters>,
}

impl InFlightBatches {
    pub(crate) fn new(signal: Signal, counters: Arc<Counters>) -> Self {
        Self {
            tasks: JoinSet::new(),
            under_way: HashMap::new(),
            signal,
            counters,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.under_way.len()
    }

    /// The number of the earliest span in flight.
    pub(crate) fn earliest(&self) -> Option<u64> {
        self.under_way.values().map(|(start, _)| *start).min()
    }

    /// Counts `items`, numbered from `start`, as in flight until `send` returns their outcome.
    pub(crate) fn launch(
        &mut self,
        start: u64,
        items: u64,
        send: impl Future<Output = Outcome> + Send + 'static,
        runtime: &Handle,
    ) {
        let claim = Claim::new(items, &self.counters);
        let guard = SettleOnDrop(Arc::clone(&claim));
        let signal = self.signal;
        let task = async move {
            let outcome = caught(send, items).await;
            let lost = guard.0.settle(&outcome);
            let is_refused = outcome
                .dropped
                .iter()
                .any(|(reason, _)| *reason == DropReason::Unsupported);
            let is_supported = match is_refused {
                true => Some(false),
                false => (outcome.delivered > 0).then_some(true),
            };
            Settled {
                signal,
                start,
                lost,
                error: outcome.error,
                is_supported,
            }
        };
        let id = self.tasks.spawn_on(task, runtime).id();
        self.under_way.insert(id, (start, claim));
    }

    /// The next settled batch; pending while none is in flight.
    pub(crate) fn poll_join_next(&mut self, cx: &mut Context<'_>) -> Poll<Settled> {
        match self.tasks.poll_join_next_with_id(cx) {
            Poll::Ready(Some(joined)) => Poll::Ready(self.account(joined)),
            // An empty set registers no waker. The caller launches batches itself, and polls again then.
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }

    /// The same, in a future. Cancel safe.
    pub(crate) async fn join_next(&mut self) -> Settled {
        std::future::poll_fn(|cx| self.poll_join_next(cx)).await
    }

    /// As [`join_next`](Self::join_next), if a batch is settled already.
    pub(crate) fn try_join_next(&mut self) -> Option<Settled> {
        let joined = self.tasks.try_join_next_with_id()?;
        Some(self.account(joined))
    }

    fn account(&mut self, joined: Result<(Id, Settled), JoinError>) -> Settled {
        let (id, ended) = match joined {
            Ok((id, ended)) => (id, Ok(ended)),
            Err(error) => (error.id(), Err(error)),
        };
        let Some((start, claim)) = self.under_way.remove(&id) else {
            return ended.unwrap_or_else(|_| self.failed(0, 0, CANCELLED.to_owned()));
        };
        ended.unwrap_or_else(|error| {
            let error = match error.try_into_panic() {
                Ok(panic) => format!("the exporter panicked: {}", message_of(&*panic)),
                Err(_) => CANCELLED.to_owned(),
            };
            // `SettleOnDrop` has counted the items; this message has the text of the panic.
            claim.give_up(DropReason::Internal, &error);
            self.counters.set_last_error(error.clone());
            self.failed(start, claim.items, error)
        })
    }

    fn failed(&self, start: u64, lost: u64, error: String) -> Settled {
        Settled {
            signal: self.signal,
            start,
            lost,
            error: Some(error),
            is_supported: None,
        }
    }

    /// Cancels and settles the batches in flight, without a wait for tasks that block their thread.
    pub(crate) fn cancel(&mut self) -> Vec<Settled> {
        self.tasks.abort_all();
        // Detached tasks end with the runtime.
        self.tasks.detach_all();
        let under_way: Vec<_> = self.under_way.drain().collect();
        let cancelled = |(_, (start, claim)): (Id, (u64, Arc<Claim>))| {
            let lost = claim.give_up(DropReason::Unconfirmed, CANCELLED);
            self.failed(start, lost, CANCELLED.to_owned())
        };
        under_way.into_iter().map(cancelled).collect()
    }
}

/// The message of a panic.
pub(crate) fn message_of(panic: &(dyn std::any::Any + Send)) -> &str {
    panic_text(panic).unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters_after(items: u64, outcome: &Outcome) -> crate::stats::Stats {
        let counters = Counters::new();
        let claim = Claim::new(items, &counters);
        assert_eq!(counters.snapshot().in_flight, items);
        claim.settle(outcome);
        claim.settle(&Outcome::delivered(items));
        drop(SettleOnDrop(claim));
        counters.snapshot()
    }

    #[test]
    fn an_outcome_that_does_not_add_up_is_made_to() {
        let short = counters_after(10, &Outcome::delivered(7));
        assert_eq!((short.delivered, short.in_flight), (7, 0));
        assert_eq!(short.dropped(DropReason::Internal), 3);
        let long = Outcome::delivered(9).merge(Outcome::dropped(DropReason::Refused, 9, "no"));
        let long = counters_after(10, &long);
        assert_eq!((long.delivered, long.dropped_total()), (9, 1));
        assert_eq!(long.dropped(DropReason::Refused), 1);
        assert_eq!((long.requests_ok, long.requests_failed), (0, 1));
    }

    #[test]
    fn a_partial_success_is_a_request_that_went_well() {
        let outcome = Outcome {
            delivered: 7,
            rejected: 3,
            ..Outcome::default()
        };
        let stats = counters_after(10, &outcome);
        assert_eq!((stats.requests_ok, stats.requests_failed), (1, 0));
        assert_eq!((stats.rejected, stats.dropped_total()), (3, 0));
    }
}
