//! [`Delivery`]: sends one batch, with attempts, waits, splits and one deadline over all of them.
//!
//! An attempt uses up the [`Deadline`] only if the endpoint answered it or may have seen it, and only while
//! the endpoint is up. A batch that certainly did not arrive at an endpoint that is down waits as if it had
//! never been sent.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::{sleep, timeout};

use super::attempt::{Answer, Request, SendFailure, Sent, no_answer};
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
use crate::text::clean;

/// If a single-span request below this size is refused as too large, the refusal is not about size, and
/// the other parts are not split further.
const SMALL: usize = 64 << 10;

/// After this many single-span requests refused as too large, the refusal is not about size.
const IN_VAIN: usize = 8;

/// After this many cut connections, a large request counts as too large: some endpoints close the
/// connection instead of an answer.
const CUTS: u32 = 2;

pub(super) struct Delivery<'a> {
    client: &'a ClientState,
    deadline: Deadline,
    /// The next attempt is a probe.
    probe: Option<Probe>,
    retries: u64,
}

/// The end of the attempts of one request.
enum DeliveryEnd {
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
        /// Whether the endpoint answered so; `false`: by our own limit or a cut connection.
        is_said: bool,
    },
    Dropped {
        reason: DropReason,
        message: String,
    },
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
}

impl<'a> Delivery<'a> {
    pub(super) fn new(client: &'a ClientState, cap: Cap, probe: Option<Probe>) -> Self {
        Self {
            client,
            deadline: Deadline::new(client.config.timeout, cap),
            probe,
            retries: 0,
        }
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
        }];
        let mut hopeless: Option<String> = None;
        // Single spans refused as too large since the last success.
        let mut in_vain = 0;
        while let Some(Part { batch, maybe }) = todo.pop() {
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
                self.attempts(batch.frames(), len, maybe).await
            };
            let part = match end {
                DeliveryEnd::Taken {
                    rejected,
                    message,
                    maybe_twice,
                } => {
                    in_vain = 0;
                    self.client.size.taken(len);
                    Outcome {
                        possible_duplicates: if maybe_twice { spans } else { 0 },
                        ..taken((spans, items), rejected, message)
                    }
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
                        let part = |batch| Part { batch, maybe };
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
        match self.attempts(vec![body], len, false).await {
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

    /// Attempts until the endpoint takes the request, refuses it for good, or the time is over.
    async fn attempts(&mut self, frames: Vec<Bytes>, plain_len: usize, maybe: bool) -> DeliveryEnd {
        let client = self.client;
        let config = &client.config;
        let is_json = config.protocol == Some(Protocol::HttpJson);
        let (frames, written_len) = match is_json.then(|| json::encode(client.signal, &frames)) {
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
                return DeliveryEnd::Dropped {
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
                    let last = last.or_else(|| client.health.last_error());
                    return unsent(ambiguous, over.because(last));
                }
            };
            if client.health.is_given_up() {
                let last = last.or_else(|| client.health.last_error());
                return unsent(ambiguous, StopReason::Unreached.because(last));
            }
            if self.deadline.is_over() {
                return unsent(ambiguous, StopReason::Time.because(last));
            }
            let is_probe = probe.is_some();
            let sent = Sent::default();
            let credentials = self.credentials().await;
            let began = Instant::now();
            let (answer, credentials) = match credentials {
                Ok(Ok(credentials)) => {
                    let request = Request {
                        signal: client.signal,
                        target: client.target.clone(),
                        frames: frames.clone(),
                        len,
                        plain_len,
                        encoding: compress::encoding(config.compression),
                        credentials: credentials.clone(),
                        sent: sent.clone(),
                    };
                    let Some(answer) = self.attempt(&request).await else {
                        let ambiguous = ambiguous || sent.maybe();
                        return unsent(ambiguous, StopReason::Shutdown.because(last));
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
                client.health.handled();
                self.deadline.spend(took);
            }
            // The error, whether the endpoint certainly saw nothing, and the wait before the next attempt.
            let (message, is_blank, wait) = match answer {
                Answer::Taken { rejected, message } => {
                    return DeliveryEnd::Taken {
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
                    client.health.later(&message, wait, is_probe);
                    (message, false, backoff.wait(None, jitter()))
                }
                Answer::NotTaken {
                    retryability: Retryability::Unauthenticated,
                    message,
                    ..
                } if !asked_again && client.credentials.refuse(&credentials) => {
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
                    client.size.refused(plain_len, size, Instant::now());
                    return DeliveryEnd::TooLarge {
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
                    let reason = match (retryability, client.signal) {
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
                    return unsent(ambiguous, StopReason::Time.because(last));
                }
                Answer::None { message, lost } => {
                    match lost {
                        SendFailure::NoTime => {}
                        SendFailure::Unreached => client.health.unreached(&message, is_probe),
                        SendFailure::Unread => client.health.later(&message, None, is_probe),
                        SendFailure::Unknown | SendFailure::Cut => {
                            client.health.unanswered(&message, is_probe);
                            ambiguous = true;
                        }
                    }
                    cuts += u32::from(lost == SendFailure::Cut);
                    if cuts >= CUTS && plain_len > SMALL {
                        client
                            .size
                            .refused(plain_len, Said::TooLarge, Instant::now());
                        return DeliveryEnd::TooLarge {
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
            // The next attempt waits in `admission` while the endpoint is down.
            let waits = client.health.is_closed();
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
                return unsent(ambiguous, StopReason::Time.because(Some(message)));
            }
            if !waits {
                if !self.deadline.allows(wait, is_blank) {
                    return unsent(ambiguous, StopReason::Time.because(Some(message)));
                }
                if self.pause(wait).await.is_none() {
                    return unsent(ambiguous, StopReason::Shutdown.because(Some(message)));
                }
                if !is_blank {
                    self.deadline.spend(wait);
                }
            }
            last = Some(message);
            self.retries += 1;
        }
    }

    /// Waits until an attempt may be made, while the endpoint is down. `Some`: the attempt is a probe.
    async fn admission(&mut self) -> Result<Option<Probe>, StopReason> {
        if let Some(probe) = self.probe.take() {
            return Ok(Some(probe));
        }
        let client = self.client;
        let admission = async {
            let admission = client.health.admission();
            match self.deadline.wait_left() {
                Some(left) => timeout(left, admission).await.map_err(|_| StopReason::Time),
                None => Ok(admission.await),
            }
        };
        let admission = client.cancel.run_until_cancelled(admission).await;
        admission.unwrap_or(Err(StopReason::Shutdown))
    }

    /// The headers of an attempt, or the error of their provider.
    async fn credentials(&self) -> Result<Result<Credentials, String>, StopReason> {
        let client = self.client;
        let asked = async {
            let asked = client.credentials.current();
            match self.deadline.wait_left() {
                Some(left) => timeout(left, asked).await.map_err(|_| StopReason::Time),
                None => Ok(asked.await),
            }
        };
        let asked = client.cancel.run_until_cancelled(asked).await;
        asked.unwrap_or(Err(StopReason::Shutdown))
    }

    /// One attempt within the time left; `None` if a shutdown cancelled it.
    async fn attempt(&self, request: &Request) -> Option<Answer> {
        let answer = self.uncertain_attempt(request).await;
        // The head of the answer has reported success: another attempt would duplicate the spans.
        let is_certain = matches!(&answer, Some(Answer::Taken { .. } | Answer::TooLong { .. }));
        match request.sent.is_taken() && !is_certain {
            true => {
                let address = self.client.transport.address();
                Some(Answer::taken_without_words(&address))
            }
            false => answer,
        }
    }

    async fn uncertain_attempt(&self, request: &Request) -> Option<Answer> {
        let left = self.deadline.left();
        let connect = self.client.config.connect_timeout;
        let exchange = async {
            let exchange = self.client.transport.exchange(request, left);
            let Some(left) = left else {
                return exchange.await;
            };
            match timeout(left, exchange).await {
                Ok(answer) => answer,
                // Earlier attempts used up the time: this failure says nothing about the endpoint.
                Err(_) if !request.sent.maybe() && !self.deadline.is_fair(connect) => {
                    let message = format!("{left:.1?} were left for it");
                    let lost = SendFailure::NoTime;
                    Answer::None { message, lost }
                }
                Err(_) => {
                    // The connection may be dead.
                    self.client.transport.disconnect();
                    let address = self.client.transport.address();
                    let (lost, message) = match request.sent.maybe() {
                        true => (SendFailure::Unknown, no_answer(&address, left)),
                        false => {
                            self.client.transport.mark_down();
                            let what = format!("no connection from {address} within {left:.1?}");
                            (SendFailure::Unreached, tell(&what, Cause::ConnectTimeout))
                        }
                    };
                    Answer::None { message, lost }
                }
            }
        };
        self.client.cancel.run_until_cancelled(exchange).await
    }

    async fn pause(&self, wait: Duration) -> Option<()> {
        self.client.cancel.run_until_cancelled(sleep(wait)).await
    }
}

/// The reason why no further attempt is made.
enum StopReason {
    Time,
    Shutdown,
    /// A shutdown gave the endpoint up: no connection could be made.
    Unreached,
}

impl StopReason {
    /// `last`: the error of the last attempt.
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

/// The end of a request lost for `reason`; if `ambiguous`, the endpoint may have it, so the reason is
/// `Unconfirmed`.
fn lost(ambiguous: bool, reason: DropReason, message: String) -> DeliveryEnd {
    let reason = match ambiguous {
        true => DropReason::Unconfirmed,
        false => reason,
    };
    DeliveryEnd::Dropped { reason, message }
}

fn unsent(ambiguous: bool, message: String) -> DeliveryEnd {
    lost(ambiguous, DropReason::Unsent, message)
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
