//! [`Delivery`]: sends one batch, with attempts, waits, splits and one deadline over all of them.
//!
//! An attempt uses up the [`Deadline`] only if the endpoint answered it or may have seen it, and only while
//! the endpoint is up. A batch that certainly did not arrive at an endpoint that is down waits as if it had
//! never been sent.

mod attempts;
#[cfg(feature = "opentelemetry-otlp")]
mod encoded;

#[cfg(feature = "opentelemetry-otlp")]
pub(crate) use self::encoded::Ended;

use std::time::Instant;

use bytes::Bytes;

use super::Outcome;
use super::affinity::split;
use super::batch::Batch;
use super::client_state::ClientState;
use super::deadline::{Cap, Deadline};
use super::endpoint::Signal;
use super::members::{EndpointMember, MemberRoute};
use super::next_step::{DeliveryEnd, SMALL, lost};
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
    /// The number of the member that has the batch, with affine routing.
    owner: Option<u64>,
    /// The member that took the last request.
    taken_by: Option<Arc<EndpointMember>>,
    retries: u64,
    /// Whether the body is the endpoint's protocol already.
    is_encoded: bool,
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
struct Part {
    batch: Batch,
    /// Whether the endpoint may have taken it in an earlier attempt.
    maybe: bool,
    /// The number of the member that has it, with affine routing.
    owner: Option<u64>,
    /// Members that did not answer.
    avoid: Vec<u64>,
}

impl<'a> Delivery<'a> {
    pub(super) fn new(client: &'a ClientState, cap: Cap, route: Option<MemberRoute>) -> Self {
        Self {
            client,
            deadline: Deadline::new(client.config.timeout, cap),
            route,
            owner: None,
            taken_by: None,
            retries: 0,
            is_encoded: false,
        }
    }

    /// The parts of a batch by the members that have their traces, and a delivery for each with what is left of
    /// this one's time. Waits while all members are down; then the spans are those of the outcome.
    pub(super) async fn divided(&self, batch: Batch) -> Result<Vec<(Self, Batch)>, Outcome> {
        let whole = Part {
            batch,
            maybe: false,
            owner: None,
            avoid: Vec::new(),
        };
        let parts = self.owned(whole).await?.into_iter().rev();
        let of_owner = |part: Part| {
            let delivery = Self {
                client: self.client,
                deadline: self.deadline.clone(),
                route: None,
                owner: part.owner,
                taken_by: None,
                retries: 0,
                is_encoded: self.is_encoded,
            };
            (delivery, part.batch)
        };
        Ok(parts.map(of_owner).collect())
    }

    pub(super) async fn deliver(mut self, batch: Batch) -> Outcome {
        if self.client.signal != batch.signal().into() {
            let why = format!("this client does not send {}", batch.signal());
            return Outcome::dropped(DropReason::Internal, batch.span_count() as u64, why);
        }
        let items = batch.signal().items();
        let mut outcome = Outcome::default();
        // A stack with the first half on top: parts are sent in order.
        let mut todo = vec![Part {
            batch,
            maybe: false,
            owner: self.owner,
            avoid: Vec::new(),
        }];
        let mut hopeless: Option<String> = None;
        // Single spans refused as too large since the last success.
        let mut in_vain = 0;
        while let Some(part) = todo.pop() {
            let part = match part.owner.is_none() && self.client.is_affine() {
                true => match self.owned(part).await {
                    Ok(parts) => {
                        todo.extend(parts);
                        continue;
                    }
                    Err(lost) => {
                        outcome = outcome.merge(lost);
                        continue;
                    }
                },
                false => part,
            };
            let Part {
                batch,
                maybe,
                owner,
                avoid,
            } = part;
            let spans = batch.span_count() as u64;
            let len = batch.encoded_len();
            let limit = self.client.config.max_request_size;
            let end = if let Some(message) = &hopeless {
                lost(maybe, DropReason::Refused, message.clone())
            } else if len > limit || (spans > 1 && self.is_larger_than_it_takes(len)) {
                let message = match self.client.signal {
                    Signal::Logs => {
                        format!("{len} bytes are more than a request may have, {limit}")
                    }
                    _ => format!("a span of {len} bytes is more than a request may have, {limit}"),
                };
                DeliveryEnd::TooLarge {
                    message,
                    maybe,
                    is_said: false,
                }
            } else {
                self.attempts(batch.frames(), len, maybe, owner).await
            };
            let part = match end {
                DeliveryEnd::Taken {
                    rejected,
                    message,
                    maybe_twice,
                } => {
                    in_vain = 0;
                    self.client.size.taken(len);
                    let outcome = Outcome {
                        possible_duplicates: if maybe_twice { spans } else { 0 },
                        ..taken((spans, items), rejected, message)
                    };
                    if let Some(member) = self.taken_by.take() {
                        member.took(outcome.delivered, outcome.rejected);
                    }
                    outcome
                }
                DeliveryEnd::Moved { from, maybe } => {
                    let mut avoid = avoid;
                    avoid.push(from);
                    todo.push(Part {
                        batch,
                        maybe,
                        owner: None,
                        avoid,
                    });
                    continue;
                }
                DeliveryEnd::Dropped { reason, message } => {
                    Outcome::dropped(reason, spans, message)
                }
                DeliveryEnd::TooLarge {
                    message,
                    maybe,
                    is_said,
                } => match batch.split() {
                    Ok((first, second)) => {
                        let part = |batch| Part {
                            batch,
                            maybe,
                            owner,
                            avoid: avoid.clone(),
                        };
                        todo.extend([part(second), part(first)]);
                        continue;
                    }
                    Err(batch) => {
                        let message = match (self.client.signal, name_of(&batch)) {
                            (Signal::Logs, _) => {
                                format!("a log record of {len} bytes: {message}")
                            }
                            (_, Some(name)) => format!("span {name:?} of {len} bytes: {message}"),
                            (_, None) => message,
                        };
                        in_vain += usize::from(is_said);
                        if is_said && (len <= SMALL || in_vain >= IN_VAIN) {
                            self.client.size.forget();
                            hopeless = Some(message.clone());
                        }
                        let reason = match maybe {
                            true => DropReason::Unconfirmed,
                            false => DropReason::TooLarge,
                        };
                        Outcome::dropped(reason, spans, message)
                    }
                },
            };
            outcome = outcome.merge(part);
        }
        outcome.retries = self.retries;
        outcome
    }

    /// The parts of a part by the members that have their traces now, the first on top of the stack.
    async fn owned(&self, part: Part) -> Result<Vec<Part>, Outcome> {
        let Part {
            batch,
            maybe,
            avoid,
            ..
        } = part;
        let owners = match self.owners(&avoid).await {
            Ok(owners) => owners,
            Err(over) => {
                let message = over.because(self.client.members.last_error());
                let reason = match maybe {
                    true => DropReason::Unconfirmed,
                    false => DropReason::Unsent,
                };
                return Err(Outcome::dropped(reason, batch.span_count() as u64, message));
            }
        };
        let parts = split(batch, &owners).into_iter().rev();
        let of_owner = |(owner, batch)| Part {
            batch,
            maybe,
            owner,
            avoid: avoid.clone(),
        };
        Ok(parts.map(of_owner).collect())
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
        let end = self.attempts(vec![body], len, false, None).await;
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
    let (_, span) = batch.spans().next()?;
    crate::wire::decode::Span::decode(span).map(|span| clean(span.name))
}

/// The outcome of a request that was taken. An endpoint may report more rejected items than it got.
fn taken((spans, items): (u64, &str), rejected: u64, message: String) -> Outcome {
    let rejected = rejected.min(spans);
    let mut outcome = Outcome {
        delivered: spans - rejected,
        rejected,
        ..Outcome::default()
    };
    if rejected > 0 {
        let error = format!("the endpoint rejected {rejected} of {spans} {items}: {message}");
        outcome.error = Some(error);
    } else if !message.is_empty() {
        outcome.warning = Some(message);
    }
    outcome
}
