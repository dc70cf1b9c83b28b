//! [`Health`]: whether the endpoint takes requests, and which request probes it.
//!
//! An endpoint is down if it cannot be reached, or has answered "retry later" several times in a row, or
//! while it asks for a pause. While it is down, one request at a time is sent as a [`Probe`], after growing
//! waits; all others wait for their turn. The turn is passed on, so that a request that fails for a reason
//! of its own does not keep others from finding the endpoint up.
//!
//! After the begin of a shutdown, an endpoint to which no connection can be made is given up after a few
//! attempts: then no request waits any more.

use std::time::{Duration, Instant};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep_until;

use super::random::RandomNumbers;
use super::retry::Backoff;
use crate::config::RetryConfig;
use crate::sync::{Arc, Mutex, lock};

/// After this many answers "retry later" in a row, over all requests, the endpoint is down. One or two may
/// come from a single instance behind a load balancer, or from a restart.
const DOWN_AFTER: u32 = 3;
/// The longest pause before the endpoint is tried again, even if it asks for a longer one.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// A longer pause is a mistake of the endpoint and is ignored.
const ABSURD: Duration = Duration::from_secs(24 * 3600);
/// After this many attempts in a row without a connection, a shutdown gives the endpoint up. With their
/// waits they take about 0.3 s if connections are refused.
const GIVE_UP_AFTER: u32 = 3;

/// A member of several that does not answer is probed after this time at first, and after
/// [`SILENT_FOR_AT_MOST`] later: a probe costs its request half of the deadline.
const SILENT_FOR: Duration = Duration::from_secs(5);
const SILENT_FOR_AT_MOST: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Health {
    retry: RetryConfig,
    state: Mutex<HealthState>,
    /// One permit, for the request that may probe; fair, in the order of waiting requests.
    turn: Arc<Semaphore>,
    /// Wakes the request that holds `turn`, if the endpoint is up before the next probe is due, and those that
    /// wait for any member when the turn is free. The members of an endpoint share it.
    changed: Arc<Notify>,
    random: Arc<RandomNumbers>,
}

#[derive(Debug, Default)]
struct HealthState {
    /// Answers "retry later" since the last other answer.
    later: u32,
    /// Attempts in a row without a connection.
    unreached: u32,
    down: Option<Down>,
    /// The error of the last request; `None`: it was handled.
    why: Option<String>,
    /// The end of the pause that the endpoint asks for, and its message.
    pause: Option<(Instant, String)>,
    /// `Some`: a shutdown has begun.
    closing: Option<Closing>,
}

#[derive(Debug)]
struct Closing {
    /// Attempts in a row without a connection.
    misses: u32,
    backoff: Backoff,
}

#[derive(Debug)]
struct Down {
    backoff: Backoff,
    next_probe: Instant,
}

/// The turn to probe an endpoint that is down. The drop passes the turn on.
#[derive(Debug)]
pub(super) struct Probe {
    turn: Option<OwnedSemaphorePermit>,
    changed: Arc<Notify>,
}

impl Drop for Probe {
    fn drop(&mut self) {
        // Whoever wakes must find the turn free.
        drop(self.turn.take());
        self.changed.notify_waiters();
    }
}

impl Health {
    pub(super) fn new(
        retry: RetryConfig,
        changed: Arc<Notify>,
        random: Arc<RandomNumbers>,
    ) -> Self {
        Self {
            retry,
            state: Mutex::default(),
            turn: Arc::new(Semaphore::new(1)),
            changed,
            random,
        }
    }

    fn probe(&self, turn: Option<OwnedSemaphorePermit>) -> Probe {
        Probe {
            turn,
            changed: Arc::clone(&self.changed),
        }
    }

    /// Waits until a request may be sent. `Some`: only as a probe. Cancel safe.
    pub(super) async fn admission(&self) -> Option<Probe> {
        if self.takes_requests() || self.is_given_up() {
            return None;
        }
        // An error only after the semaphore was closed, which never happens.
        let turn = Arc::clone(&self.turn).acquire_owned().await.ok();
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            // Registered before the state is read, so that no change is missed.
            changed.as_mut().enable();
            match self.wait_until() {
                _ if self.is_given_up() => return None,
                None if self.is_down() => return Some(self.probe(turn)),
                None => return None,
                Some(at) => tokio::select! {
                    () = sleep_until(at.into()) => {}
                    () = changed => {}
                },
            }
        }
    }

    /// The turn to probe, if the endpoint is down, a probe is due, and no other request has the turn.
    pub(super) fn try_probe(&self) -> Option<Probe> {
        if !self.is_due() {
            return None;
        }
        let turn = Arc::clone(&self.turn).try_acquire_owned().ok()?;
        // The last probe may have ended since.
        self.is_due().then(|| self.probe(Some(turn)))
    }

    /// Whether a probe is due and no request has the turn.
    pub(super) fn has_free_turn(&self) -> bool {
        self.is_due() && self.turn.available_permits() > 0
    }

    fn is_due(&self) -> bool {
        self.is_down() && self.wait_until().is_none() && !self.is_given_up()
    }

    /// A connection was made: if the endpoint is down, the next probe is due.
    pub(super) fn connected(&self) {
        if let Some(down) = &mut lock(&self.state).down {
            down.next_probe = Instant::now();
        }
    }

    /// A member of several did not answer: it is down at once, and gets no request for a while.
    pub(super) fn silent(&self, why: &str, is_probe: bool) {
        let mut state = lock(&self.state);
        state.why = Some(why.to_owned());
        let backoff = || {
            Backoff::new(&RetryConfig {
                initial_backoff: SILENT_FOR.max(self.retry.initial_backoff),
                max_backoff: SILENT_FOR_AT_MOST.max(self.retry.max_backoff),
                multiplier: 2.0,
                ..self.retry.clone()
            })
        };
        state.fall(is_probe, backoff, self.jitter());
    }

    /// When the next request may be sent; `None`: now.
    pub(super) fn wait_until(&self) -> Option<Instant> {
        let state = lock(&self.state);
        let next_probe = state.down.as_ref().map(|down| down.next_probe);
        let pause = state.pause.as_ref().map(|(until, _)| *until);
        pause.max(next_probe).filter(|at| Instant::now() < *at)
    }

    /// Whether a request may be sent now: the endpoint is up, and has not asked for a pause.
    pub(super) fn takes_requests(&self) -> bool {
        self.wait_until().is_none() && !self.is_down()
    }

    fn is_down(&self) -> bool {
        lock(&self.state).down.is_some()
    }

    /// The endpoint handled a request, with success or a final refusal: it is up. A pause that it asked for
    /// stays.
    pub(super) fn handled(&self) {
        let was_down = {
            let mut state = lock(&self.state);
            state.later = 0;
            state.why = None;
            state.answered();
            state.down.take().is_some()
        };
        if was_down {
            self.changed.notify_waiters();
        }
    }

    /// The endpoint answered "retry later". `asked`: the shortest wait that it asks for.
    pub(super) fn later(&self, why: &str, asked: Option<Duration>, is_probe: bool) {
        let asked = asked.filter(|asked| !asked.is_zero() && *asked <= ABSURD);
        let mut state = lock(&self.state);
        state.later = state.later.saturating_add(1);
        state.why = Some(why.to_owned());
        state.answered();
        if let Some(asked) = asked {
            // Jitter: processes with the same answer must not return at the same moment.
            let spread = self.retry.initial_backoff.min(LONGEST_PAUSE);
            let asked = asked.min(LONGEST_PAUSE) + spread.mul_f64(0.2 * self.jitter());
            let pause = Instant::now().checked_add(asked);
            let pause = pause.map(|until| (until, why.to_owned()));
            state.pause = state.pause.take().max(pause);
        }
        if asked.is_some() || state.later >= DOWN_AFTER || state.down.is_some() {
            let backoff = || Backoff::probe(&self.retry);
            state.fall(is_probe, backoff, self.jitter());
        }
    }

    /// No connection, or a proxy without an endpoint: the endpoint is down at once.
    pub(super) fn unreached(&self, why: &str, is_probe: bool) {
        let backoff = || Backoff::reconnect(&self.retry);
        let is_given_up = {
            let mut state = lock(&self.state);
            state.why = Some(why.to_owned());
            // Concurrent requests count as one attempt.
            let is_new = is_probe || state.down.is_none();
            state.fall(is_probe, backoff, self.jitter());
            state.unreached = state.unreached.saturating_add(u32::from(is_new));
            is_new && state.missed(self.jitter())
        };
        if is_given_up {
            self.changed.notify_waiters();
        }
    }

    /// Begins a shutdown: the next attempt is made at once, and an endpoint to which no connection can be
    /// made is given up soon. A pause that the endpoint asked for is kept.
    pub(super) fn begin_shutdown(&self) {
        {
            let mut state = lock(&self.state);
            let backoff = Backoff::reconnect(&self.retry);
            state.closing.get_or_insert(Closing { misses: 0, backoff });
            if let Some(down) = &mut state.down {
                down.next_probe = Instant::now();
            }
        }
        self.changed.notify_waiters();
    }

    /// Whether a shutdown has given the endpoint up: no further attempt is made.
    pub(super) fn is_given_up(&self) -> bool {
        let state = lock(&self.state);
        let closing = state.closing.as_ref();
        closing.is_some_and(|closing| closing.misses >= GIVE_UP_AFTER)
    }

    /// Whether a shutdown that began now would soon give the endpoint up.
    pub(super) fn is_unreachable(&self) -> bool {
        lock(&self.state).unreached >= GIVE_UP_AFTER
    }

    /// No answer: the endpoint may be up or down. After a probe without an answer another wait follows.
    pub(super) fn unanswered(&self, why: &str, is_probe: bool) {
        let mut state = lock(&self.state);
        state.why = Some(why.to_owned());
        if let Some(down) = state.down.as_mut().filter(|_| is_probe) {
            down.step(self.jitter());
        }
    }

    fn jitter(&self) -> f64 {
        self.random.unit()
    }

    /// The message of a pause, or the error of the last request; `None`: the last request was handled.
    pub(super) fn last_error(&self) -> Option<String> {
        let state = lock(&self.state);
        let pause = state.pause.as_ref().filter(|(at, _)| Instant::now() < *at);
        let words = pause.map(|(_, words)| words);
        words.or(state.why.as_ref()).cloned()
    }
}

impl HealthState {
    /// The endpoint has answered: attempts without a connection count from zero again.
    fn answered(&mut self) {
        self.unreached = 0;
        if let Some(closing) = &mut self.closing {
            closing.misses = 0;
        }
    }

    /// Counts an attempt without a connection during a shutdown. True: the endpoint is given up.
    fn missed(&mut self, jitter: f64) -> bool {
        let (Some(closing), Some(down)) = (&mut self.closing, &mut self.down) else {
            return false;
        };
        closing.misses += 1;
        // A shutdown has its own back-off: in a long outage the wait of `down` has grown.
        down.next_probe = Instant::now() + closing.backoff.wait(None, jitter);
        closing.misses >= GIVE_UP_AFTER
    }

    fn fall(&mut self, is_probe: bool, backoff: impl FnOnce() -> Backoff, jitter: f64) {
        match &mut self.down {
            // Requests sent before the endpoint went down add nothing.
            Some(_) if !is_probe => {}
            Some(down) => down.step(jitter),
            None => {
                let mut down = Down {
                    backoff: backoff(),
                    next_probe: Instant::now(),
                };
                down.step(jitter);
                self.down = Some(down);
            }
        }
    }
}

impl Down {
    fn step(&mut self, jitter: f64) {
        let now = Instant::now();
        let wait = self.backoff.wait(None, jitter);
        self.next_probe = now.checked_add(wait).unwrap_or(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_test::task::spawn;

    fn health() -> Health {
        let retry = RetryConfig {
            initial_backoff: Duration::from_secs(1),
            ..RetryConfig::default()
        };
        Health::new(retry, Arc::default(), Arc::new(RandomNumbers::seeded(1)))
    }

    fn fallen() -> Health {
        let health = health();
        for _ in 0..DOWN_AFTER {
            assert!(!health.is_down());
            health.later("503", None, false);
        }
        assert!(health.is_down());
        // Not while a test lasts, however little time this machine has for it.
        if let Some(down) = &mut lock(&health.state).down {
            down.next_probe = Instant::now() + LONGEST_PAUSE;
        }
        health
    }

    #[test]
    fn answers_in_a_row_and_over_requests_make_an_outage() {
        let health = health();
        for _ in 0..10 {
            health.later("503", None, false);
            health.later("503", None, false);
            health.handled();
        }
        assert!(!health.is_down() && health.last_error().is_none());
        let health = fallen();
        assert_eq!(health.last_error().as_deref(), Some("503"));
        health.handled();
        assert!(health.last_error().is_none());
        health.later("503", None, false);
        assert!(!health.is_down(), "the row begins anew");
        health.unreached("refused", false);
        assert_eq!(health.last_error().as_deref(), Some("refused"));
    }

    #[tokio::test]
    async fn a_shutdown_gives_up_after_attempts_in_a_row_and_frees_all_that_wait() {
        let health = health();
        for _ in 0..20 {
            health.unreached("refused", true);
        }
        assert!(!health.is_given_up(), "the application runs on");
        let mut first = spawn(health.admission());
        let mut second = spawn(health.admission());
        assert!(first.poll().is_pending() && second.poll().is_pending());
        health.begin_shutdown();
        assert!(first.is_woken(), "it is tried at once");
        for _ in 0..10 {
            health.unreached("refused", false);
        }
        for _ in 1..GIVE_UP_AFTER {
            health.unreached("refused", true);
        }
        assert!(!health.is_given_up());
        health.later("503", None, true);
        for _ in 1..GIVE_UP_AFTER {
            health.unreached("refused", true);
        }
        assert!(!health.is_given_up(), "somebody was there");
        health.unreached("refused", true);
        assert!(health.is_given_up());
        drop(first);
        assert!(matches!(second.poll(), std::task::Poll::Ready(None)));
        assert!(health.admission().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn turns_go_round_one_at_a_time() {
        let health = health();
        assert!(health.admission().await.is_none());
        health.unreached("refused", false);
        // Real clocks decide when a probe is due.
        if let Some(down) = &mut lock(&health.state).down {
            down.next_probe = Instant::now();
        }
        let first = health.admission().await;
        assert!(first.is_some());
        let mut second = spawn(health.admission());
        let mut third = spawn(health.admission());
        assert!(second.poll().is_pending() && third.poll().is_pending());
        drop(first);
        assert!(second.is_woken() && !third.is_woken());
        assert!(second.poll().is_ready());
    }

    #[tokio::test]
    async fn an_answer_frees_all_that_wait_at_once() {
        let health = fallen();
        let mut first = spawn(health.admission());
        let mut second = spawn(health.admission());
        assert!(first.poll().is_pending() && second.poll().is_pending());
        health.handled();
        assert!(first.is_woken());
        assert!(matches!(first.poll(), std::task::Poll::Ready(None)));
        drop(first);
        assert!(matches!(second.poll(), std::task::Poll::Ready(None)));
    }

    #[test]
    fn only_a_probe_lengthens_the_wait() {
        let health = fallen();
        let next = || lock(&health.state).down.as_ref().map(|d| d.next_probe);
        let before = next();
        health.later("503", None, false);
        health.unanswered("cut", false);
        assert_eq!(next(), before);
        health.later("503", None, true);
        assert_ne!(next(), before);
    }

    #[test]
    fn a_pause_outlives_other_answers_and_an_absurd_one_is_none() {
        let health = health();
        health.later("429", Some(Duration::from_secs(30)), false);
        health.handled();
        assert!(health.wait_until().is_some() && !health.is_down());
        assert_eq!(health.last_error().as_deref(), Some("429"));
        let health = self::health();
        health.later("429", Some(Duration::from_secs(u64::MAX >> 2)), false);
        assert!(health.wait_until().is_none() && !health.is_down());
        let health = self::health();
        health.later("429", Some(ABSURD), false);
        let until = health.wait_until().map(|at| at - Instant::now());
        assert!(until.is_some_and(|wait| wait <= LONGEST_PAUSE + Duration::from_secs(1)));
    }
}
