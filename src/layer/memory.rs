//! [`Reservation`]: the bytes of an open span in the pipeline's memory.
//!
//! The fixed size of a span and its first buffer count in one class, its growth in another. So a few
//! large spans never take the memory of many small ones.

use crate::pool::{Budget, Grade, Memory};
use crate::sync::Arc;
use crate::wire::bounded::Room;

/// The first capacity of a span's buffer, enough for an ordinary span with its events.
pub(super) const FIRST: usize = 512;

/// The fixed size of a span beside its buffer: the struct, its entry in the table, and short texts.
pub(super) const SPAN: usize = 448;

/// The part of [`SPAN`] for a name and a description.
const TEXTS: usize = 64;

/// The part of [`SPAN`] for the struct and its entry.
pub(super) const ITSELF: usize = SPAN - TEXTS;

/// Bytes counted for as long as this lives.
#[derive(Debug, Default)]
pub(crate) struct Reservation {
    /// `None`: the span is not counted.
    pub(super) memory: Option<Arc<Memory>>,
    /// Bytes counted beyond [`SPAN`] and [`FIRST`].
    grown: usize,
    /// Bytes of texts and [`Rare`](super::span) data beside the buffer.
    beside: usize,
    /// Number of values that the span left out for want of memory.
    pub(super) left_out: u32,
}

impl Reservation {
    /// Reserves the fixed size of a span and its first buffer; `None` without memory.
    pub(super) fn first(memory: &Arc<Memory>) -> Option<Self> {
        memory.spans.reserve(SPAN + FIRST).then(|| Self {
            memory: Some(Arc::clone(memory)),
            ..Self::default()
        })
    }

    /// Whether `body` has capacity for `more` bytes.
    #[inline]
    pub(crate) fn has_room(&self, body: &Vec<u8>, more: usize) -> bool {
        body.capacity() - body.len() >= more
    }

    /// Grows `body` by at least `more` bytes; false without memory.
    #[cold]
    #[inline(never)]
    pub(crate) fn grow(&mut self, body: &mut Vec<u8>, more: usize) -> bool {
        let least = round(body.len().saturating_add(more));
        let likely = round(least.max(body.capacity() / 2 * 3));
        let most = self
            .memory
            .as_ref()
            .map_or(usize::MAX, |m| m.most_of_one_span());
        if least > most {
            return false;
        }
        for capacity in [likely, least] {
            if self.reach(beyond(capacity, self.beside), capacity) {
                body.reserve_exact(capacity - body.len());
                return true;
            }
        }
        false
    }

    /// Counts the capacity that `body` has grown to; false without memory.
    #[inline]
    pub(crate) fn covers(&mut self, body: &Vec<u8>) -> bool {
        let grown = beyond(body.capacity(), self.beside);
        grown <= self.grown || self.reach(grown, body.capacity())
    }

    /// Whether the span has its first buffer and nothing else.
    #[inline]
    pub(super) fn is_first(&self, body: &Vec<u8>) -> bool {
        body.capacity() == FIRST && self.grown == 0
    }

    /// The capacity of `body` that is counted.
    pub(super) fn covered(&self) -> usize {
        (FIRST + self.grown).saturating_sub(self.beside.saturating_sub(TEXTS))
    }

    /// Changes the count of something beside the buffer from `was` to `now` bytes; false without
    /// memory.
    pub(super) fn keep(&mut self, was: usize, now: usize) -> bool {
        let beside = self.beside.saturating_sub(was).saturating_add(now);
        let (before, after) = (beyond(FIRST, self.beside), beyond(FIRST, beside));
        if beside <= self.beside {
            // Returned at once: a pooled span keeps its reservation.
            let less = before.saturating_sub(after).min(self.grown);
            self.grown -= less;
            self.beside = beside;
            if let Some(memory) = self.memory.as_ref().filter(|_| less > 0) {
                memory.growth.release(less);
            }
            return true;
        }
        let most = self
            .memory
            .as_ref()
            .map_or(usize::MAX, |m| m.most_of_one_span());
        let grown = self.grown.saturating_add(after.saturating_sub(before));
        let granted = now <= most && self.reach(grown, now);
        if granted {
            self.beside = beside;
        }
        granted
    }

    /// Bytes beside the buffer.
    pub(super) fn beside(&self) -> usize {
        self.beside
    }

    /// Raises the count to `grown`, for a buffer of `size` bytes.
    fn reach(&mut self, grown: usize, size: usize) -> bool {
        let more = grown.saturating_sub(self.grown);
        let memory = self.memory.as_ref().filter(|_| more > 0);
        let granted = memory.is_none_or(|m| m.growth.reserve_up_to(more, Grade::of(size)));
        if granted {
            self.grown += more;
        }
        granted
    }
}

/// Bytes of a capacity, and of the things beside it, beyond the fixed size.
#[inline]
fn beyond(capacity: usize, beside: usize) -> usize {
    capacity.saturating_sub(FIRST) + beside.saturating_sub(TEXTS)
}

/// Rounds up to a multiple of 64, about the allocator's size classes.
fn round(bytes: usize) -> usize {
    bytes.saturating_add(63) & !63
}

impl Room for Reservation {
    fn make_room(&mut self, out: &mut Vec<u8>, more: usize) -> bool {
        self.has_room(out, more) || self.grow(out, more)
    }

    fn keep_text(&mut self, was: usize, now: usize) -> bool {
        self.keep(was, now)
    }

    fn leave_out(&mut self) {
        self.left_out += 1;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(memory) = &self.memory {
            memory.spans.release(SPAN + FIRST);
            if self.grown > 0 {
                memory.growth.release(self.grown);
            }
        }
    }
}

/// The bytes of a context's texts, counted once for all spans that share them. A clone is not counted:
/// it belongs to another context.
#[derive(Debug, Default)]
pub(super) struct TextReservation {
    class: Option<Arc<Budget>>,
    bytes: usize,
}

impl TextReservation {
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Changes the count to `bytes`; false without memory.
    pub(super) fn cover(&mut self, bytes: usize, memory: &Memory) -> bool {
        let class = self.class.get_or_insert_with(|| Arc::clone(&memory.growth));
        if bytes < self.bytes {
            class.release(self.bytes - bytes);
        } else if !class.reserve_up_to(bytes - self.bytes, Grade::of(bytes)) {
            return false;
        }
        self.bytes = bytes;
        true
    }
}

impl Clone for TextReservation {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Drop for TextReservation {
    fn drop(&mut self) {
        if let Some(class) = self.class.as_ref().filter(|_| self.bytes > 0) {
            class.release(self.bytes);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn what_a_span_no_longer_keeps_is_given_back_before_it_is_used_again() {
        let memory = Memory::new(1 << 20);
        let mut reservation = Reservation::first(&memory).unwrap();
        for _ in 0..10 {
            assert!(reservation.keep(0, 1000));
            assert_eq!(memory.growth.used(), 1000 - TEXTS);
            assert!(reservation.keep(1000, 0));
            assert_eq!(memory.growth.used(), 0);
        }
    }

    #[test]
    fn a_span_pays_for_all_that_it_takes_and_gets_it_back() {
        let memory = Memory::new(1 << 20);
        let mut reservation = Reservation::first(&memory).unwrap();
        let mut body = Vec::with_capacity(FIRST);
        assert_eq!(
            (memory.spans.used(), memory.growth.used()),
            (SPAN + FIRST, 0)
        );
        assert!(reservation.grow(&mut body, 1000));
        assert_eq!(memory.growth.used(), body.capacity() - FIRST);
        assert!(reservation.keep(0, 50), "short texts are paid for already");
        assert!(reservation.keep(50, 1000));
        let all = body.capacity() - FIRST + 1000 - TEXTS;
        assert_eq!(memory.growth.used(), all);
        body.reserve_exact(5000);
        assert!(reservation.covers(&body));
        assert_eq!(memory.growth.used(), body.capacity() - FIRST + 1000 - TEXTS);
        assert!(reservation.covered() >= body.capacity());
        assert!(!reservation.grow(&mut body, memory.most_of_one_span() + 1));
        assert!(!reservation.keep(0, 1 << 20));
        drop(reservation);
        assert_eq!(memory.used(), 0);
    }
}
