//! What goes on for a time is told when it begins, now and then, and when it is over.

use std::time::{Duration, Instant};

/// While something goes on it is said so often.
const REPEAT: Duration = Duration::from_secs(60);
/// What has not happened for so long is over.
const QUIET: Duration = Duration::from_secs(30);

/// Something that comes and goes, such as an outage, told from a number that only grows.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    /// When it last grew, while it goes on.
    grew: Option<Instant>,
    spoke: Option<Instant>,
    seen: u64,
    pub(super) told: u64,
    /// The number before it began.
    before: u64,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Transition {
    Begins(u64),
    GoesOn(u64),
    Ends(u64),
}

impl Throttle {
    /// What to say of `total`; the episode is not over before `may_end`.
    pub(super) fn observe(
        &mut self,
        now: Instant,
        total: u64,
        may_end: bool,
    ) -> Option<Transition> {
        let new = total - self.told;
        if total > self.seen {
            self.seen = total;
            let begins = self.grew.is_none();
            self.grew = Some(now);
            if begins {
                self.before = self.told;
                self.spoke = Some(now);
                self.told = total;
                return Some(Transition::Begins(new));
            }
        }
        let (grew, spoke) = (self.grew?, self.spoke?);
        if may_end && now.saturating_duration_since(grew) >= QUIET {
            self.grew = None;
            self.told = total;
            return Some(Transition::Ends(total - self.before));
        }
        if new > 0 && now.saturating_duration_since(spoke) >= REPEAT {
            self.spoke = Some(now);
            self.told = total;
            return Some(Transition::GoesOn(new));
        }
        None
    }
}

/// Whether the endpoint can be reached. However often that changes, it makes two lines a minute.
#[derive(Debug, Default)]
pub(super) struct Reach {
    told_lost: bool,
    /// When it was last said that it is lost.
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
            return std::mem::take(&mut self.told_lost).then_some(Reachability::Found);
        }
        let spoke_lately = |at| now.saturating_duration_since(at) < REPEAT;
        if self.spoke.is_some_and(spoke_lately) {
            return None;
        }
        self.spoke = Some(now);
        match std::mem::replace(&mut self.told_lost, true) {
            true => Some(Reachability::StillLost),
            false => Some(Reachability::Lost),
        }
    }
}
