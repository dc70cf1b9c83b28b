//! [`Delivery`]: sends one batch, with attempts, waits, splits and one deadline over all of them.
//!
//! An attempt uses up the [`Deadline`] only if the endpoint answered it or may have seen it, and only while
//! the endpoint is up. A batch that certainly did not arrive at an endpoint that is down waits as if it had
//! never been sent.

mod attempts;
#[cfg(feature = "opentelemetry-otlp")]
mod encoded;
mod exchange;

#[cfg(feature = "opentelemetry-otlp")]
pub(crate) use self::encoded::RequestEnd;

use std::time::Instant;

use bytes::Bytes;

use super::Outcome;
use super::affinity::split;
use super::batch::Batch;
use super::client_state::ClientState;
use super::deadline::{Cap, Deadline};
use super::endpoint::ExportSignal;
use super::members::{EndpointMember, MemberRoute};
use super::next_step::{DeliveryEnd, History, SMALL, lost};
use crate::stats::DropReason;
use crate::sync::Arc;
use crate::text::clean;

/// After this many single-span requests refused as too large, the refusal is not about size.
const IN_VAIN: usize = 8;

pub(super) struct Delivery<'a> {
    client: &'a ClientState,
    deadline: Deadline,
    /// The way of the next attempt.
    route: Option<MemberRoute>,
    /// The member that took the last request.
    taken_by: Option<Arc<EndpointMember>>,
    retries: u64,
    /// Whether the body is the endpoint's protocol already.
    is_encoded: bool,
    /// Single spans refused as too large since the last success.
    in_vain: usize,
    /// The refusal after which nothing else is sent.
    hopeless: Option<String>,
}

/// A partial success of a request: the items that the endpoint rejected (OTLP-5). With a count of zero
/// `message` is a warning.
#[derive(Debug)]
#[cfg_attr(
    not(feature = "metrics"),
    allow(dead_code, reason = "only metrics tell it")
)]
pub(crate) struct Rejected {
    pub(crate) count: u64,
    pub(crate) message: String,
}

/// A batch, or a part of one, that is still to be sent.
pub(super) struct Part {
    batch: Batch,
    /// The attempts so far.
    history: History,
    /// The number of the member that has it, with affine routing.
    owner: Option<u64>,
    /// Members that did not answer.
    avoid: Vec<u64>,
}

impl Part {
    pub(super) fn whole(batch: Batch) -> Self {
        Self {
            batch,
            history: History::default(),
            owner: None,
            avoid: Vec::new(),
        }
    }

    fn items(&self) -> u64 {
        self.batch.item_count() as u64
    }
}

impl<'a> Delivery<'a> {
    pub(super) fn new(client: &'a ClientState, cap: Cap, route: Option<MemberRoute>) -> Self {
        Self {
            client,
            deadline: Deadline::new(client.config.timeout, cap),
            route,
            taken_by: None,
            retries: 0,
            is_encoded: false,
            in_vain: 0,
            hopeless: None,
        }
    }

    /// The delivery of a part beside the others, with the deadline of all.
    pub(super) fn of_part(&self) -> Self {
        Self {
            client: self.client,
            deadline: self.deadline.clone(),
            route: None,
            taken_by: None,
            retries: 0,
            is_encoded: false,
            in_vain: 0,
            hopeless: None,
        }
    }

    pub(super) async fn deliver(mut self, part: Part) -> Outcome {
        let mut outcome = Outcome::default();
        // A stack with the first part on top: parts are sent in order.
        let mut todo = vec![part];
        while let Some(part) = todo.pop() {
            if part.owner.is_none() && self.client.is_affine() {
                match self.owned(part).await {
                    Ok(parts) => todo.extend(parts.into_iter().rev()),
                    Err(lost) => outcome = outcome.merge(lost),
                }
                continue;
            }
            let end = self.send(&part).await;
            if let Some(settled) = self.follow(part, end, &mut todo) {
                outcome = outcome.merge(settled);
            }
        }
        outcome.retries = self.retries;
        outcome
    }

    /// The end of the attempts of a part; without any, if they are known to be in vain.
    async fn send(&mut self, part: &Part) -> DeliveryEnd {
        let maybe = part.history.ambiguous;
        let len = part.batch.encoded_len();
        let limit = self.client.config.max_request_size;
        if let Some(message) = &self.hopeless {
            return lost(maybe, DropReason::Refused, message.clone());
        }
        if len > limit || (part.items() > 1 && self.is_larger_than_it_takes(len)) {
            let message = match self.client.signal {
                ExportSignal::Logs => {
                    format!("{len} bytes are more than a request may have, {limit}")
                }
                _ => format!("a span of {len} bytes is more than a request may have, {limit}"),
            };
            return DeliveryEnd::TooLarge {
                message,
                maybe,
                is_said: false,
            };
        }
        let frames = part.batch.frames();
        self.attempts(frames, len, part.history, part.owner).await
    }

    /// The outcome of a part by the end of its attempts; `None`: what is still to be sent of it is in `todo`.
    fn follow(&mut self, part: Part, end: DeliveryEnd, todo: &mut Vec<Part>) -> Option<Outcome> {
        match end {
            DeliveryEnd::Taken {
                rejected,
                message,
                maybe_twice,
            } => Some(self.taken(&part, rejected, message, maybe_twice)),
            DeliveryEnd::Dropped { reason, message } => {
                Some(Outcome::dropped(reason, part.items(), message))
            }
            DeliveryEnd::Moved { from, history } => {
                let mut avoid = part.avoid;
                if !avoid.contains(&from) {
                    avoid.push(from);
                }
                todo.push(Part {
                    batch: part.batch,
                    history,
                    owner: None,
                    avoid,
                });
                None
            }
            DeliveryEnd::TooLarge {
                message,
                maybe,
                is_said,
            } => self.halve(part, (message, maybe, is_said), todo),
        }
    }

    /// The outcome of a part that was taken.
    fn taken(&mut self, part: &Part, rejected: u64, message: String, maybe_twice: bool) -> Outcome {
        self.in_vain = 0;
        self.client.size.taken(part.batch.encoded_len());
        let items = part.items();
        let noun = part.batch.signal().items();
        let outcome = Outcome {
            possible_duplicates: if maybe_twice { items } else { 0 },
            ..taken((items, noun), rejected, message)
        };
        if let Some(member) = self.taken_by.take() {
            member.took(outcome.delivered, outcome.rejected);
        }
        outcome
    }

    /// Divides a part that is too large; the outcome of one that cannot be divided.
    fn halve(
        &mut self,
        part: Part,
        (message, maybe, is_said): (String, bool, bool),
        todo: &mut Vec<Part>,
    ) -> Option<Outcome> {
        let (items, len) = (part.items(), part.batch.encoded_len());
        let batch = match part.batch.split() {
            Ok((first, second)) => {
                let half = |batch| Part {
                    batch,
                    history: History::of_part(maybe),
                    owner: part.owner,
                    avoid: part.avoid.clone(),
                };
                todo.extend([half(second), half(first)]);
                return None;
            }
            Err(batch) => batch,
        };
        let message = match (self.client.signal, name_of(&batch)) {
            (ExportSignal::Logs, _) => format!("a log record of {len} bytes: {message}"),
            (_, Some(name)) => format!("span {name:?} of {len} bytes: {message}"),
            (_, None) => message,
        };
        self.in_vain += usize::from(is_said);
        if is_said && (len <= SMALL || self.in_vain >= IN_VAIN) {
            self.client.size.forget();
            self.hopeless = Some(message.clone());
        }
        let reason = match maybe {
            true => DropReason::Unconfirmed,
            false => DropReason::TooLarge,
        };
        Some(Outcome::dropped(reason, items, message))
    }

    /// The parts of a part by the members that have their traces now; waits while all are down.
    pub(super) async fn owned(&self, part: Part) -> Result<Vec<Part>, Outcome> {
        let owners = match self.owners(&part.avoid).await {
            Ok(owners) => owners,
            Err(over) => {
                let message = over.because(self.client.members.last_error());
                let reason = match part.history.ambiguous {
                    true => DropReason::Unconfirmed,
                    false => DropReason::Unsent,
                };
                return Err(Outcome::dropped(reason, part.items(), message));
            }
        };
        let of_owner = |(owner, batch)| Part {
            batch,
            history: part.history,
            owner,
            avoid: part.avoid.clone(),
        };
        let parts = split(part.batch, &owners, self.client.random.next());
        Ok(parts.into_iter().map(of_owner).collect())
    }

    /// By the endpoint's earlier refusals.
    fn is_larger_than_it_takes(&self, len: usize) -> bool {
        let most = self.client.size.most(Instant::now());
        most.is_some_and(|most| len > most)
    }

    /// Delivers an encoded request, which cannot be split.
    pub(super) async fn post(mut self, body: Bytes) -> Result<Option<Rejected>, String> {
        let (len, limit) = (body.len(), self.client.config.max_request_size);
        if len > limit {
            return Err(format!(
                "{len} bytes are more than a request may have, {limit}"
            ));
        }
        let history = History::default();
        let end = self.attempts(vec![body], len, history, None).await;
        if let Some(member) = self.taken_by.take() {
            member.took(0, 0);
        }
        match end {
            // Only parts of a batch have an owner.
            DeliveryEnd::Moved { .. } => Err("no endpoint".to_owned()),
            DeliveryEnd::Taken {
                rejected: 0,
                message,
                ..
            } if message.is_empty() => Ok(None),
            DeliveryEnd::Taken {
                rejected: count,
                message,
                ..
            } => Ok(Some(Rejected { count, message })),
            DeliveryEnd::TooLarge { message, .. } | DeliveryEnd::Dropped { message, .. } => {
                Err(message)
            }
        }
    }
}

/// The name of the first span of a batch.
fn name_of(batch: &Batch) -> Option<String> {
    let span = batch.items().next()?.message;
    crate::wire::decode::Span::decode(span).map(|span| clean(span.name))
}

/// The outcome of a request that was taken. An endpoint may report more rejected items than it got.
fn taken((items, noun): (u64, &str), rejected: u64, message: String) -> Outcome {
    let rejected = rejected.min(items);
    let mut outcome = Outcome {
        delivered: items - rejected,
        rejected,
        ..Outcome::default()
    };
    if rejected > 0 {
        let error = format!("the endpoint rejected {rejected} of {items} {noun}: {message}");
        outcome.error = Some(error);
    } else if !message.is_empty() {
        outcome.warning = Some(message);
    }
    outcome
}
