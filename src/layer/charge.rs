//! What an open span takes of the pipeline's memory.

use crate::pool::Budget;
use crate::sync::Arc;

/// The first capacity of a span's bytes: an ordinary span with its events fits.
pub(super) const FIRST: usize = 512;

/// What a span is counted with beside its bytes: itself and its place in the table.
pub(super) const SPAN: usize = 384;

/// Bytes counted in a budget for as long as this lives.
#[derive(Debug, Default)]
pub(crate) struct Charge {
    budget: Option<Arc<Budget>>,
    bytes: usize,
}

impl Charge {
    pub(super) fn new(budget: Arc<Budget>) -> Self {
        Self {
            budget: Some(budget),
            bytes: 0,
        }
    }

    /// Whether `body` takes `more` bytes without growing.
    #[inline]
    pub(crate) fn has_room(&self, body: &Vec<u8>, more: usize) -> bool {
        body.capacity() - body.len() >= more
    }

    /// Lets `body` grow by at least `more` bytes; false if the budget has no room for that.
    #[cold]
    pub(crate) fn make_room(&mut self, body: &mut Vec<u8>, more: usize) -> bool {
        let capacity = (body.len() + more).next_power_of_two();
        let granted = self.grow_to(SPAN + capacity);
        if granted {
            body.reserve_exact(capacity - body.len());
        }
        granted
    }

    /// Counts what `body` grew to; false if the budget has no room for that.
    #[inline]
    pub(crate) fn covers(&mut self, body: &Vec<u8>) -> bool {
        self.grow_to(SPAN + body.capacity())
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

    pub(super) fn belongs_to(&self, budget: &Arc<Budget>) -> bool {
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
