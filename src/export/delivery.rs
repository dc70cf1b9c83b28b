//! One batch brought to the endpoint: attempts, waits, halves, and one deadline over them all.
//!
//! Only attempts that the endpoint answered, or may have seen, use up the deadline
//! ([`timeout`](ExporterConfig::timeout)): while nothing can be sent, none of it burns. The cap, the
//! processor's export timeout, counts always.

use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use super::batch::Batch;
use super::exchange::{Answer, Request, Sent};
use super::link::Link;
use super::retry::{Backoff, jitter};
use super::status::Verdict;
use super::{Outcome, compress};
use crate::config::Compression;
use crate::stats::DropReason;

/// A request of one span below this that is refused as too large is not: nothing would be gained by
/// halving its siblings.
const SMALL: usize = 64 << 10;

/// Stops a little before the cap, so that what became of the spans is known before they are
/// written off.
const MARGIN: Duration = Duration::from_millis(200);

pub(super) struct Delivery<'a> {
    link: &'a Link,
    began: Instant,
    /// What is left of the deadline; `None`: there is none.
    left: Option<Duration>,
    retries: u64,
}

/// How the attempts of one request ended.
enum End {
    Taken { rejected: u64, message: String },
    TooLarge { message: String },
    Lost { reason: DropReason, message: String },
}

impl<'a> Delivery<'a> {
    pub(super) fn new(link: &'a Link) -> Self {
        Self {
            link,
            began: Instant::now(),
            left: link.config.timeout,
            retries: 0,
        }
    }

    pub(super) async fn deliver(mut self, batch: Batch) -> Outcome {
        let mut outcome = Outcome::default();
        // In order: the first half is on top.
        let mut todo = vec![batch];
        let mut hopeless: Option<String> = None;
        while let Some(batch) = todo.pop() {
            let spans = batch.span_count() as u64;
            if let Some(message) = &hopeless {
                let refused = Outcome::dropped(DropReason::Refused, spans, message.clone());
                outcome = outcome.merge(refused);
                continue;
            }
            let len = batch.encoded_len();
            let limit = self.link.config.max_request_size;
            let end = if len > limit {
                let message =
                    format!("a span of {len} bytes is more than a request may have, {limit}");
                End::TooLarge { message }
            } else {
                self.attempts(&batch, len).await
            };
            let part = match end {
                End::Taken { rejected, message } => taken(spans, rejected, message),
                End::Lost { reason, message } => Outcome::dropped(reason, spans, message),
                End::TooLarge { message } => match batch.split() {
                    Ok((first, second)) => {
                        todo.extend([second, first]);
                        continue;
                    }
                    Err(_) => {
                        if len <= limit.min(SMALL) {
                            hopeless = Some(message.clone());
                        }
                        Outcome::dropped(DropReason::TooLarge, spans, message)
                    }
                },
            };
            outcome = outcome.merge(part);
        }
        outcome.retries = self.retries;
        outcome
    }

    /// Tries until the endpoint took it, or it is clear that it will not.
    async fn attempts(&mut self, batch: &Batch, len: usize) -> End {
        let config = &self.link.config;
        let (frames, len, is_gzip) = match config.compression {
            Compression::None => (batch.frames(), len, false),
            Compression::Gzip => match compress::gzip(&batch.frames()) {
                Ok(body) => (vec![body.clone()], body.len(), true),
                Err(e) => {
                    let message = format!("gzip failed: {e}");
                    return End::Lost {
                        reason: DropReason::Internal,
                        message,
                    };
                }
            },
        };
        let mut backoff = Backoff::new(&config.retry);
        let mut reconnect = Backoff::new(&config.retry);
        let mut attempts = 0;
        // Whether an attempt ended in which the endpoint may have taken it.
        let mut ambiguous = false;
        loop {
            let sent = Sent::default();
            let request = Request {
                frames: frames.clone(),
                len,
                is_gzip,
                sent: sent.clone(),
            };
            let attempt = Instant::now();
            let answer = self.attempt(&request).await;
            let uses_deadline = !matches!(answer, Some(Answer::None { .. }) | None) || sent.maybe();
            if uses_deadline {
                attempts += 1;
            }
            let lost = |ambiguous: bool, message| End::Lost {
                reason: if ambiguous {
                    DropReason::Unconfirmed
                } else {
                    DropReason::Unsent
                },
                message,
            };
            let (message, wait) = match answer {
                // Cut short by a shutdown.
                None => {
                    return lost(
                        ambiguous || sent.maybe(),
                        "cut short by the shutdown".into(),
                    );
                }
                Some(Answer::Taken { rejected, message }) => {
                    return End::Taken { rejected, message };
                }
                Some(Answer::TooLong { message }) => return lost(true, message),
                Some(Answer::NotTaken {
                    verdict,
                    message,
                    wait,
                }) => match verdict {
                    Verdict::Retry => (message, backoff.wait(wait, jitter())),
                    Verdict::Split if !ambiguous => return End::TooLarge { message },
                    Verdict::Split | Verdict::Refused if ambiguous => return lost(true, message),
                    Verdict::Split | Verdict::Refused => {
                        return End::Lost {
                            reason: DropReason::Refused,
                            message,
                        };
                    }
                },
                Some(Answer::None { message }) if sent.maybe() => {
                    ambiguous = true;
                    (message, backoff.wait(None, jitter()))
                }
                Some(Answer::None { message }) => {
                    self.link.note(Some(message.clone()));
                    (message, reconnect.wait(None, jitter()))
                }
            };
            if attempts >= config.retry.max_attempts.max(1) {
                let message = format!("gave up after {attempts} attempts: {message}");
                return lost(ambiguous, message);
            }
            let spent = attempt.elapsed();
            let deadline = self.spend(uses_deadline, spent, wait);
            if !deadline || !self.within_cap(wait) {
                return lost(ambiguous, format!("out of time: {message}"));
            }
            if self.pause(wait).await.is_none() {
                return lost(ambiguous, format!("cut short by the shutdown: {message}"));
            }
            self.retries += 1;
        }
    }

    /// One attempt within what is left; `None` if a shutdown cut it short.
    async fn attempt(&self, request: &Request) -> Option<Answer> {
        let left = self.time_left();
        let exchange = async {
            let exchange = self.link.transport.exchange(request, left);
            let Some(left) = left else {
                return exchange.await;
            };
            match timeout(left, exchange).await {
                Ok(answer) => answer,
                Err(_) => {
                    // Nobody knows what became of the connection.
                    self.link.transport.disconnect();
                    Answer::None {
                        message: format!("no answer within {left:.1?}"),
                    }
                }
            }
        };
        self.link.cancel.run_until_cancelled(exchange).await
    }

    async fn pause(&self, wait: Duration) -> Option<()> {
        self.link.cancel.run_until_cancelled(sleep(wait)).await
    }

    /// Takes an attempt and the wait after it out of the deadline; false if it has no room for
    /// another.
    fn spend(&mut self, uses_deadline: bool, spent: Duration, wait: Duration) -> bool {
        let Some(left) = &mut self.left else {
            return true;
        };
        if !uses_deadline {
            return true;
        }
        *left = left.saturating_sub(spent + wait);
        !left.is_zero()
    }

    fn cap_left(&self) -> Option<Duration> {
        let cap = self.link.cap?;
        Some(cap.saturating_sub(self.began.elapsed() + MARGIN.min(cap / 10)))
    }

    fn within_cap(&self, wait: Duration) -> bool {
        self.cap_left().is_none_or(|left| left > wait)
    }

    fn time_left(&self) -> Option<Duration> {
        match (self.left, self.cap_left()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }
}

/// An endpoint may claim to have rejected more than it got.
fn taken(spans: u64, rejected: u64, message: String) -> Outcome {
    let rejected = rejected.min(spans);
    Outcome {
        delivered: spans - rejected,
        rejected,
        error: match (rejected, message.as_str()) {
            (0, "") => None,
            (0, warning) => Some(format!("the endpoint warns: {warning}")),
            (n, why) => Some(format!("the endpoint rejected {n} of {spans} spans: {why}")),
        },
        ..Outcome::default()
    }
}
