//! One batch brought to the endpoint: attempts, waits, halves, and one deadline over them all.
//!
//! Only attempts that the endpoint answered, or may have seen, use up the deadline
//! ([`timeout`](ExporterConfig::timeout)): while nothing can be sent, none of it burns. The cap, the
//! processor's export timeout, counts always.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::{sleep, timeout};

use super::batch::Batch;
use super::exchange::{Answer, Lost, Request, Sent, clean};
use super::link::Link;
use super::retry::{Backoff, jitter};
use super::status::Verdict;
use super::{Outcome, compress};
use crate::config::Compression;
use crate::stats::DropReason;

/// A request of one span below this that is refused as too large is not: nothing would be gained by
/// halving its siblings.
const SMALL: usize = 64 << 10;

/// So many spans that are refused one after the other as too large are not: nothing is right.
const IN_VAIN: usize = 8;

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
    Taken {
        rejected: u64,
        message: String,
    },
    /// `maybe`: an earlier attempt may have been taken.
    TooLarge {
        message: String,
        maybe: bool,
    },
    Lost {
        reason: DropReason,
        message: String,
    },
}

/// What of a request the endpoint took, and rejected all the same (OTLP-5). Of nothing: a warning.
#[cfg(feature = "metrics")]
#[derive(Debug)]
pub(crate) struct Rejected {
    pub(crate) count: u64,
    pub(crate) message: String,
}

/// A batch, or a part of one, that is still to be sent.
struct Part {
    batch: Batch,
    /// Whether an attempt ended in which the endpoint may have taken it.
    maybe: bool,
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
        let mut todo = vec![Part {
            batch,
            maybe: false,
        }];
        let mut hopeless: Option<String> = None;
        // Parts of one span that were too large, since one was taken.
        let mut in_vain = 0;
        while let Some(Part { batch, maybe }) = todo.pop() {
            let spans = batch.span_count() as u64;
            let len = batch.encoded_len();
            let limit = self.link.config.max_request_size;
            let end = if let Some(message) = &hopeless {
                lost(maybe, DropReason::Refused, message.clone())
            } else if len > limit {
                let message =
                    format!("a span of {len} bytes is more than a request may have, {limit}");
                End::TooLarge { message, maybe }
            } else {
                self.attempts(batch.frames(), len, maybe).await
            };
            let part = match end {
                End::Taken { rejected, message } => {
                    in_vain = 0;
                    taken(spans, rejected, message)
                }
                End::Lost { reason, message } => Outcome::dropped(reason, spans, message),
                End::TooLarge { message, maybe } => match batch.split() {
                    Ok((first, second)) => {
                        let part = |batch| Part { batch, maybe };
                        todo.extend([part(second), part(first)]);
                        continue;
                    }
                    Err(batch) => {
                        let message = match name_of(&batch) {
                            Some(name) => format!("span {name:?} of {len} bytes: {message}"),
                            None => message,
                        };
                        in_vain += usize::from(len <= limit);
                        if len <= limit && (len <= SMALL || in_vain >= IN_VAIN) {
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

    /// Delivers what cannot be split.
    #[cfg(feature = "metrics")]
    pub(super) async fn post(mut self, body: Bytes) -> Result<Option<Rejected>, String> {
        let (len, limit) = (body.len(), self.link.config.max_request_size);
        if len > limit {
            return Err(format!(
                "{len} bytes are more than a request may have, {limit}"
            ));
        }
        match self.attempts(vec![body], len, false).await {
            End::Taken {
                rejected: 0,
                message,
            } if message.is_empty() => Ok(None),
            End::Taken {
                rejected: count,
                message,
            } => Ok(Some(Rejected { count, message })),
            End::TooLarge { message, .. } | End::Lost { message, .. } => Err(message),
        }
    }

    /// Tries until the endpoint took it, or it is clear that it will not.
    async fn attempts(&mut self, frames: Vec<Bytes>, len: usize, maybe: bool) -> End {
        let config = &self.link.config;
        let (frames, len, is_gzip) = match config.compression {
            Compression::None => (frames, len, false),
            Compression::Gzip => match compress::gzip(&frames) {
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
        let mut reconnect = Backoff::reconnect(&config.retry);
        let mut attempts = 0;
        let mut ambiguous = maybe;
        loop {
            if self.time_left().is_some_and(|left| left.is_zero()) {
                return unsent(ambiguous, "out of time before it was sent".to_owned());
            }
            let sent = Sent::default();
            let request = Request {
                frames: frames.clone(),
                len,
                is_gzip,
                sent: sent.clone(),
            };
            let began = Instant::now();
            let Some(answer) = self.attempt(&request).await else {
                let ambiguous = ambiguous || sent.maybe();
                return unsent(ambiguous, "cut short by the shutdown".to_owned());
            };
            let is_blank = matches!(&answer, Answer::None { lost, .. } if *lost != Lost::Unknown);
            if !is_blank {
                attempts += 1;
                self.spend(began.elapsed());
            }
            let (message, wait) = match answer {
                Answer::Taken { rejected, message } => return End::Taken { rejected, message },
                Answer::TooLong { message } => return unsent(true, message),
                Answer::NotTaken {
                    verdict,
                    message,
                    wait,
                } => match verdict {
                    Verdict::Retry => {
                        if let Some(asked) = wait {
                            self.link.hold_off(asked);
                        }
                        (message, backoff.wait(wait, jitter()))
                    }
                    Verdict::Split => {
                        let maybe = ambiguous;
                        return End::TooLarge { message, maybe };
                    }
                    Verdict::Refused => return lost(ambiguous, DropReason::Refused, message),
                },
                Answer::None { message, lost } => match lost {
                    Lost::Unknown => {
                        ambiguous = true;
                        (message, backoff.wait(None, jitter()))
                    }
                    Lost::Unread => (message, reconnect.wait(None, jitter())),
                    Lost::Unreached => {
                        self.link.note(message.clone());
                        (message, reconnect.wait(None, jitter()))
                    }
                },
            };
            if attempts >= config.retry.max_attempts.max(1) {
                let message = format!("gave up after {attempts} attempts: {message}");
                return unsent(ambiguous, message);
            }
            if !self.has_time(wait, is_blank) {
                return unsent(ambiguous, format!("out of time: {message}"));
            }
            if self.pause(wait).await.is_none() {
                return unsent(ambiguous, format!("cut short by the shutdown: {message}"));
            }
            if !is_blank {
                self.spend(wait);
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
                    let (lost, what) = match request.sent.maybe() {
                        true => (Lost::Unknown, "answer"),
                        false => {
                            self.link.transport.mark_down();
                            (Lost::Unreached, "connection")
                        }
                    };
                    let address = self.link.transport.address();
                    let message = format!("no {what} from {address} within {left:.1?}");
                    Answer::None { message, lost }
                }
            }
        };
        self.link.cancel.run_until_cancelled(exchange).await
    }

    async fn pause(&self, wait: Duration) -> Option<()> {
        self.link.cancel.run_until_cancelled(sleep(wait)).await
    }

    /// Takes it out of the deadline.
    fn spend(&mut self, spent: Duration) {
        self.left = self.left.map(|left| left.saturating_sub(spent));
    }

    /// Whether something may follow after `wait`.
    fn has_time(&self, wait: Duration, is_blank: bool) -> bool {
        let deadline = is_blank || self.left.is_none_or(|left| left > wait);
        deadline && self.cap_left().is_none_or(|left| left > wait)
    }

    fn cap_left(&self) -> Option<Duration> {
        let cap = self.link.cap?;
        Some(cap.saturating_sub(self.began.elapsed() + MARGIN.min(cap / 10)))
    }

    fn time_left(&self) -> Option<Duration> {
        match (self.left, self.cap_left()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }
}

/// The end of what was lost for `reason`, unless the endpoint may have it all the same.
fn lost(ambiguous: bool, reason: DropReason, message: String) -> End {
    let reason = match ambiguous {
        true => DropReason::Unconfirmed,
        false => reason,
    };
    End::Lost { reason, message }
}

fn unsent(ambiguous: bool, message: String) -> End {
    lost(ambiguous, DropReason::Unsent, message)
}

/// What the only span of a batch is called.
fn name_of(batch: &Batch) -> Option<String> {
    let (_, span) = batch.spans().next()?;
    crate::wire::decode::Span::decode(span).map(|span| clean(span.name))
}

/// An endpoint may claim to have rejected more than it got.
fn taken(spans: u64, rejected: u64, message: String) -> Outcome {
    let rejected = rejected.min(spans);
    let mut outcome = Outcome {
        delivered: spans - rejected,
        rejected,
        ..Outcome::default()
    };
    if rejected > 0 {
        let error = format!("the endpoint rejected {rejected} of {spans} spans: {message}");
        outcome.error = Some(error);
    } else if !message.is_empty() {
        outcome.warning = Some(message);
    }
    outcome
}
