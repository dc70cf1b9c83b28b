//! [`HoldingStore`]: the budgets of held spans, in number and in bytes, and their blocks.

use super::block_list::{BLOCK, Block, BlockList};
use crate::pool::{Budget, Grade, Pool, Reclaim};
use crate::sync::Arc;

/// The most idle blocks, fewer if `max_bytes` is small.
const IDLE: usize = 256;

#[derive(Debug)]
pub(super) struct HoldingStore {
    /// A credit for each span that may be held.
    credits: Arc<Budget>,
    /// The bytes of held and idle blocks; a part of the pipeline's budget.
    bytes: Arc<Budget>,
    pool: Arc<Pool<Box<Block>>>,
}

impl HoldingStore {
    pub(super) fn new(max_spans: usize, max_bytes: usize, whole: &Arc<Budget>) -> Self {
        let bytes = Budget::part_of(whole, max_bytes, Grade::HELD);
        let cost = Block::cost_of(BLOCK);
        let idle = IDLE.min(max_bytes / cost);
        let pool = Arc::new(Pool::new(Arc::clone(&bytes), cost, idle));
        let idle: Arc<dyn Reclaim> = Arc::clone(&pool) as _;
        bytes.lends(Arc::downgrade(&idle));
        Self {
            credits: Budget::new(max_spans),
            pool,
            bytes,
        }
    }

    /// The count of held spans.
    pub(super) fn credits(&self) -> &Arc<Budget> {
        &self.credits
    }

    /// Whether an empty store could hold a span of `len` bytes.
    pub(super) fn can_hold(&self, len: usize) -> bool {
        let size = Block::size_for(len);
        // A frame has four bytes for the length.
        u32::try_from(size).is_ok() && Block::cost_of(size) <= self.bytes.limit()
    }

    #[must_use]
    pub(super) fn take_credit(&self) -> bool {
        self.credits.reserve(1)
    }

    pub(super) fn give_credits(&self, spans: usize) {
        if spans > 0 {
            self.credits.release(spans);
        }
    }

    /// A block that fits a span of `len` bytes; `None` if the budget is used up.
    pub(super) fn take_block(&self, len: usize) -> Option<Box<Block>> {
        let size = Block::size_for(len);
        if size == BLOCK {
            return self.pool.take(|| Block::with_size(BLOCK));
        }
        let cost = Block::cost_of(size);
        self.bytes.reserve(cost).then(|| Block::with_size(size))
    }

    pub(super) fn give_block(&self, mut block: Box<Block>) {
        if block.is_ordinary() {
            block.clear();
            self.pool.give(block);
        } else {
            let cost = block.cost();
            drop(block);
            self.bytes.release(cost);
        }
    }

    /// Returns the blocks of a dropped trace.
    pub(super) fn discard(&self, block_list: BlockList) {
        for block in block_list.into_blocks() {
            self.give_block(block);
        }
    }

    /// Frees half of the idle blocks.
    pub(super) fn trim(&self) {
        self.pool.trim();
    }

    #[cfg(test)]
    pub(super) fn used(&self) -> (usize, usize) {
        (self.credits.used(), self.bytes.used())
    }
}
