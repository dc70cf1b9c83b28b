//! [`Chunk`]: items one after the other, in the encoding of the request.

use bytes::Bytes;

use super::record::{ScopeId, TelemetryData};
use crate::pool::Pool;
use crate::sync::Arc;
use crate::wire::{request::ITEMS, varint};

pub(crate) type ChunkPool = Pool<Chunk>;

/// Encoded `ScopeSpans.spans` fields, with tag and length, and their scopes.
///
/// The default is a chunk without memory, in which no span fits.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    bytes: Vec<u8>,
    runs: Vec<Run>,
    items: u32,
    /// The bytes reserved from the budget for this chunk.
    cost: usize,
}

/// Neighbouring items of one scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) scope: ScopeId,
    pub(crate) items: u32,
    /// The offset of their end in the chunk.
    pub(crate) end: u32,
}

/// Bytes of a chunk for each run in it. A run has at least one item, and few items of a real application
/// are smaller than this.
const BYTES_PER_RUN: usize = 256;

impl Chunk {
    /// The memory of a chunk of `capacity` bytes.
    pub(crate) const fn cost_of(capacity: usize) -> usize {
        capacity + Self::runs_of(capacity) * size_of::<Run>()
    }

    const fn runs_of(capacity: usize) -> usize {
        1 + capacity / BYTES_PER_RUN
    }

    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(capacity),
            runs: Vec::with_capacity(Self::runs_of(capacity)),
            items: 0,
            cost: Self::cost_of(capacity),
        }
    }

    /// A chunk for one span that is too large for a common chunk.
    pub(crate) fn alone(data: TelemetryData<'_>) -> Self {
        let len = encoded_len(data.item);
        let mut chunk = Self {
            bytes: Vec::with_capacity(len),
            runs: Vec::with_capacity(1),
            items: 0,
            cost: Self::cost_alone(len),
        };
        chunk.append(data);
        chunk
    }

    pub(crate) const fn cost_alone(len: usize) -> usize {
        len + size_of::<Run>()
    }

    /// Whether one more span of `scope` fits, with `len` as its [`encoded_len`].
    #[inline]
    pub(crate) fn fits(&self, scope: ScopeId, len: usize) -> bool {
        self.bytes.capacity() - self.bytes.len() >= len
            && (self.runs.len() < self.runs.capacity() || self.continues(scope))
    }

    #[inline]
    fn continues(&self, scope: ScopeId) -> bool {
        self.runs.last().is_some_and(|run| run.scope == scope)
    }

    /// Appends a span that fits: nothing is allocated.
    #[inline]
    pub(crate) fn append(&mut self, data: TelemetryData<'_>) {
        varint::put_bytes(&mut self.bytes, ITEMS, data.item);
        self.note(data.scope, 1);
    }

    #[inline]
    fn note(&mut self, scope: ScopeId, items: u32) {
        self.items += items;
        let end = self.bytes.len() as u32;
        match self.runs.last_mut() {
            Some(run) if run.scope == scope => {
                run.items += items;
                run.end = end;
            }
            _ => self.runs.push(Run { scope, items, end }),
        }
    }

    /// Moves the items of `other` here, if `other` is at most half full and its items fit: otherwise half
    /// of its memory stays unused.
    pub(crate) fn absorb(&mut self, other: &mut Self) -> bool {
        let room = self.bytes.capacity() - self.bytes.len();
        let runs = self.runs.capacity() - self.runs.len();
        if other.bytes.len() > other.bytes.capacity() / 2
            || other.bytes.len() > room
            || other.runs.len() > runs
        {
            return false;
        }
        let mut start = 0;
        for run in &other.runs {
            let end = run.end as usize;
            // Runs end within the bytes; `get` avoids the code of a panic.
            if let Some(items) = other.bytes.get(start..end) {
                self.bytes.extend_from_slice(items);
                self.note(run.scope, run.items);
            }
            start = end;
        }
        other.clear();
        true
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.runs.clear();
        self.items = 0;
    }

    pub(crate) fn items(&self) -> u32 {
        self.items
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Returns the memory to `pool`, with or without items in it.
    pub(crate) fn recycle(mut self, pool: &ChunkPool) {
        if self.cost == pool.cost() {
            self.clear();
            pool.give(self);
        } else {
            pool.budget().release(self.cost);
        }
    }

    /// The bytes, shared without a copy; the chunk returns to `pool` at the drop of the last handle.
    pub(crate) fn into_bytes(self, pool: Arc<ChunkPool>) -> Bytes {
        Bytes::from_owner(Lent { chunk: self, pool })
    }
}

/// Bytes that a span of `span.len()` bytes takes in a chunk.
#[inline]
pub(crate) fn encoded_len(span: &[u8]) -> usize {
    1 + varint::len(span.len() as u64) + span.len()
}

/// A chunk that is being sent.
struct Lent {
    chunk: Chunk,
    pool: Arc<ChunkPool>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.chunk.bytes
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        std::mem::take(&mut self.chunk).recycle(&self.pool);
    }
}

#[cfg(all(test, not(tracing_otlp_loom)))]
mod tests {
    use super::*;
    use crate::pool::Budget;

    fn span(scope: u32, span: &[u8]) -> TelemetryData<'_> {
        TelemetryData {
            scope: ScopeId(scope),
            item: span,
        }
    }

    fn pool(limit: usize) -> Arc<ChunkPool> {
        Arc::new(Pool::new(Budget::new(limit), Chunk::cost_of(1024), 4))
    }

    #[test]
    fn runs_are_run_length_encoded_and_never_grow() {
        let mut chunk = Chunk::with_capacity(1024);
        for (scope, text) in [(1, "a"), (1, "bb"), (2, "c"), (1, "d")] {
            assert!(chunk.fits(ScopeId(scope), encoded_len(text.as_bytes())));
            chunk.append(span(scope, text.as_bytes()));
        }
        let runs: Vec<_> = chunk.runs().iter().map(|r| (r.scope.0, r.items)).collect();
        assert_eq!(runs, [(1, 2), (2, 1), (1, 1)]);
        assert_eq!(chunk.bytes, b"\x12\x01a\x12\x02bb\x12\x01c\x12\x01d");
        let capacity = (chunk.bytes.capacity(), chunk.runs.capacity());
        let mut scope = 0;
        while chunk.fits(ScopeId(scope), 2) {
            chunk.append(span(scope, b""));
            scope += 1;
        }
        assert!(chunk.len() < 1024, "closed for want of runs, not of bytes");
        while chunk.fits(ScopeId(scope - 1), 2) {
            chunk.append(span(scope - 1, b""));
        }
        assert!(chunk.len() > 1022, "the last run could still be continued");
        assert_eq!(capacity, (chunk.bytes.capacity(), chunk.runs.capacity()));
        assert!(!Chunk::default().fits(ScopeId(0), 2));
    }

    #[test]
    fn a_sparse_chunk_moves_into_another_and_keeps_its_scopes() {
        let (mut a, mut b) = (Chunk::with_capacity(1024), Chunk::with_capacity(1024));
        a.append(span(1, b"a"));
        b.append(span(1, b"b"));
        b.append(span(2, b"c"));
        assert!(a.absorb(&mut b));
        assert_eq!((a.items(), b.items(), b.len()), (3, 0, 0));
        let runs: Vec<_> = a
            .runs()
            .iter()
            .map(|r| (r.scope.0, r.items, r.end))
            .collect();
        assert_eq!(runs, [(1, 2, 6), (2, 1, 9)]);
        b.append(span(3, &[0; 600]));
        assert!(!a.absorb(&mut b), "more than half full: not worth the copy");
    }

    #[test]
    fn a_chunk_returns_to_its_pool_with_the_last_of_its_bytes() {
        let pool = pool(1 << 20);
        let mut chunk = pool.take(|| Chunk::with_capacity(1024)).unwrap_or_default();
        chunk.append(span(1, b"a"));
        let bytes = chunk.into_bytes(Arc::clone(&pool));
        let slice = bytes.slice(2..);
        drop(bytes);
        assert_eq!(&slice[..], b"a");
        drop(slice);
        let again = pool.take(|| unreachable!("one lies idle"));
        assert_eq!(again.map(|c| (c.len(), c.items())), Some((0, 0)));
    }

    #[test]
    fn a_lone_chunk_is_freed_not_pooled() {
        let pool = pool(1 << 20);
        let big = vec![7; 5000];
        assert!(pool.budget().reserve(Chunk::cost_alone(encoded_len(&big))));
        let chunk = Chunk::alone(span(1, &big));
        assert_eq!((chunk.items(), chunk.len()), (1, 5003));
        drop(chunk.into_bytes(Arc::clone(&pool)));
        assert_eq!(pool.budget().used(), 0);
    }
}
