//! The worker after a panic, and its end: every span that it still holds is counted.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::{timeout, timeout_at};

use super::super::in_flight::Settled;
use super::{Lane, Worker, later};
use crate::signal::Signal;
use crate::stats::DropReason;
use crate::sync::Ordering;

const MIN_BACKOFF: Duration = Duration::from_millis(10);
const MAX_BACKOFF: Duration = Duration::from_secs(10);
/// The wait for the outcomes of sends that the exporter's shutdown ended.
const LAST_OUTCOMES: Duration = Duration::from_millis(30);

impl Worker {
    /// After a panic of the worker's own code. Staged spans and those in flight are kept.
    pub(super) fn recover(&mut self, message: &str) {
        for lane in &mut self.lanes {
            lane.forget_permit();
        }
        let counters = &self.shared.spans.counters;
        counters.worker_restarts.fetch_add(1, Ordering::Relaxed);
        counters.set_last_error(format!("the worker panicked: {message}"));
        self.backoff = (self.backoff * 2).clamp(MIN_BACKOFF, MAX_BACKOFF);
        self.resume_at = later(Instant::now(), self.backoff);
        // `resume_at` delays only the next permit: flush requests and deadlines are still handled. This
        // sleep is for a panic elsewhere, which would make the loop spin.
        std::thread::sleep(MIN_BACKOFF);
    }

    /// The end of the worker: settles every span that is not settled yet (BSP-7).
    pub(super) async fn finish(&mut self) {
        self.finishing = true;
        let in_time = self.lanes.iter().all(Lane::is_empty);
        let obstacle = match in_time {
            true => None,
            false => self.obstacle(),
        };
        for (index, lane) in self.lanes.iter().enumerate() {
            let before = self.lanes.iter().take(index);
            let is_shut = before.into_iter().any(|b| b.exporter.is(&lane.exporter));
            if !is_shut {
                // A foreign method: it may panic.
                let _ = catch_unwind(AssertUnwindSafe(|| lane.exporter.shutdown()));
            }
        }
        let _ = timeout(LAST_OUTCOMES, async {
            for index in 0..self.lanes.len() {
                while !self.lanes[index].in_flight.is_empty() {
                    let settled = self.lanes[index].in_flight.join_next().await;
                    self.settle(&settled);
                }
            }
        })
        .await;
        for index in 0..self.lanes.len() {
            for settled in self.lanes[index].in_flight.cancel() {
                self.settle(&settled);
            }
        }
        let is_closed = in_time && self.closed().await;
        let abandoned = "the shutdown's deadline passed before they were sent".to_owned();
        let why = match &obstacle {
            Some(obstacle) => format!("{abandoned}: {obstacle}"),
            None => abandoned,
        };
        for signal in [Signal::Traces, Signal::Logs] {
            self.abandon(signal, DropReason::ShutdownTimeout, &why);
        }
        self.diagnostics.finish();
        self.pending_flushes
            .conclude(is_closed, obstacle, &self.shared.requests);
    }

    /// Waits for what the exporters do at their shutdown, until the first deadline: false if it passes.
    async fn closed(&self) -> bool {
        let exporters = self.lanes.iter().map(|lane| &lane.exporter);
        // A foreign method: it may panic.
        let closed = exporters.filter_map(|e| catch_unwind(AssertUnwindSafe(|| e.closed())).ok());
        let mut closing: JoinSet<()> = JoinSet::new();
        closed.for_each(|closed| drop(closing.spawn(closed)));
        let all = async { while closing.join_next().await.is_some() {} };
        match self.pending_flushes.deadline() {
            Some(deadline) => timeout_at(deadline.into(), all).await.is_ok(),
            None => {
                all.await;
                true
            }
        }
    }

    /// Counts the staged items of a signal as lost.
    pub(super) fn abandon(&mut self, signal: Signal, reason: DropReason, why: &str) {
        let Some(lane) = self.lanes.iter_mut().find(|l| l.signal() == signal) else {
            return;
        };
        let start = lane.staging.start();
        let items = lane.staging.abandon();
        if items > 0 {
            lane.queue.counters.drop_spans(reason, items as u64);
            lane.queue.buffer.release(items);
            self.settle(&Settled {
                signal,
                start,
                lost: items as u64,
                error: Some(why.to_owned()),
                is_supported: None,
            });
        }
    }
}
