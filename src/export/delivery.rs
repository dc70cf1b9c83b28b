//! One batch brought to the endpoint: attempts, waits, halves, and one deadline over them all.
//!
//! Only attempts that the endpoint answered, or may have seen, use up the [`Deadline`], and only while
//! the endpoint is up: a batch of which it is proven that an endpoint that is down did not keep it
//! waits as if it had never been sent.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::{sleep, timeout};

use super::attempt::{Answer, Request, SendFailure, Sent, clean, no_answer};
use super::batch::Batch;
use super::cause::{Cause, tell};
use super::client_state::ClientState;
use super::credentials::Credentials;
use super::deadline::{Cap, Deadline};
use super::endpoint::Signal;
use super::health::Probe;
use super::retry::{Backoff, jitter};
use super::size::Said;
use super::status::Retryability;
use super::{Outcome, compress, json};
use crate::config::Protocol;
use crate::stats::DropReason;

/// A request of one span below this that is refused as too large is not: nothing would be gained by
/// halving its siblings.
const SMALL: usize = 64 << 10;

/// So many spans that are refused one after the other as too large are not: nothing is right.
const IN_VAIN: usize = 8;

/// A large request on which the connection was cut so often is taken for one that is too large: an
/// endpoint may close it instead of saying so.
const CUTS: u32 = 2;

pub(super) struct Delivery<'a> {
    link: &'a ClientState,
    deadline: Deadline,
    /// The next attempt is a probe.
    probe: Option<Probe>,
    retries: u64,
}

/// How the attempts of one request ended.
enum End {
    Taken {
        rejected: u64,
        message: String,
        /// An earlier attempt may have been taken, too.
        maybe_twice: bool,
    },
    /// `maybe`: an earlier attempt may have been taken.
    TooLarge {
        message: String,
        maybe: bool,
        /// Whether the endpoint has said so.
        is_said: bool,
    },
    SendFailure {
        reason: DropReason,
        message: String,
    },
}

/// What of a request the endpoint took, and rejected all the same (OTLP-5). Of nothing: a warning.
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
    /// Whether an attempt ended in which the endpoint may have taken it.
    maybe: bool,
}

impl<'a> Delivery<'a> {
    pub(super) fn new(link: &'a ClientState, cap: Cap, probe: Option<Probe>) -> Self {
        Self {
            link,
            deadline: Deadline::new(link.config.timeout, cap),
            probe,
            retries: 0,
        }
    }

    pub(super) async fn deliver(mut self, batch: Batch) -> Outcome {
        if self.link.signal != batch.signal().into() {
            let why = format!("this client does not send {}", batch.signal());
            return Outcome::dropped(DropReason::Internal, batch.span_count() as u64, why);
        }
        let items = batch.signal().items();
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
            } else if len > limit || (spans > 1 && self.is_larger_than_it_takes(len)) {
                let message = match self.link.signal {
                    Signal::Logs => {
                        format!("{len} bytes are more than a request may have, {limit}")
                    }
                    _ => format!("a span of {len} bytes is more than a request may have, {limit}"),
                };
                End::TooLarge {
                    message,
                    maybe,
                    is_said: false,
                }
            } else {
                self.attempts(batch.frames(), len, maybe).await
            };
            let part = match end {
                End::Taken {
                    rejected,
                    message,
                    maybe_twice,
                } => {
                    in_vain = 0;
                    self.link.size.taken(len);
                    Outcome {
                        possible_duplicates: if maybe_twice { spans } else { 0 },
                        ..taken((spans, items), rejected, message)
                    }
                }
                End::SendFailure { reason, message } => Outcome::dropped(reason, spans, message),
                End::TooLarge {
                    message,
                    maybe,
                    is_said,
                } => match batch.split() {
                    Ok((first, second)) => {
                        let part = |batch| Part { batch, maybe };
                        todo.extend([part(second), part(first)]);
                        continue;
                    }
                    Err(batch) => {
                        let message = match (self.link.signal, name_of(&batch)) {
                            (Signal::Logs, _) => {
                                format!("a log record of {len} bytes: {message}")
                            }
                            (_, Some(name)) => format!("span {name:?} of {len} bytes: {message}"),
                            (_, None) => message,
                        };
                        in_vain += usize::from(is_said);
                        if is_said && (len <= SMALL || in_vain >= IN_VAIN) {
                            self.link.size.forget();
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

    /// By what is remembered of its refusals.
    fn is_larger_than_it_takes(&self, len: usize) -> bool {
        let most = self.link.size.most(Instant::now());
        most.is_some_and(|most| len > most)
    }

    /// Delivers what cannot be split.
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
                ..
            } if message.is_empty() => Ok(None),
            End::Taken {
                rejected: count,
                message,
                ..
            } => Ok(Some(Rejected { count, message })),
            End::TooLarge { message, .. } | End::SendFailure { message, .. } => Err(message),
        }
    }

    /// Tries until the endpoint took it, or it is clear that it will not.
    async fn attempts(&mut self, frames: Vec<Bytes>, plain_len: usize, maybe: bool) -> End {
        let link = self.link;
        let config = &link.config;
        let is_json = config.protocol == Some(Protocol::HttpJson);
        let (frames, written_len) = match is_json.then(|| json::encode(link.signal, &frames)) {
            None => (frames, plain_len),
            Some(Ok(body)) => (vec![body.clone()], body.len()),
            Some(Err(e)) => {
                let message = format!("JSON: {e}");
                return lost(maybe, DropReason::Internal, message);
            }
        };
        let (frames, len) = match compress::compress(config.compression, &frames) {
            Ok(None) => (frames, written_len),
            Ok(Some(body)) => {
                let len = body.len();
                (vec![body], len)
            }
            Err(e) => {
                let message = format!("the compression failed: {e}");
                return End::SendFailure {
                    reason: DropReason::Internal,
                    message,
                };
            }
        };
        let mut backoff = Backoff::new(&config.retry);
        let mut attempts = 0;
        let mut cuts = 0;
        let mut asked_again = false;
        let mut ambiguous = maybe;
        let mut last: Option<String> = None;
        loop {
            let probe = match self.admission().await {
                Ok(probe) => probe,
                Err(over) => {
                    let last = last.or_else(|| link.health.last_error());
                    return unsent(ambiguous, over.because(last));
                }
            };
            if link.health.is_given_up() {
                let last = last.or_else(|| link.health.last_error());
                return unsent(ambiguous, Over::Unreached.because(last));
            }
            if self.deadline.is_over() {
                return unsent(ambiguous, Over::Time.because(last));
            }
            let is_probe = probe.is_some();
            let sent = Sent::default();
            let credentials = self.credentials().await;
            let began = Instant::now();
            let (answer, credentials) = match credentials {
                Ok(Ok(credentials)) => {
                    let request = Request {
                        signal: link.signal,
                        target: link.target.clone(),
                        frames: frames.clone(),
                        len,
                        plain_len,
                        encoding: compress::encoding(config.compression),
                        credentials: credentials.clone(),
                        sent: sent.clone(),
                    };
                    let Some(answer) = self.attempt(&request).await else {
                        let ambiguous = ambiguous || sent.maybe();
                        return unsent(ambiguous, Over::Shutdown.because(last));
                    };
                    (answer, credentials)
                }
                // Without them it is as if the endpoint were down.
                Ok(Err(message)) => {
                    let lost = SendFailure::Unreached;
                    (Answer::None { message, lost }, Credentials::default())
                }
                Err(over) => return unsent(ambiguous, over.because(last)),
            };
            let took = began.elapsed();
            ambiguous |= sent.is_doubled();
            // The parts that follow have what is left.
            let is_over = |answer: &Answer| match answer {
                Answer::Taken { .. } | Answer::TooLong { .. } => true,
                Answer::NotTaken { retryability, .. } => *retryability != Retryability::Retry,
                Answer::None { .. } => false,
            };
            if is_over(&answer) {
                link.health.handled();
                self.deadline.spend(took);
            }
            // Whether the endpoint has seen anything of it, and how long to wait if nobody else says.
            let (message, is_blank, wait) = match answer {
                Answer::Taken { rejected, message } => {
                    return End::Taken {
                        rejected,
                        message,
                        maybe_twice: ambiguous,
                    };
                }
                Answer::TooLong { message } => return unsent(true, message),
                Answer::NotTaken {
                    retryability: Retryability::Retry,
                    message,
                    wait,
                    ..
                } => {
                    link.health.later(&message, wait, is_probe);
                    (message, false, backoff.wait(None, jitter()))
                }
                Answer::NotTaken {
                    retryability: Retryability::Unauthenticated,
                    message,
                    ..
                } if !asked_again && link.credentials.refuse(&credentials) => {
                    asked_again = true;
                    last = Some(message);
                    self.retries += 1;
                    continue;
                }
                Answer::NotTaken {
                    retryability: Retryability::Split,
                    message,
                    size,
                    ..
                } => {
                    link.size.refused(plain_len, size, Instant::now());
                    return End::TooLarge {
                        message,
                        maybe: ambiguous,
                        is_said: true,
                    };
                }
                Answer::NotTaken {
                    message,
                    retryability,
                    ..
                } => {
                    let reason = match (retryability, link.signal) {
                        (Retryability::Unknown, Signal::Logs) => DropReason::Unsupported,
                        _ => DropReason::Refused,
                    };
                    return lost(ambiguous, reason, message);
                }
                Answer::None {
                    lost: SendFailure::NoTime,
                    ..
                } => {
                    self.deadline.spend(took);
                    return unsent(ambiguous, Over::Time.because(last));
                }
                Answer::None { message, lost } => {
                    match lost {
                        SendFailure::NoTime => {}
                        SendFailure::Unreached => link.health.unreached(&message, is_probe),
                        SendFailure::Unread => link.health.later(&message, None, is_probe),
                        SendFailure::Unknown | SendFailure::Cut => {
                            link.health.unanswered(&message, is_probe);
                            ambiguous = true;
                        }
                    }
                    cuts += u32::from(lost == SendFailure::Cut);
                    if cuts >= CUTS && plain_len > SMALL {
                        link.size.refused(plain_len, Said::TooLarge, Instant::now());
                        return End::TooLarge {
                            message,
                            maybe: true,
                            is_said: false,
                        };
                    }
                    let is_blank = matches!(lost, SendFailure::Unreached | SendFailure::Unread);
                    (message, is_blank, backoff.wait(None, jitter()))
                }
            };
            drop(probe);
            // Its turn comes when the endpoint may be up again.
            let waits = link.health.is_closed();
            let counts = !is_blank && !is_probe;
            attempts += u32::from(counts);
            if counts && attempts >= config.retry.max_attempts.max(1) {
                let message = format!("gave up after {attempts} attempts: {message}");
                return unsent(ambiguous, message);
            }
            if waits && !ambiguous {
                self.deadline.renew();
            } else if !is_blank {
                self.deadline.spend(took);
            }
            if self.deadline.is_over() {
                return unsent(ambiguous, Over::Time.because(Some(message)));
            }
            if !waits {
                if !self.deadline.allows(wait, is_blank) {
                    return unsent(ambiguous, Over::Time.because(Some(message)));
                }
                if self.pause(wait).await.is_none() {
                    return unsent(ambiguous, Over::Shutdown.because(Some(message)));
                }
                if !is_blank {
                    self.deadline.spend(wait);
                }
            }
            last = Some(message);
            self.retries += 1;
        }
    }

    /// Waits until an attempt may be made, for as long as the endpoint is down. `Some`: as a probe.
    async fn admission(&mut self) -> Result<Option<Probe>, Over> {
        if let Some(probe) = self.probe.take() {
            return Ok(Some(probe));
        }
        let link = self.link;
        let admission = async {
            let admission = link.health.admission();
            match self.deadline.wait_left() {
                Some(left) => timeout(left, admission).await.map_err(|_| Over::Time),
                None => Ok(admission.await),
            }
        };
        let admission = link.cancel.run_until_cancelled(admission).await;
        admission.unwrap_or(Err(Over::Shutdown))
    }

    /// The headers of an attempt, or why there are none.
    async fn credentials(&self) -> Result<Result<Credentials, String>, Over> {
        let link = self.link;
        let asked = async {
            let asked = link.credentials.current();
            match self.deadline.wait_left() {
                Some(left) => timeout(left, asked).await.map_err(|_| Over::Time),
                None => Ok(asked.await),
            }
        };
        let asked = link.cancel.run_until_cancelled(asked).await;
        asked.unwrap_or(Err(Over::Shutdown))
    }

    /// One attempt within what is left; `None` if a shutdown cut it short.
    async fn attempt(&self, request: &Request) -> Option<Answer> {
        let answer = self.uncertain_attempt(request).await;
        // Whatever cut it short: to send it again would double it.
        let is_certain = matches!(&answer, Some(Answer::Taken { .. } | Answer::TooLong { .. }));
        match request.sent.is_taken() && !is_certain {
            true => {
                let address = self.link.transport.address();
                Some(Answer::taken_without_words(&address))
            }
            false => answer,
        }
    }

    async fn uncertain_attempt(&self, request: &Request) -> Option<Answer> {
        let left = self.deadline.left();
        let connect = self.link.config.connect_timeout;
        let exchange = async {
            let exchange = self.link.transport.exchange(request, left);
            let Some(left) = left else {
                return exchange.await;
            };
            match timeout(left, exchange).await {
                Ok(answer) => answer,
                // The parts before took the time: that says nothing about the endpoint.
                Err(_) if !request.sent.maybe() && !self.deadline.is_fair(connect) => {
                    let message = format!("{left:.1?} were left for it");
                    let lost = SendFailure::NoTime;
                    Answer::None { message, lost }
                }
                Err(_) => {
                    // Nobody knows what became of the connection.
                    self.link.transport.disconnect();
                    let address = self.link.transport.address();
                    let (lost, message) = match request.sent.maybe() {
                        true => (SendFailure::Unknown, no_answer(&address, left)),
                        false => {
                            self.link.transport.mark_down();
                            let what = format!("no connection from {address} within {left:.1?}");
                            (SendFailure::Unreached, tell(&what, Cause::ConnectTimeout))
                        }
                    };
                    Answer::None { message, lost }
                }
            }
        };
        self.link.cancel.run_until_cancelled(exchange).await
    }

    async fn pause(&self, wait: Duration) -> Option<()> {
        self.link.cancel.run_until_cancelled(sleep(wait)).await
    }
}

/// Why no further attempt is made.
enum Over {
    Time,
    Shutdown,
    /// No connection could be made since a shutdown had begun.
    Unreached,
}

impl Over {
    /// `last`: why the last attempt failed.
    fn because(self, last: Option<String>) -> String {
        let over = match self {
            Self::Time => "out of time",
            Self::Shutdown => "cut short by the shutdown",
            Self::Unreached => "given up by the shutdown",
        };
        match last {
            Some(last) => format!("{over}: {last}"),
            None => format!("{over} before it was answered"),
        }
    }
}

/// The end of what was lost for `reason`, unless the endpoint may have it all the same.
fn lost(ambiguous: bool, reason: DropReason, message: String) -> End {
    let reason = match ambiguous {
        true => DropReason::Unconfirmed,
        false => reason,
    };
    End::SendFailure { reason, message }
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
