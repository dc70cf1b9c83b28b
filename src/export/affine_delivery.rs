//! The delivery of a batch whose parts go to several members at the same time.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use super::Outcome;
use super::batch::Batch;
use super::client_state::ClientState;
use super::deadline::Cap;
use super::delivery::{Delivery, Part};
use super::limiter::{ConcurrencyLimiter, ConcurrencyPermit};

/// Delivers each part of a batch to the member that has its traces, within one deadline: as many at the same time as
/// there are permits.
///
/// The batch has a permit, with which its parts go one after the other; each further one at the same time needs one
/// more. It is not waited for, because batches that wait for each other's permits would all stand still.
pub(super) async fn deliver(
    client: &ClientState,
    cap: Cap,
    batch: Batch,
    limiter: &ConcurrencyLimiter,
) -> Outcome {
    let whole = Delivery::new(client, cap, None);
    let parts = match whole.owned(Part::whole(batch)).await {
        Ok(parts) => parts.into_iter(),
        Err(lost) => return lost,
    };
    let deliveries = parts.map(|part| Box::pin(whole.of_part().deliver(part)));
    let outcomes = join_within(limiter, deliveries.collect()).await;
    let all = outcomes.into_iter().reduce(Outcome::merge);
    all.unwrap_or_default()
}

/// All outputs, in the order in which the futures end. They are polled together, on this task, each but one under a
/// permit of its own.
async fn join_within<F: Future>(
    limiter: &ConcurrencyLimiter,
    mut waiting: VecDeque<Pin<Box<F>>>,
) -> Vec<F::Output> {
    let mut running: Vec<(Pin<Box<F>>, Option<ConcurrencyPermit>)> = Vec::new();
    let mut ended = Vec::new();
    poll_fn(|cx| {
        loop {
            while !waiting.is_empty() {
                let is_own_free = running.iter().all(|(_, permit)| permit.is_some());
                let permit = match is_own_free {
                    true => None,
                    false => match limiter.try_acquire() {
                        Some(permit) => Some(permit),
                        None => break,
                    },
                };
                running.extend(waiting.pop_front().map(|future| (future, permit)));
            }
            let before = ended.len();
            running.retain_mut(|(future, _)| match future.as_mut().poll(cx) {
                Poll::Ready(output) => {
                    ended.push(output);
                    false
                }
                Poll::Pending => true,
            });
            if running.is_empty() && waiting.is_empty() {
                return Poll::Ready(());
            }
            // A place is free for the next one.
            if ended.len() == before || waiting.is_empty() {
                return Poll::Pending;
            }
        }
    })
    .await;
    ended
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::{Arc, AtomicUsize, Ordering};

    /// Counts those that run at the same time; each needs three polls.
    async fn work(running: Arc<AtomicUsize>, most: Arc<AtomicUsize>, n: usize) -> usize {
        let now = running.fetch_add(1, Ordering::Relaxed) + 1;
        most.fetch_max(now, Ordering::Relaxed);
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        running.fetch_sub(1, Ordering::Relaxed);
        n
    }

    #[tokio::test]
    async fn so_many_run_at_once_as_there_are_permits() {
        for (limit, taken_by_others, at_once) in
            [(1, 0, 1), (4, 0, 4), (4, 2, 2), (4, 3, 1), (99, 0, 10)]
        {
            let limiter = ConcurrencyLimiter::new(limit);
            // That of the batch itself, and those of others.
            let mut permits = vec![limiter.acquire().await];
            for _ in 0..taken_by_others {
                permits.push(limiter.acquire().await);
            }
            let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
            let works = (0..10).map(|n| Box::pin(work(Arc::clone(&running), Arc::clone(&most), n)));
            let mut ended = join_within(&limiter, works.collect()).await;
            ended.sort_unstable();
            assert_eq!(ended, (0..10).collect::<Vec<_>>());
            assert_eq!(
                most.load(Ordering::Relaxed),
                at_once,
                "of {limit}, {taken_by_others} taken"
            );
            assert_eq!(limiter.in_use(), permits.len(), "all are given back");
        }
    }
}
