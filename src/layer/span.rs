//! [`OpenSpan`]: one open span, its wire bytes growing as things happen.

use super::attributes::Visited;
use super::charge::{Charge, FIRST};
use super::fields::Special;
use super::identity::Identity;
use crate::attribute::{KeyValue, Value};
use crate::clock::Clock;
use crate::processor::ScopeId;
use crate::wire::decode::attribute_value;
use crate::wire::span::{
    Kind, SPAN_ATTRIBUTE, SpanHead, StatusCode, fields, find_attribute, key_of, put_head,
};
use crate::wire::varint;

/// A span between its creation and its close. Times are ticks of the clock.
#[derive(Debug, Default)]
pub(crate) struct OpenSpan {
    pub(crate) identity: Identity,
    pub(crate) name: &'static str,
    pub(crate) special: Special,
    pub(crate) scope: ScopeId,
    pub(crate) state: State,
    /// What its sampler added, or that of a span that was here before it.
    added: Option<Box<Added>>,
    /// Attributes, events and links, encoded as fields of `Span`.
    pub(crate) body: Vec<u8>,
    /// What `body` and the span itself take of the budget.
    pub(crate) charge: Charge,
}

/// What a sampler added to a span, and what it replaced by that. Told apart by the span, so that none
/// needs to clear what hardly any has.
#[derive(Debug)]
struct Added {
    span_id: [u8; 8],
    attributes: Vec<(KeyValue, Option<Value>)>,
}

const _: () = assert!(
    size_of::<OpenSpan>() <= super::charge::SPAN,
    "more than is counted"
);

/// What changes while a span is open, beside its bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct State {
    pub(crate) start: u64,
    /// In Unix nanoseconds, where code said when it began or ended; else zero.
    pub(crate) start_given: u64,
    pub(crate) end_given: u64,
    /// The last time it was left; zero if it never was.
    pub(crate) last_exit: u64,
    /// Of its last event, in Unix nanoseconds.
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
    pub(crate) activity: Activity,
    /// Whether a child carries its trace.
    pub(crate) has_children: bool,
}

/// Time entered and time between (`busy_ns`, `idle_ns`), in ticks.
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
fn given_times(state: &State, start: u64, end: u64) -> (u64, u64) {
    let or = |given, measured| if given == 0 { measured } else { given };
    let start = or(state.start_given, start);
    (start, or(state.end_given, end).max(start))
}

impl OpenSpan {
    /// Makes `child` a child of this span.
    #[inline]
    pub(crate) fn bear(&mut self, child: &mut Identity) {
        child.inherit(&self.identity);
        self.state.has_children = true;
        if self.identity.is_provisional() {
            self.forgo();
        }
    }

    /// The decision against a root is final: what it kept is let go.
    #[cold]
    fn forgo(&mut self) {
        self.identity.set_fate(false, false);
        self.body.clear();
    }

    /// Adds attributes; one whose key is there already replaces it (TR-8).
    pub(crate) fn add_attributes(&mut self, visited: &Visited<'_>, count_limit: u32) {
        let state = &mut self.state;
        if !self.charge.has_room(&self.body, visited.bytes.len())
            && !self.charge.make_room(&mut self.body, visited.bytes.len())
        {
            state.dropped_attributes += visited.count + visited.dropped;
            return;
        }
        state.dropped_attributes += visited.dropped;
        let fresh = state.recorded & visited.recorded == 0 && !state.dynamic && !visited.dynamic;
        if fresh && state.attributes + visited.count <= count_limit {
            self.body.extend_from_slice(visited.bytes);
            state.attributes += visited.count;
        } else {
            self.replace_attributes(visited.bytes, count_limit);
        }
        self.state.recorded |= visited.recorded;
        self.state.dynamic |= visited.dynamic;
    }

    /// Notes what its sampler is about to add.
    #[cold]
    pub(super) fn note_added(&mut self, added: &[KeyValue]) {
        let with_old = |added: &KeyValue| (added.clone(), self.attribute(&added.key));
        self.added = Some(Box::new(Added {
            span_id: self.identity.span_id,
            attributes: added.iter().map(with_old).collect(),
        }));
    }

    /// What its sampler added, each with what that replaced.
    pub(super) fn added(&self) -> &[(KeyValue, Option<Value>)] {
        match &self.added {
            Some(added) if added.span_id == self.identity.span_id => &added.attributes,
            _ => &[],
        }
    }

    /// What its sampler added goes, unless it was said anew since; says what that had replaced.
    #[cold]
    pub(super) fn withdraw_added(&mut self) -> Vec<KeyValue> {
        let span_id = self.identity.span_id;
        let added = self.added.take().filter(|added| added.span_id == span_id);
        let mut replaced = Vec::new();
        for (added, old) in added.into_iter().flat_map(|added| added.attributes) {
            match self.attribute(&added.key) {
                Some(value) if value == added.value => {
                    self.remove_attribute(added.key.as_bytes());
                    replaced.extend(old.map(|old| KeyValue::new(added.key, old)));
                }
                Some(_) => {}
                // There was no room for it, which is counted again if there is none for the next.
                None => {
                    let dropped = &mut self.state.dropped_attributes;
                    *dropped = dropped.saturating_sub(1);
                }
            }
        }
        replaced
    }

    fn attribute(&self, key: &str) -> Option<Value> {
        attribute_value(&self.body, SPAN_ATTRIBUTE, key)
    }

    fn remove_attribute(&mut self, key: &[u8]) {
        if let Some(at) = find_attribute(&self.body, SPAN_ATTRIBUTE, key) {
            self.body.drain(at);
            self.state.attributes -= 1;
        }
    }

    #[cold]
    fn replace_attributes(&mut self, bytes: &[u8], count_limit: u32) {
        for (_, content, whole) in fields(bytes) {
            let Some(key) = key_of(content) else { continue };
            self.remove_attribute(key);
            let state = &mut self.state;
            if state.attributes < count_limit {
                self.body.extend_from_slice(whole);
                state.attributes += 1;
            } else {
                state.dropped_attributes += 1;
            }
        }
    }

    /// Adds an event or a link, a field of `Span` with this tag; false if there is no room.
    #[inline(always)]
    pub(crate) fn add_field(&mut self, tag: u8, content: &[u8]) -> bool {
        let len = content.len() + 11;
        let room =
            self.charge.has_room(&self.body, len) || self.charge.make_room(&mut self.body, len);
        if room {
            varint::put_bytes(&mut self.body, tag, content);
        }
        room
    }

    /// Counts what `body` grew by while values were formatted into it; where the budget has no
    /// room for that, the attributes are lost.
    #[inline]
    pub(crate) fn settle_growth(&mut self) {
        if self.body.capacity() > FIRST && !self.charge.covers(&self.body) {
            self.state.dropped_attributes += self.state.attributes;
            self.state.attributes = 0;
            self.state.recorded = 0;
            self.body = Vec::new();
        }
    }

    /// Sets the status by the order `Ok > Error > Unset` (TR-7).
    pub(crate) fn set_status(&mut self, status: StatusCode, description: Option<&str>) {
        let was = self.special.status;
        self.special.set_status(status);
        if let Some(text) = description.filter(|_| was != StatusCode::Ok) {
            self.special.has_description = !text.is_empty();
            self.special.description.clear();
            self.special.description.push_str(text);
        }
    }

    /// When it ends, if it ends now: at its last exit where it was ever entered (MIG-7).
    #[inline]
    pub(crate) fn end(&self, now: impl FnOnce() -> u64, on_close: bool) -> u64 {
        let end = match self.state.last_exit {
            0 => now(),
            _ if on_close => now(),
            exit => exit,
        };
        end.max(self.state.start)
    }

    /// Appends what is known at the end: `body` then is the encoded span. It does not end before its
    /// last event.
    #[inline]
    pub(crate) fn seal(&mut self, clock: &Clock, end: u64) {
        let Self {
            identity,
            special,
            state,
            ..
        } = self;
        let mut start = clock.unix_nanos(identity.anchor, state.start);
        let mut end = start + clock.nanos(end.saturating_sub(state.start));
        if state.start_given | state.end_given != 0 {
            (start, end) = given_times(state, start, end);
        }
        let head = SpanHead {
            trace_id: identity.trace_id,
            span_id: identity.span_id,
            parent_id: identity.parent_id,
            parent_is_remote: identity.parent_is_remote,
            flags: identity.trace_flags().bits(),
            trace_state: identity.trace_state().as_str(),
            name: special.name_or(self.name),
            kind: special.kind.unwrap_or(Kind::Internal),
            start,
            end: end.max(state.last_event),
            status: special.status,
            status_message: &special.description,
            dropped_attributes: state.dropped_attributes,
            dropped_events: state.dropped_events,
            dropped_links: state.dropped_links,
        };
        put_head(&mut self.body, &head);
    }

    /// The name that it has by now.
    pub(super) fn name(&self) -> &str {
        self.special.name_or(self.name)
    }

    /// As new, but for the memory of its buffers. Identity, name and scope are set for
    /// every span anew.
    #[inline]
    pub(crate) fn clear(&mut self) {
        self.identity.clear();
        self.special.clear();
        self.state = State::default();
        self.body.clear();
    }
}
