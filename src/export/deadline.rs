//! [`Deadline`]: the time left for a delivery, over all its attempts.

use std::time::{Duration, Instant};

/// A delivery stops this long before the cap, so that its outcome is counted before the caller's timeout.
const MARGIN: Duration = Duration::from_millis(200);

/// The resolution of timers.
const TICK: Duration = Duration::from_millis(1);

/// The longest time of a delivery in all.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cap {
    /// From the start, for a caller without a deadline.
    Always(Option<Duration>),
    /// Without the time in which the endpoint is down: then a batch waits as the spans in the queue do.
    WhileUp(Option<Duration>),
}

#[derive(Debug, Clone)]
pub(super) struct Deadline {
    timeout: Option<Duration>,
    cap: Cap,
    began: Instant,
    /// The counted part of the time since then.
    spent: Duration,
    /// `renew` was called.
    is_renewed: bool,
}

impl Deadline {
    /// `timeout`: the bound of the counted time.
    pub(super) fn new(timeout: Option<Duration>, cap: Cap) -> Self {
        Self {
            timeout,
            cap,
            began: Instant::now(),
            spent: Duration::ZERO,
            is_renewed: false,
        }
    }

    pub(super) fn spend(&mut self, spent: Duration) {
        self.spent = self.spent.saturating_add(spent);
    }

    /// Begins the timeout again, because the endpoint certainly took nothing. Only once, so that a batch
    /// that is never taken ends.
    pub(super) fn renew(&mut self) {
        if !std::mem::replace(&mut self.is_renewed, true) {
            self.spent = Duration::ZERO;
        }
    }

    /// The longest time of the next attempt; `None`: no bound.
    pub(super) fn left(&self) -> Option<Duration> {
        match (self.timeout_left(), self.cap_left()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// The longest wait for an endpoint that is down; `None`: no bound.
    pub(super) fn wait_left(&self) -> Option<Duration> {
        match self.cap {
            Cap::Always(_) => self.cap_left(),
            Cap::WhileUp(_) => None,
        }
    }

    /// Whether an attempt has enough time to connect, so that its failure is the endpoint's: no time was
    /// counted yet, or at least `connect_timeout` is left.
    pub(super) fn is_fair(&self, connect_timeout: Duration) -> bool {
        self.spent.is_zero() || self.left().is_none_or(|left| left >= connect_timeout)
    }

    /// Whether the time is over. A timer may fire a little early, so a rest of one [`TICK`] counts as none.
    pub(super) fn is_over(&self) -> bool {
        let rest = self.timeout.map_or(TICK, |timeout| TICK.min(timeout / 16));
        self.left().is_some_and(|left| left <= rest)
    }

    /// Whether time is left for an attempt after `wait`. `is_free`: the last attempt does not count.
    pub(super) fn allows(&self, wait: Duration, is_free: bool) -> bool {
        let timeout = is_free || self.timeout_left().is_none_or(|left| left > wait);
        timeout && self.cap_left().is_none_or(|left| left > wait)
    }

    fn timeout_left(&self) -> Option<Duration> {
        Some(self.timeout?.saturating_sub(self.spent))
    }

    fn cap_left(&self) -> Option<Duration> {
        let (cap, spent) = match self.cap {
            Cap::Always(cap) => (cap?, self.began.elapsed()),
            Cap::WhileUp(cap) => (cap?, self.spent),
        };
        Some(cap.saturating_sub(spent.saturating_add(MARGIN.min(cap / 10))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn only_what_counts_is_taken_from_it_and_it_begins_anew_once() {
        let mut deadline = Deadline::new(Some(10 * SECOND), Cap::WhileUp(Some(30 * SECOND)));
        assert_eq!(deadline.left(), Some(10 * SECOND));
        assert_eq!(deadline.wait_left(), None);
        deadline.spend(4 * SECOND);
        assert!(deadline.allows(5 * SECOND, false) && !deadline.allows(6 * SECOND, false));
        assert!(deadline.allows(6 * SECOND, true) && !deadline.allows(26 * SECOND, true));
        deadline.renew();
        assert_eq!(deadline.left(), Some(10 * SECOND));
        deadline.spend(10 * SECOND);
        deadline.renew();
        assert!(deadline.is_over());
    }

    #[test]
    fn a_rest_of_time_is_no_fair_chance_to_connect() {
        let mut deadline = Deadline::new(Some(SECOND), Cap::WhileUp(Some(3 * SECOND)));
        assert!(deadline.is_fair(5 * SECOND), "nothing was spent yet");
        deadline.spend(SECOND / 2);
        assert!(!deadline.is_fair(5 * SECOND) && deadline.is_fair(SECOND / 2));
        assert!(Deadline::new(None, Cap::WhileUp(None)).is_fair(5 * SECOND));
    }

    #[test]
    fn what_a_timer_leaves_is_no_time() {
        let mut deadline = Deadline::new(Some(SECOND), Cap::WhileUp(None));
        deadline.spend(SECOND - Duration::from_micros(900));
        assert!(deadline.is_over());
        let mut deadline = Deadline::new(Some(TICK / 2), Cap::WhileUp(None));
        assert!(!deadline.is_over(), "a short timeout is one all the same");
        deadline.spend(TICK / 2);
        assert!(deadline.is_over());
    }

    #[test]
    fn a_caller_without_a_deadline_is_given_one() {
        let deadline = Deadline::new(None, Cap::Always(Some(SECOND)));
        assert!(deadline.wait_left().is_some_and(|left| left < SECOND));
        let deadline = Deadline::new(None, Cap::WhileUp(None));
        assert_eq!((deadline.left(), deadline.wait_left()), (None, None));
        assert!(deadline.allows(Duration::MAX, false) && !deadline.is_over());
    }
}
