//! [`Throttle`] and [`Reach`]: a condition is reported at its begin, once a minute, and at its end.

use std::time::{Duration, Instant};

/// The time between two reports of a condition that continues.
const REPEAT: Duration = Duration::from_secs(60);
/// A condition ends when its counter has not grown for this long.
const QUIET: Duration = Duration::from_secs(30);

/// The reports on one condition, such as an outage, derived from a counter that only grows.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    /// When the counter last grew; `None`: the condition has ended.
    grew: Option<Instant>,
    spoke: Option<Instant>,
    /// The counter at the last reading, and at the last report.
    seen: u64,
    pub(super) reported: u64,
    /// The counter before the condition began.
    before: u64,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Transition {
    Begins(u64),
    GoesOn(u64),
    Ends(u64),
}

impl Throttle {
    /// The report that is due, with the counter at `total`; the condition does not end unless `may_end`.
    pub(super) fn observe(
        &mut self,
        now: Instant,
        total: u64,
        may_end: bool,
    ) -> Option<Transition> {
        let new = total - self.reported;
        if total > self.seen {
            self.seen = total;
            let begins = self.grew.is_none();
            self.grew = Some(now);
            if begins {
                self.before = self.reported;
                self.spoke = Some(now);
                self.reported = total;
                return Some(Transition::Begins(new));
            }
        }
        let (grew, spoke) = (self.grew?, self.spoke?);
        if may_end && now.saturating_duration_since(grew) >= QUIET {
            self.grew = None;
            self.reported = total;
            return Some(Transition::Ends(total - self.before));
        }
        if new > 0 && now.saturating_duration_since(spoke) >= REPEAT {
            self.spoke = Some(now);
            self.reported = total;
            return Some(Transition::GoesOn(new));
        }
        None
    }
}

/// The reports on whether the endpoint can be reached: at most two a minute, however often that changes.
#[derive(Debug, Default)]
pub(super) struct Reach {
    reported_lost: bool,
    /// The last report that the endpoint cannot be reached.
    spoke: Option<Instant>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reachability {
    Lost,
    StillLost,
    Found,
}

impl Reach {
    pub(super) fn observe(&mut self, now: Instant, is_lost: bool) -> Option<Reachability> {
        if !is_lost {
            return std::mem::take(&mut self.reported_lost).then_some(Reachability::Found);
        }
        let spoke_lately = |at| now.saturating_duration_since(at) < REPEAT;
        if self.spoke.is_some_and(spoke_lately) {
            return None;
        }
        self.spoke = Some(now);
        match std::mem::replace(&mut self.reported_lost, true) {
            true => Some(Reachability::StillLost),
            false => Some(Reachability::Lost),
        }
    }
}
