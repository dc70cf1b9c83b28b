//! The delivery of a batch whose parts go to several members at the same time.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use super::Outcome;
use super::batch::Batch;
use super::client_state::ClientState;
use super::deadline::Cap;
use super::delivery::{Delivery, Part};

/// Delivers each part of a batch to the member that has its traces, all at the same time and within one deadline.
pub(super) async fn deliver(client: &ClientState, cap: Cap, batch: Batch) -> Outcome {
    let whole = Delivery::new(client, cap, None);
    let parts = match whole.owned(Part::whole(batch)).await {
        Ok(parts) => parts,
        Err(lost) => return lost,
    };
    let deliveries = parts.into_iter();
    let deliveries = deliveries.map(|part| Box::pin(whole.of_part().deliver(part)));
    let outcomes = join_all(deliveries.collect()).await;
    let all = outcomes.into_iter().reduce(Outcome::merge);
    all.unwrap_or_default()
}

/// All outputs, in the order of the futures. They are polled together, on this task.
async fn join_all<F: Future>(futures: Vec<Pin<Box<F>>>) -> Vec<F::Output> {
    let mut ended: Vec<_> = futures.iter().map(|_| None).collect();
    let mut futures: Vec<_> = futures.into_iter().map(Some).collect();
    poll_fn(|cx| {
        for (future, ended) in futures.iter_mut().zip(&mut ended) {
            let Some(running) = future else { continue };
            if let Poll::Ready(output) = running.as_mut().poll(cx) {
                *ended = Some(output);
                *future = None;
            }
        }
        match futures.iter().all(Option::is_none) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
    ended.into_iter().flatten().collect()
}
