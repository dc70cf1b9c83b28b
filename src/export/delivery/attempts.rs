//! The attempts of a delivery: waits, requests, and the deadline over all of them.

use std::ops::ControlFlow::{self, Break, Continue};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};

use super::Delivery;
use super::exchange::Encoded;
use crate::export::attempt::{AttemptResult, SendFailure, Sent};
use crate::export::credentials::Credentials;
use crate::export::members::{MemberRoute, Owners};
use crate::export::next_step::{
    DeliveryEnd, Evidence, History, NextStep, Progress, lost, next_step, unsent,
};
use crate::export::retry::Backoff;
use crate::stats::DropReason;
use crate::sync::Arc;

/// A request, and what its attempts came to.
struct RequestRow {
    encoded: Encoded,
    /// The number of the member that has its traces, with affine routing.
    owner: Option<u64>,
    so_far: Progress,
    backoff: Backoff,
    /// The error of the last attempt.
    last: Option<String>,
    /// Members that have failed since the last wait.
    tried: Vec<u64>,
}

impl RequestRow {
    /// The end without a further attempt.
    fn stopped(&self, over: StopReason) -> DeliveryEnd {
        self.stopped_after(over, self.last.clone())
    }

    fn stopped_after(&self, over: StopReason, last: Option<String>) -> DeliveryEnd {
        unsent(self.so_far.history.ambiguous, over.because(last))
    }
}

/// An attempt that was made.
struct AttemptMade {
    route: MemberRoute,
    credentials: Credentials,
    answer: AttemptResult,
    took: Duration,
}

/// A failed attempt after which another one follows. `is_blank`: the endpoint certainly saw nothing of it.
struct FailedAttempt {
    route: MemberRoute,
    message: String,
    is_blank: bool,
    took: Duration,
}

impl Delivery<'_> {
    /// Attempts until the endpoint takes the request, refuses it for good, or the time is over.
    pub(super) async fn attempts(
        &mut self,
        frames: Vec<Bytes>,
        plain_len: usize,
        history: History,
        owner: Option<u64>,
    ) -> DeliveryEnd {
        let encoded = match self.encode(frames, plain_len) {
            Ok(encoded) => encoded,
            Err(message) => return lost(history.ambiguous, DropReason::Internal, message),
        };
        let retry = &self.client.config.retry;
        let mut row = RequestRow {
            encoded,
            owner,
            so_far: Progress {
                signal: self.client.signal,
                plain_len,
                max_attempts: retry.max_attempts,
                is_whole: false,
                history,
            },
            backoff: Backoff::new(retry),
            last: None,
            tried: Vec::new(),
        };
        loop {
            if let Break(end) = self.once(&mut row).await {
                return end;
            }
        }
    }

    /// One attempt, and what follows from its answer.
    async fn once(&mut self, row: &mut RequestRow) -> ControlFlow<DeliveryEnd> {
        let route = self.route(row).await?;
        let AttemptMade {
            route,
            credentials,
            answer,
            took,
        } = self.make(row, route).await?;
        let words = answer.message().to_owned();
        let (shown, step) = next_step(answer, route.probe.is_some(), &mut row.so_far);
        self.note(&route, shown, &words);
        if shown == Evidence::Handled || step == NextStep::OutOfTime {
            // The parts that follow have what is left.
            self.deadline.spend(took);
        }
        match step {
            NextStep::End(end) => {
                if matches!(end, DeliveryEnd::Taken { .. }) {
                    self.taken_by = Some(Arc::clone(&route.member));
                }
                Break(end)
            }
            NextStep::Learn(said, end) => {
                let len = row.encoded.plain_len;
                self.client.size.refused(len, said, Instant::now());
                Break(end)
            }
            NextStep::Authenticate(message, end) => {
                if !self.client.credentials.refuse(&credentials) {
                    return Break(end);
                }
                row.so_far.history.has_new_credentials = true;
                row.last = Some(message);
                self.retries += 1;
                // The same member again.
                row.tried.clear();
                self.route = Some(route);
                Continue(())
            }
            NextStep::OutOfTime => Break(row.stopped(StopReason::Time)),
            NextStep::Again { message, is_blank } => {
                let failed = FailedAttempt {
                    route,
                    message,
                    is_blank,
                    took,
                };
                self.prepare_next(row, failed).await
            }
        }
    }

    /// The way of the next attempt, while there is time for one.
    async fn route(&mut self, row: &RequestRow) -> ControlFlow<DeliveryEnd, MemberRoute> {
        let members = &self.client.members;
        let route = match self.way(&row.tried, row.owner).await {
            Ok(Some(route)) if !members.is_given_up() => route,
            Ok(None) => {
                // Nothing was waited for yet, and other deliveries of this thread may free the way.
                yield_now().await;
                return Break(moved(row.owner, row.so_far.history));
            }
            over => {
                let last = row.last.clone().or_else(|| members.last_error());
                let over = over.err().unwrap_or(StopReason::Unreached);
                return Break(row.stopped_after(over, last));
            }
        };
        match self.deadline.is_over() {
            true => Break(row.stopped(StopReason::Time)),
            false => Continue(route),
        }
    }

    /// Makes one attempt.
    async fn make(
        &self,
        row: &mut RequestRow,
        route: MemberRoute,
    ) -> ControlFlow<DeliveryEnd, AttemptMade> {
        row.tried.push(route.member.number);
        let credentials = match self.credentials().await {
            Ok(credentials) => credentials,
            Err(over) => return Break(row.stopped(over)),
        };
        let began = Instant::now();
        let sent = Sent::default();
        let (answer, credentials) = match credentials {
            Ok(credentials) => {
                let request = self.request(&row.encoded, &route, &credentials, &sent);
                let others = self.client.members.any_takes_requests(&row.tried);
                let answer = self.attempt(&request, &route.member, others).await;
                let Some(answer) = answer else {
                    row.so_far.history.ambiguous |= sent.is_whole();
                    return Break(row.stopped(StopReason::Shutdown));
                };
                (answer, credentials)
            }
            // Without them it is as if the endpoint were down.
            Err(message) => {
                let lost = SendFailure::Unreached;
                (
                    AttemptResult::None { message, lost },
                    Credentials::default(),
                )
            }
        };
        row.so_far.history.ambiguous |= sent.is_doubled() && sent.is_whole();
        row.so_far.is_whole = sent.is_whole();
        Continue(AttemptMade {
            route,
            credentials,
            answer,
            took: began.elapsed(),
        })
    }

    /// Waits until the next attempt may be made; with an owner that is down, the request moves.
    async fn prepare_next(
        &mut self,
        row: &mut RequestRow,
        failed: FailedAttempt,
    ) -> ControlFlow<DeliveryEnd> {
        let FailedAttempt {
            route,
            message,
            is_blank,
            took,
        } = failed;
        let members = &self.client.members;
        let (from, is_down) = (route.member.number, !route.member.health.takes_requests());
        drop(route);
        let history = row.so_far.history;
        if row.owner.is_some() && is_down {
            if !is_blank {
                self.deadline.spend(took);
            }
            self.retries += 1;
            return Break(moved(Some(from), history));
        }
        // With affine routing the traces stay where they are until that member is down.
        let others = row.owner.is_none() && members.any_takes_requests(&row.tried);
        let wait = (!others).then(|| row.backoff.wait(None, self.client.random.unit()));
        if !others {
            row.tried.clear();
        }
        row.last = Some(message);
        let waited = self.until_next(wait, took, is_blank, history.ambiguous);
        if let Err(over) = waited.await {
            return Break(row.stopped(over));
        }
        self.retries += 1;
        Continue(())
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
            Evidence::Unanswered => {
                health.silent(message, is_probe);
                members.note_loss();
            }
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
        let waits = !self.client.members.any_takes_requests(&[]);
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
fn moved(from: Option<u64>, history: History) -> DeliveryEnd {
    let from = from.unwrap_or_default();
    DeliveryEnd::Moved { from, history }
}
