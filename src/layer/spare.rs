//! Spans that closed, kept for those to come: in the steady state no span allocates.
//!
//! Each thread keeps a few; a thread that closes more than it opens passes them on, a batch at a
//! time, to the threads that open more than they close.

use std::cell::RefCell;

use super::span::OpenSpan;
use crate::pool::Budget;
use crate::sync::{Arc, Mutex, lock};

/// Spans that a thread keeps; half of them are moved when it has too many or none.
const KEPT: usize = 32;
/// Spans that wait for whichever thread needs them.
const SHARED: usize = 1024;
/// The first capacity of a span's bytes: an ordinary span with its events fits.
pub(super) const FIRST: usize = 512;
/// A buffer that grew beyond this is not kept.
const LARGEST_KEPT: usize = 4096;

thread_local! {
    #[expect(clippy::vec_box, reason = "a span moves by its pointer")]
    static MINE: RefCell<Vec<Box<OpenSpan>>> = const { RefCell::new(Vec::new()) };
}

/// Bytes counted in a budget for as long as this lives.
#[derive(Debug, Default)]
pub(crate) struct Charge {
    budget: Option<Arc<Budget>>,
    bytes: usize,
}

impl Charge {
    /// Whether `body` takes `more` bytes without growing.
    #[inline]
    pub(crate) fn has_room(&self, body: &Vec<u8>, more: usize) -> bool {
        body.capacity() - body.len() >= more
    }

    /// Lets `body` grow by at least `more` bytes; false if the budget has no room for that.
    #[cold]
    pub(crate) fn make_room(&mut self, body: &mut Vec<u8>, more: usize) -> bool {
        let capacity = (body.len() + more).next_power_of_two();
        let granted = self.grow_to(size_of::<OpenSpan>() + capacity);
        if granted {
            body.reserve_exact(capacity - body.len());
        }
        granted
    }

    /// Counts what `body` grew to; false if the budget has no room for that.
    #[inline]
    pub(crate) fn covers(&mut self, body: &Vec<u8>) -> bool {
        self.grow_to(size_of::<OpenSpan>() + body.capacity())
    }

    /// Counts what is missing to `bytes`.
    #[inline]
    fn grow_to(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        if more == 0 {
            return true;
        }
        let granted = self.budget.as_ref().is_none_or(|b| b.reserve(more));
        if granted {
            self.bytes += more;
        }
        granted
    }

    fn belongs_to(&self, budget: &Arc<Budget>) -> bool {
        self.budget.as_ref().is_some_and(|b| Arc::ptr_eq(b, budget))
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if let Some(budget) = &self.budget {
            budget.release(self.bytes);
        }
    }
}

#[derive(Debug)]
pub(crate) struct Spares {
    budget: Arc<Budget>,
    #[expect(clippy::vec_box, reason = "spans move between the tables as boxes")]
    shared: Mutex<Vec<Box<OpenSpan>>>,
}

impl Spares {
    pub(crate) fn new(budget: Arc<Budget>) -> Self {
        Self {
            budget,
            shared: Mutex::new(Vec::new()),
        }
    }

    /// A cleared span. Where the budget is used up it has no room for attributes.
    #[inline]
    pub(crate) fn take(&self) -> Box<OpenSpan> {
        let kept = MINE.try_with(|mine| {
            let mut mine = mine.borrow_mut();
            match mine.pop() {
                Some(span) if span.charge.belongs_to(&self.budget) => Some(span),
                // Of another pipeline: not worth more than to be given back.
                Some(_) | None => self.refill(&mut mine),
            }
        });
        kept.ok().flatten().unwrap_or_else(|| self.make())
    }

    #[cold]
    #[expect(clippy::vec_box, reason = "as above")]
    fn refill(&self, mine: &mut Vec<Box<OpenSpan>>) -> Option<Box<OpenSpan>> {
        let mut shared = lock(&self.shared);
        let keep = shared.len().saturating_sub(KEPT / 2);
        mine.extend(shared.drain(keep..));
        mine.pop()
    }

    #[cold]
    fn make(&self) -> Box<OpenSpan> {
        let mut span = Box::<OpenSpan>::default();
        span.charge.budget = Some(Arc::clone(&self.budget));
        if span.charge.grow_to(size_of::<OpenSpan>() + FIRST) {
            span.body.reserve_exact(FIRST);
        }
        span
    }

    /// Takes a span back.
    #[inline]
    pub(crate) fn give(&self, mut span: Box<OpenSpan>) {
        // One without its first room, or with too much, is let go.
        let keep = (FIRST..=LARGEST_KEPT).contains(&span.body.capacity());
        if !keep || !span.charge.covers(&span.body) {
            return;
        }
        span.clear();
        // Where the thread's locals are gone, the span is let go.
        let _ = MINE.try_with(|mine| {
            let mut mine = mine.borrow_mut();
            if mine.len() >= KEPT {
                self.pass_on(&mut mine);
            }
            mine.push(span);
        });
    }

    #[cold]
    #[expect(clippy::vec_box, reason = "as above")]
    fn pass_on(&self, mine: &mut Vec<Box<OpenSpan>>) {
        let mut shared = lock(&self.shared);
        for span in mine.drain(KEPT / 2..) {
            if shared.len() < SHARED && span.charge.belongs_to(&self.budget) {
                shared.push(span);
            }
        }
    }
}
