//! A buffer of the thread's for what is visited before it is copied to a span.
//!
//! Visits nest: a value's `Debug` may record events. The inner visit then finds the place empty
//! and makes a buffer of its own.

use std::cell::Cell;

use crate::pool::{Grade, Memory};
use crate::wire::field::{Room, beginning};

/// A buffer that grew beyond this is not kept, and is paid for while it is there.
const LARGEST_KEPT: usize = 16 << 10;

thread_local! {
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// An empty buffer, given back when dropped, also by a panic in a foreign `Debug`.
#[derive(Debug)]
pub(super) struct Scratch<'a> {
    buffer: Vec<u8>,
    reservation: ScratchReservation<'a>,
}

/// What a large buffer takes of the memory of open spans.
#[derive(Debug)]
pub(super) struct ScratchReservation<'a> {
    memory: &'a Memory,
    bytes: u32,
    /// How much was left out for want of memory.
    left_out: u32,
}

impl<'a> Scratch<'a> {
    #[inline]
    pub(super) fn take(memory: &'a Memory) -> Self {
        Self {
            buffer: SCRATCH.try_with(Cell::take).unwrap_or_default(),
            reservation: ScratchReservation {
                memory,
                bytes: 0,
                left_out: 0,
            },
        }
    }

    #[inline]
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// So much of a text as there is memory for: all, or its beginning.
    pub(super) fn fitting<'t>(&mut self, text: &'t str) -> &'t str {
        const CUT: usize = 64;
        match self.reservation.make_room(&mut self.buffer, text.len()) {
            true => text,
            false => {
                self.reservation.leave_out();
                beginning(text, CUT)
            }
        }
    }

    /// The buffer, and who pays for it.
    #[inline]
    pub(super) fn parts(&mut self) -> (&mut Vec<u8>, &mut ScratchReservation<'a>) {
        (&mut self.buffer, &mut self.reservation)
    }

    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer
    }

    /// How much was left out for want of memory.
    #[inline]
    pub(super) fn left_out(&self) -> u32 {
        self.reservation.left_out
    }
}

impl ScratchReservation<'_> {
    #[cold]
    fn reach(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes as usize);
        let granted = bytes <= self.memory.most_of_one_span()
            && self.memory.growth.reserve_up_to(more, Grade::of(bytes));
        if granted {
            // The most of one span is less than 2 GiB.
            self.bytes += more as u32;
        }
        granted
    }
}

impl Room for ScratchReservation<'_> {
    fn make_room(&mut self, out: &mut Vec<u8>, more: usize) -> bool {
        let len = out.len().saturating_add(more);
        if len <= out.capacity().max(LARGEST_KEPT) {
            return true;
        }
        let capacity = len.max(out.capacity() / 2 * 3);
        for capacity in [capacity, len] {
            if self.reach(capacity) {
                out.reserve_exact(capacity - out.len());
                return true;
            }
        }
        false
    }

    /// It is there for a moment, and paid for when it comes to a span.
    fn keep_text(&mut self, _: usize, now: usize) -> bool {
        now <= self.memory.most_of_one_span()
    }

    fn leave_out(&mut self) {
        self.left_out += 1;
    }
}

impl Drop for Scratch<'_> {
    #[inline]
    fn drop(&mut self) {
        let mut buffer = std::mem::take(&mut self.buffer);
        // Also what was paid for a buffer beside this one, as that of an error for the span.
        if self.reservation.bytes > 0 {
            let bytes = self.reservation.bytes as usize;
            self.reservation.memory.growth.release(bytes);
        }
        if (1..=LARGEST_KEPT).contains(&buffer.capacity()) {
            buffer.clear();
            // Where the thread's locals are gone, the buffer is let go.
            let _ = SCRATCH.try_with(|s| s.set(buffer));
        }
    }
}
