//! Room for a span's bytes: more memory, else the place of larger attributes, events and links.

use super::OpenSpan;
use crate::layer::memory::FIRST;
use crate::layer::scratch::Scratch;
use crate::wire::shed::{Shed, shed};
use crate::wire::varint;

impl OpenSpan {
    /// Makes room for `more` bytes, without memory by dropping larger things; false without either.
    pub(super) fn make_room(&mut self, more: usize) -> bool {
        if self.reservation.has_room(&self.body, more) {
            return true;
        }
        if self.reservation.grow(&mut self.body, more) {
            self.state.largest = 0;
            return true;
        }
        self.drop_larger(more)
    }

    /// Drops attributes, events and links of at least twice the new size.
    #[cold]
    #[inline(never)]
    fn drop_larger(&mut self, more: usize) -> bool {
        /// Above this, a sixteenth of the bytes is dropped at once: the search takes long.
        const LONG: usize = 64 << 10;
        let (len, least) = (self.body.len(), more.saturating_mul(2));
        if least > self.state.largest as usize && self.state.largest > 0 {
            return false;
        }
        let room = if len > LONG { more.max(len / 16) } else { more };
        let goal = self.body.capacity().saturating_sub(room);
        self.drop_largest(goal.min(len), least - 1);
        self.reservation.has_room(&self.body, more)
    }

    /// Drops the largest, until at most `goal` bytes are left or nothing above `least`.
    fn drop_largest(&mut self, goal: usize, least: usize) {
        self.tidy();
        let (dropped, largest) = shed(&mut self.body, goal, least);
        let Shed {
            attributes,
            events,
            links,
        } = dropped;
        let state = &mut self.state;
        state.attributes = state.attributes.saturating_sub(attributes);
        state.events = state.events.saturating_sub(events);
        state.links = state.links.saturating_sub(links);
        state.dropped_attributes += attributes;
        state.dropped_events += events;
        state.dropped_links += links;
        self.reservation.left_out += dropped.total();
        state.largest = u32::try_from(largest.max(1)).unwrap_or(u32::MAX);
    }

    /// Counts what a scratch buffer for this span left out.
    #[inline]
    pub(in crate::layer) fn note_left_out(&mut self, scratch: &Scratch<'_>) {
        if scratch.left_out() > 0 {
            self.reservation.left_out += scratch.left_out();
        }
    }

    /// Adds an event or a link as the field `tag` of `Span`; false without room.
    #[inline(always)]
    pub(crate) fn add_field(&mut self, tag: u8, content: &[u8]) -> bool {
        let len = content.len() + 11;
        let room = self.reservation.has_room(&self.body, len) || self.make_room_for_field(len);
        if room {
            varint::put_bytes(&mut self.body, tag, content);
        }
        room
    }

    #[cold]
    #[inline(never)]
    fn make_room_for_field(&mut self, len: usize) -> bool {
        let room = self.make_room(len);
        self.reservation.left_out += u32::from(!room);
        room
    }

    /// Counts the growth of `body` after values were written straight into it. Without memory for it,
    /// the largest attributes are dropped.
    #[inline]
    pub(crate) fn settle_growth(&mut self) {
        if self.body.capacity() > FIRST && !self.reservation.covers(&self.body) {
            self.shrink();
        }
    }

    #[cold]
    #[inline(never)]
    fn shrink(&mut self) {
        let mut body = std::mem::take(&mut self.body);
        let mut fitting = Vec::with_capacity(self.reservation.covered());
        if self.reservation.has_room(&fitting, body.len())
            || self.reservation.grow(&mut fitting, body.len())
        {
            fitting.append(&mut body);
            self.body = fitting;
            return;
        }
        self.body = body;
        self.drop_largest(fitting.capacity(), 0);
        fitting.extend_from_slice(&self.body);
        self.body = fitting;
    }
}
