//! [`BlockList`]: the spans of one trace, in reusable blocks of memory.

use crate::processor::{ScopeId, TelemetryData};

/// Bytes of an ordinary block: half a dozen ordinary spans.
pub(super) const BLOCK: usize = 2 << 10;

/// Bytes before each span: its scope and its length, four bytes each.
const FRAME: usize = 8;

/// The cost of a block's two allocations beside its bytes.
const OVERHEAD: usize = size_of::<Block>() + 32;

/// Memory for a few spans, or for a single large one.
#[derive(Debug)]
pub(super) struct Block {
    bytes: Vec<u8>,
    size: usize,
    before: Option<Box<Block>>,
}

impl Block {
    pub(super) fn with_size(size: usize) -> Box<Self> {
        Box::new(Self {
            bytes: Vec::with_capacity(size),
            size,
            before: None,
        })
    }

    /// The size of a block for a span of `len` bytes.
    pub(super) fn size_for(len: usize) -> usize {
        BLOCK.max(len.saturating_add(FRAME))
    }

    /// The bytes that a block of this size takes of the budget.
    pub(super) fn cost_of(size: usize) -> usize {
        size.saturating_add(OVERHEAD)
    }

    pub(super) fn cost(&self) -> usize {
        Self::cost_of(self.size)
    }

    pub(super) fn is_ordinary(&self) -> bool {
        self.size == BLOCK
    }

    /// Removes the spans and keeps the memory.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
    }

    fn fits(&self, len: usize) -> bool {
        self.size - self.bytes.len() >= FRAME + len
    }

    fn append(&mut self, data: TelemetryData<'_>) {
        self.bytes.extend_from_slice(&data.scope.0.to_le_bytes());
        let len = data.item.len() as u32;
        self.bytes.extend_from_slice(&len.to_le_bytes());
        self.bytes.extend_from_slice(data.item);
    }

    /// Its spans, in order.
    pub(super) fn spans(&self) -> impl Iterator<Item = TelemetryData<'_>> {
        let mut rest = &self.bytes[..];
        std::iter::from_fn(move || {
            let (scope, after) = rest.split_first_chunk()?;
            let (len, after) = after.split_first_chunk()?;
            let (span, after) = after.split_at_checked(u32::from_le_bytes(*len) as usize)?;
            rest = after;
            Some(TelemetryData {
                scope: ScopeId(u32::from_le_bytes(*scope)),
                item: span,
            })
        })
    }
}

/// Spans in the order of their ends. New spans go into the last block.
#[derive(Debug, Default)]
pub(super) struct BlockList {
    last: Option<Box<Block>>,
}

impl BlockList {
    /// Copies a span into the last block, or into `spare` if the last one is full; false if neither has
    /// the capacity.
    pub(super) fn append(
        &mut self,
        data: TelemetryData<'_>,
        spare: &mut Option<Box<Block>>,
    ) -> bool {
        let len = data.item.len();
        if let Some(block) = self.last.as_mut().filter(|block| block.fits(len)) {
            block.append(data);
            return true;
        }
        let Some(mut block) = spare.take_if(|spare| spare.fits(len)) else {
            return false;
        };
        block.append(data);
        block.before = self.last.take();
        self.last = Some(block);
        true
    }

    /// Its blocks, in order.
    pub(super) fn into_blocks(mut self) -> impl Iterator<Item = Box<Block>> {
        let mut ordered = Self::default();
        while let Some(block) = self.pop() {
            ordered.put(block);
        }
        std::iter::from_fn(move || ordered.pop())
    }

    fn put(&mut self, mut block: Box<Block>) {
        block.before = self.last.take();
        self.last = Some(block);
    }

    fn pop(&mut self) -> Option<Box<Block>> {
        let mut block = self.last.take()?;
        self.last = block.before.take();
        Some(block)
    }
}

impl Drop for BlockList {
    /// Drops the blocks in a loop: the derived drop recurses once for each block and may overflow the
    /// stack.
    fn drop(&mut self) {
        while self.pop().is_some() {}
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn spans_come_out_as_and_in_the_order_in_which_they_went_in() {
        let mut block_list = BlockList::default();
        let lens = [0, 1, 1500, 600, BLOCK - FRAME, 9000, 3, 2041];
        let (mut blocks, mut large) = (0, 0);
        for (i, len) in lens.into_iter().enumerate() {
            let span = vec![i as u8; len];
            let data = TelemetryData {
                scope: ScopeId(i as u32),
                item: &span,
            };
            let mut spare = None;
            if !block_list.append(data, &mut spare) {
                spare = Some(Block::with_size(Block::size_for(len)));
                blocks += 1;
                large += usize::from(!spare.as_ref().unwrap().is_ordinary());
                assert!(block_list.append(data, &mut spare));
            }
            assert!(spare.is_none());
        }
        assert_eq!((blocks, large), (6, 2));
        let mut seen = Vec::new();
        for block in block_list.into_blocks() {
            assert!(block.bytes.capacity() <= block.size, "counted as it is");
            for data in block.spans() {
                assert!(data.item.iter().all(|b| u32::from(*b) == data.scope.0));
                seen.push((data.scope.0 as usize, data.item.len()));
            }
        }
        assert_eq!(seen, lens.into_iter().enumerate().collect::<Vec<_>>());
    }

    #[test]
    fn a_spare_that_is_too_small_is_left_alone() {
        let mut spare = Some(Block::with_size(BLOCK));
        let data = TelemetryData {
            scope: ScopeId(0),
            item: &[0; BLOCK],
        };
        assert!(!BlockList::default().append(data, &mut spare));
        assert!(spare.is_some());
    }

    #[test]
    fn a_chain_of_a_million_blocks_ends_without_deep_recursion() {
        let mut block_list = BlockList::default();
        for _ in 0..1_000_000 {
            block_list.put(Block::with_size(0));
        }
        drop(block_list);
    }
}
