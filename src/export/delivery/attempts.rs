//! The attempts of a delivery: waits, requests, and the deadline over all of them.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::{sleep, timeout};

use super::Delivery;
use crate::config::Protocol;
use crate::export::attempt::{Answer, Request, SendFailure, Sent, no_answer, no_stream};
use crate::export::cause::{Cause, tell};
use crate::export::credentials::Credentials;
use crate::export::members::{EndpointMember, MemberRoute, Owners};
use crate::export::next_step::{
    DeliveryEnd, Evidence, NextStep, Progress, lost, next_step, unsent,
};
use crate::export::retry::{Backoff, jitter};
use crate::export::{compress, json};
use crate::stats::DropReason;
use crate::sync::Arc;

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
        owner: Option<u64>,
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
        // Members that have failed in this row.
        let mut tried = Vec::new();
        loop {
            let route = match self.way(&tried, owner).await {
                Ok(Some(route)) if !client.members.is_given_up() => route,
                Ok(None) => return moved(owner, so_far.ambiguous),
                over => {
                    let last = last.or_else(|| client.members.last_error());
                    let over = over.err().unwrap_or(StopReason::Unreached);
                    return unsent(so_far.ambiguous, over.because(last));
                }
            };
            if self.deadline.is_over() {
                return unsent(so_far.ambiguous, StopReason::Time.because(last));
            }
            let is_probe = route.probe.is_some();
            tried.push(route.member.number);
            let sent = Sent::default();
            let credentials = match self.credentials().await {
                Ok(credentials) => credentials,
                Err(over) => return unsent(so_far.ambiguous, over.because(last)),
            };
            let began = Instant::now();
            let (answer, credentials) = match credentials {
                Ok(credentials) => {
                    let request = self.request(&encoded, &route, &credentials, &sent);
                    let others = client.members.is_any_open(&tried);
                    let answer = self.attempt(&request, &route.member, others).await;
                    let Some(answer) = answer else {
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
            self.note(&route, shown, &words);
            if shown == Evidence::Handled || step == NextStep::OutOfTime {
                // The parts that follow have what is left.
                self.deadline.spend(took);
            }
            let (message, is_blank) = match step {
                NextStep::End(end) => {
                    if matches!(end, DeliveryEnd::Taken { .. }) {
                        self.taken_by = Some(Arc::clone(&route.member));
                    }
                    return end;
                }
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
                    // The same member again.
                    tried.clear();
                    self.route = Some(route);
                    continue;
                }
                NextStep::OutOfTime => {
                    return unsent(so_far.ambiguous, StopReason::Time.because(last));
                }
                NextStep::Again { message, is_blank } => (message, is_blank),
            };
            let (from, is_down) = (route.member.number, route.member.health.is_closed());
            drop(route);
            if owner.is_some() && is_down {
                if !is_blank {
                    self.deadline.spend(took);
                }
                self.retries += 1;
                return moved(Some(from), so_far.ambiguous);
            }
            // With affine routing the traces stay where they are until that member is down.
            let others = owner.is_none() && client.members.is_any_open(&tried);
            let wait = (!others).then(|| backoff.wait(None, jitter()));
            if !others {
                tried.clear();
            }
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
            Some(Protocol::HttpJson) if !self.is_encoded => {
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

    fn request(
        &self,
        encoded: &Encoded,
        route: &MemberRoute,
        credentials: &Credentials,
        sent: &Sent,
    ) -> Request {
        Request {
            signal: self.client.signal,
            target: route.member.target.clone(),
            frames: encoded.frames.clone(),
            len: encoded.len,
            plain_len: encoded.plain_len,
            encoding: compress::encoding(self.client.config.compression),
            credentials: credentials.clone(),
            sent: sent.clone(),
        }
    }

    /// Tells the member's health what an attempt has shown.
    fn note(&self, route: &MemberRoute, shown: Evidence, message: &str) {
        let (members, member) = (&self.client.members, &route.member);
        let (health, is_probe) = (&member.health, route.probe.is_some());
        match shown {
            Evidence::Handled => return health.handled(),
            Evidence::Later(wait) => health.later(message, wait, is_probe),
            Evidence::Unreached => {
                health.unreached(message, is_probe);
                members.note_loss();
            }
            Evidence::Unanswered if members.is_single() => health.unanswered(message, is_probe),
            Evidence::Unanswered => health.silent(message, is_probe),
            Evidence::Nothing => {}
        }
        member.failed();
    }

    /// Spends the time of a failed attempt, and waits before the next one; `None`: it goes to another member at
    /// once. Where all members are down, the next attempt waits for its [`way`](Self::way).
    async fn until_next(
        &mut self,
        wait: Option<Duration>,
        took: Duration,
        is_blank: bool,
        ambiguous: bool,
    ) -> Result<(), StopReason> {
        let waits = !self.client.members.is_any_open(&[]);
        if waits && !ambiguous {
            self.deadline.renew();
        } else if !is_blank {
            self.deadline.spend(took);
        }
        let wait = wait.filter(|_| !waits);
        let is_in_time = wait.is_none_or(|wait| self.deadline.allows(wait, is_blank));
        if self.deadline.is_over() || !is_in_time {
            return Err(StopReason::Time);
        }
        let Some(wait) = wait else { return Ok(()) };
        self.pause(wait).await.ok_or(StopReason::Shutdown)?;
        if !is_blank {
            self.deadline.spend(wait);
        }
        Ok(())
    }

    /// The member of the next attempt; waits while all are down. `Ok(None)`: the owner of the traces is down.
    async fn way(
        &mut self,
        tried: &[u64],
        owner: Option<u64>,
    ) -> Result<Option<MemberRoute>, StopReason> {
        if let Some(route) = self.route.take() {
            return Ok(Some(route));
        }
        if let Some(owner) = owner {
            return Ok(self.client.members.route_to(owner));
        }
        let picked = self.in_time(self.client.members.pick(tried)).await?;
        picked.map(Some).ok_or(StopReason::Unreached)
    }

    /// The members that traces are divided among; waits while all are down.
    pub(super) async fn owners(&self, avoid: &[u64]) -> Result<Owners, StopReason> {
        let owners = self.in_time(self.client.members.owners(avoid)).await?;
        owners.ok_or(StopReason::Unreached)
    }

    /// The output of a wait for the endpoint, unless the time or a shutdown ends it.
    async fn in_time<T>(&self, wait: impl Future<Output = T>) -> Result<T, StopReason> {
        let wait = async {
            match self.deadline.wait_left() {
                Some(left) => timeout(left, wait).await.map_err(|_| StopReason::Time),
                None => Ok(wait.await),
            }
        };
        let waited = self.client.cancel.run_until_cancelled(wait).await;
        waited.unwrap_or(Err(StopReason::Shutdown))
    }

    /// The headers of an attempt, or the error of their provider.
    async fn credentials(&self) -> Result<Result<Credentials, String>, StopReason> {
        self.in_time(self.client.credentials.current()).await
    }

    /// One attempt within the time left; `None` if a shutdown cancelled it. `others`: another member could take
    /// the request, so half of the time is left for it.
    async fn attempt(
        &self,
        request: &Request,
        member: &EndpointMember,
        others: bool,
    ) -> Option<Answer> {
        let left = self.deadline.left();
        let left = left.map(|left| if others { left / 2 } else { left });
        let attempt = self.uncertain_attempt(request, member, left);
        let answer = self.client.cancel.run_until_cancelled(attempt).await;
        // The head of the answer has reported success: another attempt would duplicate the spans.
        let is_certain = matches!(&answer, Some(Answer::Taken { .. } | Answer::Unclear { .. }));
        match request.sent.is_taken() && !is_certain {
            true => Some(Answer::taken_without_words(&member.transport.address())),
            false => answer,
        }
    }

    async fn uncertain_attempt(
        &self,
        request: &Request,
        member: &EndpointMember,
        left: Option<Duration>,
    ) -> Answer {
        let transport = &member.transport;
        let exchange = transport.exchange(request, left);
        let Some(left) = left else {
            return exchange.await;
        };
        let connect = self.client.config.connect_timeout;
        match timeout(left, exchange).await {
            Ok(answer) => answer,
            // Earlier attempts used up the time: this failure says nothing about the endpoint.
            Err(_) if !request.sent.maybe() && !self.deadline.is_fair(connect) => {
                let message = format!("{left:.1?} were left for it");
                let lost = SendFailure::NoTime;
                Answer::None { message, lost }
            }
            Err(_) => {
                let is_held_back = transport.holds_requests_back();
                // The connection may be dead.
                transport.disconnect();
                let address = transport.address();
                let (lost, message) = match request.sent.maybe() {
                    true => (SendFailure::Unknown, no_answer(&address, left)),
                    false if is_held_back => (SendFailure::Unreached, no_stream(&address, left)),
                    false => {
                        transport.mark_down();
                        let what = format!("no connection from {address} within {left:.1?}");
                        (SendFailure::Unreached, tell(&what, Cause::ConnectTimeout))
                    }
                };
                Answer::None { message, lost }
            }
        }
    }

    async fn pause(&self, wait: Duration) -> Option<()> {
        self.client.cancel.run_until_cancelled(sleep(wait)).await
    }
}

/// The reason why no further attempt is made.
pub(super) enum StopReason {
    Time,
    Shutdown,
    /// A shutdown gave the endpoint up: no connection could be made.
    Unreached,
}

impl StopReason {
    /// `last`: the error of the last attempt.
    pub(super) fn because(self, last: Option<String>) -> String {
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

/// The end of a request whose member is down.
fn moved(from: Option<u64>, maybe: bool) -> DeliveryEnd {
    let from = from.unwrap_or_default();
    DeliveryEnd::Moved { from, maybe }
}
