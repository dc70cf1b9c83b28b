//! [`State`]: what changes while a span is open, beside its bytes.

/// What changes while a span is open, beside its bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct State {
    pub(crate) start: u64,
    /// In Unix nanoseconds, where code said when it began or ended; else zero.
    pub(crate) start_given: u64,
    pub(crate) end_given: u64,
    /// The last time it was left; zero if it never was.
    pub(crate) last_exit: u64,
    /// The time of its last event.
    pub(crate) last_event: u64,
    /// Bits of the fields whose attributes were written.
    pub(crate) recorded: u64,
    /// Whether a key that is no field's is among the attributes.
    pub(crate) dynamic: bool,
    pub(crate) attributes: u32,
    pub(crate) events: u32,
    pub(crate) links: u32,
    pub(crate) dropped_attributes: u32,
    pub(crate) dropped_events: u32,
    pub(crate) dropped_links: u32,
    /// Where nothing is larger than this, nothing is looked for that could make room.
    pub(super) largest: u32,
    pub(crate) activity: Activity,
    /// Whether a child carries its trace.
    pub(crate) has_children: bool,
    /// Whether an event was or is being converted to Unix time: its anchor is final.
    pub(crate) is_anchored: bool,
}

/// Time entered and time between (`busy_ns`, `idle_ns`).
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Activity {
    busy: u64,
    idle: u64,
    /// When it was last entered or left; zero before.
    since: u64,
    /// How many threads or nested guards are inside.
    depth: u32,
}

impl State {
    /// Whether anything was left out that is told on the wire.
    #[inline]
    pub(crate) fn has_dropped(&self) -> bool {
        self.dropped_attributes | self.dropped_events | self.dropped_links != 0
    }

    /// Notes that it was entered.
    pub(crate) fn enter(&mut self, now: u64) {
        let passed = now.saturating_sub(self.since());
        let activity = &mut self.activity;
        if activity.depth == 0 {
            activity.idle += passed;
            activity.since = now;
        }
        activity.depth += 1;
    }

    /// Notes that it was left.
    pub(crate) fn exit(&mut self, now: u64) {
        let passed = now.saturating_sub(self.since());
        let activity = &mut self.activity;
        activity.depth = activity.depth.saturating_sub(1);
        if activity.depth == 0 {
            activity.busy += passed;
            activity.since = now;
        }
    }

    /// Busy and idle time of a span that ends at `end`.
    pub(crate) fn activity(&self, end: u64) -> (u64, u64) {
        let last = end.saturating_sub(self.since());
        let Activity { busy, idle, .. } = self.activity;
        match self.activity.depth {
            0 => (busy, idle + last),
            _ => (busy + last, idle),
        }
    }

    fn since(&self) -> u64 {
        match self.activity.since {
            0 => self.start,
            since => since,
        }
    }
}

/// Start and end where code gave at least one of them: the end is not before the start.
#[cold]
pub(super) fn given_times(state: &State, start: u64, end: u64) -> (u64, u64) {
    let or = |given, measured| if given == 0 { measured } else { given };
    let start = or(state.start_given, start);
    (start, or(state.end_given, end).max(start))
}
