//! Requests that another encoder has written.

use bytes::Bytes;

use super::{Delivery, taken};
use crate::export::Outcome;
use crate::export::next_step::{DeliveryEnd, History};
use crate::stats::DropReason;

/// What became of a request that another encoder has written.
#[derive(Debug)]
pub(crate) struct RequestEnd {
    end: DeliveryEnd,
    retries: u64,
}

impl Delivery<'_> {
    /// Delivers a body as it is.
    pub(in crate::export) async fn deliver_encoded(mut self, body: Bytes) -> RequestEnd {
        self.is_encoded = true;
        let (len, limit) = (body.len(), self.client.config.max_request_size);
        let end = if len > limit {
            DeliveryEnd::TooLarge {
                message: format!("{len} bytes are more than a request may have, {limit}"),
                maybe: false,
                is_said: false,
            }
        } else {
            let history = History::default();
            self.attempts(vec![body], len, history, None).await
        };
        if let Some(member) = self.taken_by.take() {
            member.took(0, 0);
        }
        RequestEnd {
            end,
            retries: self.retries,
        }
    }
}

impl RequestEnd {
    pub(crate) fn is_taken(&self) -> bool {
        matches!(self.end, DeliveryEnd::Taken { .. })
    }

    /// Whether smaller requests may be taken.
    pub(crate) fn is_too_large(&self) -> bool {
        matches!(self.end, DeliveryEnd::TooLarge { .. })
    }

    /// What became of `count` items, which `items` names.
    pub(crate) fn outcome(self, count: u64, items: &str) -> Outcome {
        let mut outcome = match self.end {
            DeliveryEnd::Taken {
                rejected,
                message,
                maybe_twice,
            } => Outcome {
                possible_duplicates: if maybe_twice { count } else { 0 },
                ..taken((count, items), rejected, message)
            },
            DeliveryEnd::TooLarge { message, maybe, .. } => {
                let reason = match maybe {
                    true => DropReason::Unconfirmed,
                    false => DropReason::TooLarge,
                };
                Outcome::dropped(reason, count, message)
            }
            DeliveryEnd::Dropped { reason, message } => Outcome::dropped(reason, count, message),
            // Only parts of a batch have an owner.
            DeliveryEnd::Moved { .. } => Outcome::dropped(DropReason::Unsent, count, "no endpoint"),
        };
        outcome.retries = self.retries;
        outcome
    }
}
