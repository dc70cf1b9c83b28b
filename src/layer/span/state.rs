//! [`SpanState`]: the times, counts and flags of an open span.

/// The times, counts and flags of an open span.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SpanState {
    pub(crate) start: u64,
    /// Start and end that code gave, in Unix nanoseconds; else zero.
    pub(crate) start_given: u64,
    pub(crate) end_given: u64,
    /// The last exit; zero before the first.
    pub(crate) last_exit: u64,
    /// The time of its last event.
    pub(crate) last_event: u64,
    /// The bits of the fields in `body`, see `callsite::Field::bit`.
    pub(crate) recorded: u64,
    /// Whether `body` has an attribute whose key is no field's.
    pub(crate) dynamic: bool,
    pub(crate) attributes: u32,
    pub(crate) events: u32,
    pub(crate) links: u32,
    pub(crate) dropped_attributes: u32,
    pub(crate) dropped_events: u32,
    pub(crate) dropped_links: u32,
    /// Searches for an attribute among many fields, before there is an index.
    pub(super) searches: u8,
    /// An upper bound of the largest attribute, event or link; zero if unknown. Saves a search for things
    /// to drop where none is large enough.
    pub(super) largest: u32,
    pub(crate) activity: Activity,
    /// Whether it has had a child, which carries its trace: the parent is final.
    pub(crate) has_children: bool,
    /// Whether an event's time was converted to Unix time: the anchor is final.
    pub(crate) is_anchored: bool,
}

/// Time entered and time between (`busy_ns`, `idle_ns`).
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Activity {
    busy: u64,
    idle: u64,
    /// The last change between busy and idle; zero before the first.
    since: u64,
    /// Number of threads and nested guards that are inside the span.
    depth: u32,
}

impl SpanState {
    /// Whether a `dropped_*_count` of the encoded span is not zero.
    #[inline]
    pub(crate) fn has_dropped(&self) -> bool {
        self.dropped_attributes | self.dropped_events | self.dropped_links != 0
    }

    /// Counts an enter.
    pub(crate) fn enter(&mut self, now: u64) {
        let passed = now.saturating_sub(self.since());
        let activity = &mut self.activity;
        if activity.depth == 0 {
            activity.idle += passed;
            activity.since = now;
        }
        activity.depth += 1;
    }

    /// Counts an exit.
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

/// Start and end of a span for which code gave one of them; the end is not before the start.
#[cold]
pub(super) fn given_times(state: &SpanState, start: u64, end: u64) -> (u64, u64) {
    let or = |given, measured| if given == 0 { measured } else { given };
    let start = or(state.start_given, start);
    (start, or(state.end_given, end).max(start))
}
