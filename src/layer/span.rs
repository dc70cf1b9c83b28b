//! [`OpenSpan`]: an open span, whose wire bytes grow with each attribute, event and link.

mod attributes;
mod room;
mod state;

pub(crate) use self::state::SpanState;
use self::state::given_times;
use super::fields::{FieldRole, OtelFields};
use super::identity::Identity;
use super::keys::AttributeIndex;
use super::memory::{FIRST, ITSELF, Reservation};
use crate::attribute::{KeyValue, Value};
use crate::clock;
use crate::processor::ScopeId;
use crate::wire::span::{Kind, SpanHead, StatusCode, put_head, put_rest};

/// A span between its creation and its close. Times are nanoseconds of [`clock`].
#[derive(Debug, Default)]
pub(crate) struct OpenSpan {
    pub(crate) identity: Identity,
    pub(crate) name: &'static str,
    pub(crate) otel_fields: OtelFields,
    pub(crate) scope: ScopeId,
    pub(crate) state: SpanState,
    /// `None` for nearly all spans.
    rare: Option<Box<Rare>>,
    /// The offsets of the attributes by key, while a span with many fields gets attributes by keys that
    /// are no field's.
    keys: Option<Box<AttributeIndex>>,
    /// Attributes, events and links, encoded as fields of `Span`.
    pub(crate) body: Vec<u8>,
    /// The budget's bytes for `body` and the span itself.
    pub(crate) reservation: Reservation,
}

/// The state that few spans need.
#[derive(Debug, Default)]
struct Rare {
    /// The attributes that the sampler added, each with the value that it replaced.
    added: Vec<(KeyValue, Option<Value>)>,
    /// The bytes that are counted for all this.
    bytes: usize,
}

// 64: an entry of the table, which doubles when it grows, and the allocator's overhead, both twice.
const _: () = assert!(
    size_of::<OpenSpan>() + 64 <= ITSELF,
    "a span is larger than its fixed size"
);

impl OpenSpan {
    /// Makes `child` a child of this span.
    #[inline]
    pub(crate) fn adopt_child(&mut self, child: &mut Identity) {
        child.inherit(&self.identity);
        self.state.has_children = true;
        if self.identity.is_provisional() {
            self.discard();
        }
    }

    /// Makes the decision against a root final and drops its attributes: the child carries it on.
    #[cold]
    fn discard(&mut self) {
        self.identity.set_decision(false, false);
        self.tidy();
        self.body.clear();
    }

    /// Notes the time at which the span is left.
    #[inline(always)]
    pub(super) fn note_exit(&mut self) {
        if self.identity.is_recording() {
            self.state.last_exit = clock::now();
        }
    }

    /// A cleared span with its first buffer, whose bytes `reservation` covers.
    pub(super) fn new(reservation: Reservation) -> Self {
        Self {
            body: Vec::with_capacity(FIRST),
            reservation,
            ..Self::default()
        }
    }

    /// Notes the attributes that the sampler adds next; without memory for that, nothing.
    #[cold]
    pub(super) fn note_added(&mut self, added: &[KeyValue]) {
        let with_old = |added: &KeyValue| (added.clone(), self.attribute(&added.key));
        let added: Vec<_> = added.iter().map(with_old).collect();
        self.rare.get_or_insert_default().added = added;
        if !self.count_rare() {
            self.rare.get_or_insert_default().added = Vec::new();
            self.count_rare();
        }
    }

    /// Counts the bytes of [`Rare`] after a change; false without memory for them.
    fn count_rare(&mut self) -> bool {
        let Some(rare) = &mut self.rare else {
            return true;
        };
        let items = rare.added.capacity() * size_of::<(KeyValue, Option<Value>)>();
        let values = rare
            .added
            .iter()
            .map(|(new, old)| new.heap_size() + old.as_ref().map_or(0, Value::heap_size));
        let bytes = size_of::<Rare>() + items + values.sum::<usize>();
        let granted = self.reservation.keep(rare.bytes, bytes);
        if granted {
            rare.bytes = bytes;
        }
        granted
    }

    /// Counts the bytes of trace state and baggage; called after each possible change of them.
    #[inline]
    pub(super) fn pay_for_context(&mut self) {
        if self.identity.has_extra()
            && let Some(memory) = &self.reservation.memory
        {
            self.reservation.left_out += self.identity.pay(memory);
        }
    }

    /// Drops [`Rare`], the index, and their bytes.
    #[cold]
    #[inline(never)]
    pub(super) fn forget_rare(&mut self) {
        let bytes = self.rare.take().map_or(0, |rare| rare.bytes);
        let _ = self.reservation.keep(bytes, 0);
        self.tidy();
    }

    /// The attributes that the sampler added, each with the value that it replaced.
    pub(super) fn added(&self) -> &[(KeyValue, Option<Value>)] {
        self.rare.as_ref().map_or(&[], |rare| &rare.added)
    }

    /// Removes the sampler's attributes, unless they were set again since; returns the attributes that
    /// they had replaced.
    #[cold]
    pub(super) fn withdraw_added(&mut self) -> Vec<KeyValue> {
        let added = self
            .rare
            .as_mut()
            .map(|rare| std::mem::take(&mut rare.added));
        self.count_rare();
        let mut replaced = Vec::new();
        for (added, old) in added.into_iter().flatten() {
            match self.attribute(&added.key) {
                Some(value) if value == added.value => {
                    self.remove_attribute(added.key.as_bytes());
                    replaced.extend(old.map(|old| KeyValue::new(added.key, old)));
                }
                Some(_) => {}
                // Dropped at the attribute limit, and counted there: the second decision counts anew.
                None => {
                    let dropped = &mut self.state.dropped_attributes;
                    *dropped = dropped.saturating_sub(1);
                }
            }
        }
        replaced
    }

    /// Sets the status by the order `Ok > Error > Unset` (TR-7).
    pub(crate) fn set_status(&mut self, status: StatusCode, description: Option<&str>) {
        let was = self.otel_fields.status;
        self.otel_fields.set_status(status);
        if let Some(text) = description.filter(|_| was != StatusCode::Ok) {
            self.otel_fields.describe(text, &mut self.reservation);
        }
    }

    /// Sets the name.
    pub(crate) fn set_name(&mut self, name: &str) {
        self.otel_fields
            .set(FieldRole::SpanName, name, &mut self.reservation);
    }

    /// Applies name, kind and status of a later visit.
    pub(crate) fn merge(&mut self, later: &OtelFields) {
        self.otel_fields.merge(later, &mut self.reservation);
    }

    /// The end of a span that closes now: its last exit, if it was ever entered (MIG-7).
    #[inline]
    pub(crate) fn end(&self, now: impl FnOnce() -> u64, on_close: bool) -> u64 {
        let end = match self.state.last_exit {
            0 => now(),
            _ if on_close => now(),
            exit => exit,
        };
        end.max(self.state.start)
    }

    /// Appends the ids, name, kind and times: after it `body`, which must be [tidy](Self::tidy), is the
    /// encoded span. The end is not before the last event.
    #[inline]
    pub(crate) fn seal(&mut self, end: u64) {
        let Self {
            identity,
            otel_fields,
            state,
            ..
        } = self;
        let unix = |time| identity.anchor.unix_nanos(time);
        let last = end.max(state.last_event).max(state.start);
        let (mut start, mut end) = (unix(state.start), unix(last));
        if state.start_given | state.end_given != 0 {
            (start, end) = given_times(state, start, end);
            if state.last_event > 0 {
                end = end.max(unix(state.last_event));
            }
        }
        let head = SpanHead {
            trace_id: identity.trace_id,
            span_id: identity.span_id,
            parent_id: identity.parent_id,
            parent_is_remote: identity.parent_is_remote,
            flags: identity.trace_flags().bits(),
            name: otel_fields.name_or(self.name),
            kind: otel_fields.kind.unwrap_or(Kind::Internal),
            start,
            end,
            // The rest is appended below; most spans have none of it.
            trace_state: "",
            status: StatusCode::Unset,
            status_message: "",
            dropped_attributes: 0,
            dropped_events: 0,
            dropped_links: 0,
        };
        put_head(&mut self.body, &head);
        let has_rest = identity.has_extra() || otel_fields.status != StatusCode::Unset;
        if has_rest || state.has_dropped() {
            self.seal_rest();
        }
    }

    #[cold]
    #[inline(never)]
    fn seal_rest(&mut self) {
        let (state, otel_fields) = (&self.state, &self.otel_fields);
        let dropped = [
            state.dropped_attributes,
            state.dropped_events,
            state.dropped_links,
        ];
        put_rest(
            &mut self.body,
            self.identity.trace_state().as_str(),
            dropped,
            (otel_fields.status, &otel_fields.description),
        );
    }

    /// Bytes of the texts that [`put_open_head`](Self::put_open_head) writes.
    pub(super) fn texts_of_head(&self) -> usize {
        let trace_state = self.identity.trace_state().as_str();
        trace_state.len() + self.name().len() + self.otel_fields.description.len()
    }

    /// Appends all fields that an open span has: without an end.
    #[cold]
    pub(super) fn put_open_head(&self, out: &mut Vec<u8>) {
        let (identity, state) = (&self.identity, &self.state);
        let start = identity.anchor.unix_nanos(state.start);
        put_head(
            out,
            &SpanHead {
                trace_id: identity.trace_id,
                span_id: identity.span_id,
                parent_id: identity.parent_id,
                parent_is_remote: identity.parent_is_remote,
                flags: identity.trace_flags().bits(),
                trace_state: identity.trace_state().as_str(),
                name: self.name(),
                kind: self.otel_fields.kind.unwrap_or(Kind::Internal),
                start: given_times(state, start, start).0,
                end: 0,
                status: self.otel_fields.status,
                status_message: &self.otel_fields.description,
                dropped_attributes: state.dropped_attributes,
                dropped_events: state.dropped_events,
                dropped_links: state.dropped_links,
            },
        );
    }

    /// The present name.
    pub(super) fn name(&self) -> &str {
        self.otel_fields.name_or(self.name)
    }

    /// Resets the span and keeps its buffers. Ids, name and scope stay: each new span overwrites them.
    #[inline]
    pub(crate) fn clear(&mut self) {
        self.identity.clear();
        self.otel_fields.clear();
        self.state = SpanState::default();
        self.body.clear();
    }
}
