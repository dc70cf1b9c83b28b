//! Spans that closed, kept for those to come: in the steady state no span allocates.
//!
//! Each thread keeps a few; a thread that closes more than it opens passes them on, a batch at a
//! time, to the threads that open more than they close.

use std::cell::RefCell;

use super::charge::{Charge, FIRST, SPAN};
use super::span::OpenSpan;
use crate::pool::Budget;
use crate::sync::{Arc, Mutex, lock};

/// Spans that a thread keeps; half of them are moved when it has too many or none.
const KEPT: usize = 32;
/// Spans that wait for whichever thread needs them.
const SHARED: usize = 1024;
/// A buffer that grew beyond this is not kept.
const LARGEST_KEPT: usize = 4096;

thread_local! {
    #[expect(clippy::vec_box, reason = "a span moves by its pointer")]
    static MINE: RefCell<Vec<Box<OpenSpan>>> = const { RefCell::new(Vec::new()) };
}

#[derive(Debug)]
pub(crate) struct Spares {
    budget: Arc<Budget>,
    #[expect(clippy::vec_box, reason = "spans move between the tables as boxes")]
    shared: Mutex<Vec<Box<OpenSpan>>>,
    /// How many may wait there: what is kept is charged, and a small budget is for other things.
    most: usize,
}

impl Spares {
    pub(crate) fn new(budget: Arc<Budget>) -> Self {
        let most = budget.limit() / 8 / (SPAN + FIRST);
        Self {
            budget,
            shared: Mutex::new(Vec::new()),
            most: most.min(SHARED),
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
        span.charge = Charge::new(Arc::clone(&self.budget));
        // Where there is no room, none of its values are kept.
        let _ = span.charge.make_room(&mut span.body, FIRST);
        span
    }

    /// Takes a span back.
    #[inline(always)]
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
            if shared.len() < self.most && span.charge.belongs_to(&self.budget) {
                shared.push(span);
            }
        }
    }
}
