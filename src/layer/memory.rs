//! What an open span takes of the pipeline's memory.
//!
//! Its first room, the same for every span, is of one class; what it takes beyond that of another.
//! So a few spans with much data never take the place of many with little.

use crate::pool::{Budget, Grade, Memory};
use crate::sync::Arc;
use crate::wire::field::Room;

/// The first capacity of a span's bytes: an ordinary span with its events fits.
pub(super) const FIRST: usize = 512;

/// What a span is counted with beside its bytes: itself, its place in the table, and short texts.
pub(super) const SPAN: usize = 448;

/// Of that, what a name and a description may take.
const TEXTS: usize = 64;

/// What a span itself may take.
pub(super) const ITSELF: usize = SPAN - TEXTS;

/// Bytes counted for as long as this lives.
#[derive(Debug, Default)]
pub(crate) struct Reservation {
    /// `None`: a span of no pipeline.
    pub(super) memory: Option<Arc<Memory>>,
    /// Bytes counted beyond the first room.
    grown: usize,
    /// Of the texts and other things beside the span's bytes.
    beside: usize,
    /// How much the span left out for want of memory.
    pub(super) left_out: u32,
}

impl Reservation {
    /// The first room of a span; `None` if there is none.
    pub(super) fn first(memory: &Arc<Memory>) -> Option<Self> {
        memory.spans.reserve(SPAN + FIRST).then(|| Self {
            memory: Some(Arc::clone(memory)),
            ..Self::default()
        })
    }

    /// Whether `body` takes `more` bytes without growing.
    #[inline]
    pub(crate) fn has_room(&self, body: &Vec<u8>, more: usize) -> bool {
        body.capacity() - body.len() >= more
    }

    /// Lets `body` grow by at least `more` bytes; false if there is no memory for that.
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

    /// Counts what `body` grew to; false if there is no memory for that.
    #[inline]
    pub(crate) fn covers(&mut self, body: &Vec<u8>) -> bool {
        let grown = beyond(body.capacity(), self.beside);
        grown <= self.grown || self.reach(grown, body.capacity())
    }

    /// Whether the span has its first room and nothing more.
    #[inline]
    pub(super) fn is_first(&self, body: &Vec<u8>) -> bool {
        body.capacity() == FIRST && self.grown == 0
    }

    /// How many bytes `body` may have without being counted with more.
    pub(super) fn covered(&self) -> usize {
        (FIRST + self.grown).saturating_sub(self.beside.saturating_sub(TEXTS))
    }

    /// Counts what is kept beside the span's bytes, which has grown; false if there is no memory for
    /// that.
    pub(super) fn keep(&mut self, was: usize, now: usize) -> bool {
        let beside = self.beside.saturating_sub(was).saturating_add(now);
        let (before, after) = (beyond(FIRST, self.beside), beyond(FIRST, beside));
        if beside <= self.beside {
            // What is not held any more is given back: the span may be used again.
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

    /// What is kept beside the span's bytes.
    pub(super) fn beside(&self) -> usize {
        self.beside
    }

    /// Counts what is missing to `grown`, for something that takes `size` bytes.
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

/// What a capacity, and what is kept beside it, take beyond the first room.
#[inline]
fn beyond(capacity: usize, beside: usize) -> usize {
    capacity.saturating_sub(FIRST) + beside.saturating_sub(TEXTS)
}

/// Up to what the allocator would give anyway.
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

/// What the texts of a context take, counted for as long as any span has them. A copy is not paid for.
#[derive(Debug, Default)]
pub(super) struct Paid {
    class: Option<Arc<Budget>>,
    bytes: usize,
}

impl Paid {
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Counts what is missing to `bytes`, and gives back what is too much; false if there is no memory
    /// for it.
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

impl Clone for Paid {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Drop for Paid {
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
