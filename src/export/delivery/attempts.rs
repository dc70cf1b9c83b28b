//! The attempts of a delivery: waits, requests, and the deadline over all of them.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::{sleep, timeout};

use super::Delivery;
use crate::config::Protocol;
use crate::export::attempt::{Answer, Request, SendFailure, Sent, no_answer};
use crate::export::cause::{Cause, tell};
use crate::export::credentials::Credentials;
use crate::export::health::Probe;
use crate::export::next_step::{DeliveryEnd, NextStep, Progress, Shown, lost, next_step, unsent};
use crate::export::retry::{Backoff, jitter};
use crate::export::{compress, json};
use crate::stats::DropReason;

/// The bytes of a request, for any number of attempts.
struct Encoded {
    frames: Vec<Bytes>,
    len: usize,
    plain_len: usize,
}

impl Delivery<'_> {
    /// Attempts until the endpoint takes the request, refuses it for good, or the time is over.
    pub(super) async fn attempts(
        &mut self,
        frames: Vec<Bytes>,
        plain_len: usize,
        maybe: bool,
    ) -> DeliveryEnd {
        let encoded = match self.encode(frames, plain_len) {
            Ok(encoded) => encoded,
            Err(message) => return lost(maybe, DropReason::Internal, message),
        };
        let client = self.client;
        let mut backoff = Backoff::new(&client.config.retry);
        let mut so_far = Progress {
            signal: client.signal,
            plain_len,
            max_attempts: client.config.retry.max_attempts,
            attempts: 0,
            cuts: 0,
            ambiguous: maybe,
            has_new_credentials: false,
        };
        let mut last: Option<String> = None;
        loop {
            let probe = match self.admission().await {
                Ok(probe) => probe,
                Err(over) => {
                    let last = last.or_else(|| client.health.last_error());
                    return unsent(so_far.ambiguous, over.because(last));
                }
            };
            if client.health.is_given_up() {
                let last = last.or_else(|| client.health.last_error());
                return unsent(so_far.ambiguous, StopReason::Unreached.because(last));
            }
            if self.deadline.is_over() {
                return unsent(so_far.ambiguous, StopReason::Time.because(last));
            }
            let is_probe = probe.is_some();
            let sent = Sent::default();
            let credentials = match self.credentials().await {
                Ok(credentials) => credentials,
                Err(over) => return unsent(so_far.ambiguous, over.because(last)),
            };
            let began = Instant::now();
            let (answer, credentials) = match credentials {
                Ok(credentials) => {
                    let request = self.request(&encoded, &credentials, &sent);
                    let Some(answer) = self.attempt(&request).await else {
                        let ambiguous = so_far.ambiguous || sent.maybe();
                        return unsent(ambiguous, StopReason::Shutdown.because(last));
                    };
                    (answer, credentials)
                }
                // Without them it is as if the endpoint were down.
                Err(message) => {
                    let lost = SendFailure::Unreached;
                    (Answer::None { message, lost }, Credentials::default())
                }
            };
            let took = began.elapsed();
            so_far.ambiguous |= sent.is_doubled();
            let words = answer.message().to_owned();
            let (shown, step) = next_step(answer, is_probe, &mut so_far);
            self.note(shown, &words, is_probe);
            if shown == Shown::Handled || step == NextStep::OutOfTime {
                // The parts that follow have what is left.
                self.deadline.spend(took);
            }
            let (message, is_blank) = match step {
                NextStep::End(end) => return end,
                NextStep::Learn(said, end) => {
                    client.size.refused(plain_len, said, Instant::now());
                    return end;
                }
                NextStep::Authenticate(message, end) => {
                    if !client.credentials.refuse(&credentials) {
                        return end;
                    }
                    so_far.has_new_credentials = true;
                    last = Some(message);
                    self.retries += 1;
                    continue;
                }
                NextStep::OutOfTime => {
                    return unsent(so_far.ambiguous, StopReason::Time.because(last));
                }
                NextStep::Again { message, is_blank } => (message, is_blank),
            };
            drop(probe);
            let wait = backoff.wait(None, jitter());
            if let Err(over) = self
                .until_next(wait, took, is_blank, so_far.ambiguous)
                .await
            {
                return unsent(so_far.ambiguous, over.because(Some(message)));
            }
            last = Some(message);
            self.retries += 1;
        }
    }

    fn encode(&self, frames: Vec<Bytes>, plain_len: usize) -> Result<Encoded, String> {
        let config = &self.client.config;
        let (frames, written_len) = match config.protocol {
            Some(Protocol::HttpJson) => {
                let body = json::encode(self.client.signal, &frames);
                let body = body.map_err(|e| format!("JSON: {e}"))?;
                (vec![body.clone()], body.len())
            }
            _ => (frames, plain_len),
        };
        let body = compress::compress(config.compression, &frames)
            .map_err(|e| format!("the compression failed: {e}"))?;
        let (frames, len) = match body {
            None => (frames, written_len),
            Some(body) => (vec![body.clone()], body.len()),
        };
        Ok(Encoded {
            frames,
            len,
            plain_len,
        })
    }

    fn request(&self, encoded: &Encoded, credentials: &Credentials, sent: &Sent) -> Request {
        Request {
            signal: self.client.signal,
            target: self.client.target.clone(),
            frames: encoded.frames.clone(),
            len: encoded.len,
            plain_len: encoded.plain_len,
            encoding: compress::encoding(self.client.config.compression),
            credentials: credentials.clone(),
            sent: sent.clone(),
        }
    }

    /// Tells the endpoint's health what an attempt has shown.
    fn note(&self, shown: Shown, message: &str, is_probe: bool) {
        let health = &self.client.health;
        match shown {
            Shown::Handled => health.handled(),
            Shown::Later(wait) => health.later(message, wait, is_probe),
            Shown::Unreached => health.unreached(message, is_probe),
            Shown::Unanswered => health.unanswered(message, is_probe),
            Shown::Nothing => {}
        }
    }

    /// Spends the time of a failed attempt, and waits before the next one. Where the endpoint is down, the
    /// next attempt waits in [`admission`](Self::admission).
    async fn until_next(
        &mut self,
        wait: Duration,
        took: Duration,
        is_blank: bool,
        ambiguous: bool,
    ) -> Result<(), StopReason> {
        let waits = self.client.health.is_closed();
        if waits && !ambiguous {
            self.deadline.renew();
        } else if !is_blank {
            self.deadline.spend(took);
        }
        if self.deadline.is_over() || !(waits || self.deadline.allows(wait, is_blank)) {
            return Err(StopReason::Time);
        }
        if waits {
            return Ok(());
        }
        self.pause(wait).await.ok_or(StopReason::Shutdown)?;
        if !is_blank {
            self.deadline.spend(wait);
        }
        Ok(())
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
