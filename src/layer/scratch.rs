//! [`Scratch`]: a thread's buffer for values that are visited before they are copied to a span.
//!
//! Visits nest, because a value's `Debug` may record events. The inner visit finds no buffer and makes
//! its own.

use std::cell::Cell;

use crate::pool::{Grade, Memory};
use crate::text::beginning;
use crate::wire::bounded::Room;

/// A larger buffer is not kept, and its bytes are counted while it is in use.
const LARGEST_KEPT: usize = 16 << 10;

thread_local! {
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// An empty buffer. Returns to the thread when dropped, also after a panic in a foreign `Debug`.
#[derive(Debug)]
pub(super) struct Scratch<'a> {
    buffer: Vec<u8>,
    reservation: ScratchReservation<'a>,
}

/// The bytes of a large buffer in the memory of open spans.
#[derive(Debug)]
pub(super) struct ScratchReservation<'a> {
    memory: &'a Memory,
    bytes: u32,
    /// Number of values left out for want of memory.
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

    /// The text, or its beginning without memory for the whole.
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

    /// The buffer, and the count of its memory.
    #[inline]
    pub(super) fn parts(&mut self) -> (&mut Vec<u8>, &mut ScratchReservation<'a>) {
        (&mut self.buffer, &mut self.reservation)
    }

    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer
    }

    /// Number of values left out for want of memory.
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

    /// Not counted here: a text is counted when it is copied to a span.
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
        // Includes the bytes of a second buffer, such as that of an error's attributes.
        if self.reservation.bytes > 0 {
            let bytes = self.reservation.bytes as usize;
            self.reservation.memory.growth.release(bytes);
        }
        if (1..=LARGEST_KEPT).contains(&buffer.capacity()) {
            buffer.clear();
            // After the thread's locals are destroyed, the buffer is dropped.
            let _ = SCRATCH.try_with(|s| s.set(buffer));
        }
    }
}
