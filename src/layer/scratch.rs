//! A buffer of the thread's for what is visited before it is copied to a span.
//!
//! Visits nest: a value's `Debug` may record events. The inner visit then finds the place empty
//! and makes a buffer of its own.

use std::cell::Cell;

/// A buffer that grew beyond this is not kept.
const LARGEST_KEPT: usize = 16 << 10;

thread_local! {
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// An empty buffer, given back when dropped, also by a panic in a foreign `Debug`.
#[derive(Debug)]
pub(super) struct Scratch(Vec<u8>);

impl Scratch {
    #[inline]
    pub(super) fn take() -> Self {
        Self(SCRATCH.try_with(Cell::take).unwrap_or_default())
    }

    #[inline]
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }

    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Scratch {
    #[inline]
    fn drop(&mut self) {
        let mut buffer = std::mem::take(&mut self.0);
        if (1..=LARGEST_KEPT).contains(&buffer.capacity()) {
            buffer.clear();
            // Where the thread's locals are gone, the buffer is let go.
            let _ = SCRATCH.try_with(|s| s.set(buffer));
        }
    }
}
