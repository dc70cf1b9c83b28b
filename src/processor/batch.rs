//! [`Staging`]: the items that the worker has drained and not sent yet, cut into batches and grouped by scope.

use std::collections::VecDeque;

use bytes::Bytes;

use super::chunk::{Chunk, ChunkPool, Run};
use super::record::ScopeId;
use super::scopes::Scopes;
use crate::sync::Arc;
use crate::wire::request::{self, ScopeGroup};

/// Drained items, first in, first out. Items are numbered in that order: a flush covers the items below a
/// number.
#[derive(Debug)]
pub(crate) struct Staging {
    /// The chunk that is being cut.
    front: Option<Front>,
    chunks: VecDeque<Chunk>,
    pool: Arc<ChunkPool>,
    /// The number of the first span.
    start: u64,
    /// The number after the last span.
    end: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Front {
    bytes: Bytes,
    runs: VecDeque<Run>,
    /// The offset of `bytes` in the chunk.
    offset: u32,
}

/// The items of one request.
#[derive(Debug)]
pub(crate) struct Cut {
    pub(crate) groups: Vec<ScopeGroup>,
    /// The number of its first span.
    pub(crate) start: u64,
    pub(crate) items: usize,
}

impl Staging {
    pub(crate) fn new(pool: Arc<ChunkPool>) -> Self {
        Self {
            front: None,
            chunks: VecDeque::new(),
            pool,
            start: 0,
            end: 0,
            bytes: 0,
        }
    }

    pub(crate) fn items(&self) -> usize {
        (self.end - self.start) as usize
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Adds a drained chunk. While the endpoint is down, each tick may drain a nearly empty chunk: its items
    /// move into the last chunk, because unused space would use up the budget.
    pub(crate) fn stage(&mut self, mut chunk: Chunk) {
        self.end += u64::from(chunk.items());
        self.bytes += chunk.len();
        let last = self.chunks.back_mut();
        if last.is_some_and(|last| last.absorb(&mut chunk)) {
            chunk.recycle(&self.pool);
        } else {
            self.chunks.push_back(chunk);
        }
    }

    /// Takes the next batch: at most `max_items`, and `max_bytes` unless a single item is larger. `None` if
    /// no span is staged.
    pub(crate) fn cut(
        &mut self,
        max_items: usize,
        max_bytes: usize,
        scopes: &Scopes,
    ) -> Option<Cut> {
        let mut groups: Vec<(ScopeId, ScopeGroup)> = Vec::new();
        let (mut items, mut bytes) = (0, 0);
        while items < max_items {
            let Some(front) = Self::front(&mut self.front, &mut self.chunks, &self.pool) else {
                break;
            };
            let left = (max_items - items, max_bytes.saturating_sub(bytes));
            let Some((scope, count, run)) = front.take(left, items == 0) else {
                break;
            };
            items += count;
            bytes += run.len();
            // From the back: neighbours often have the same scope.
            match groups.iter_mut().rfind(|(id, _)| *id == scope) {
                Some((_, group)) => group.items.push(run),
                None => groups.push((
                    scope,
                    ScopeGroup {
                        scope: scopes.encoded(scope),
                        items: vec![run],
                    },
                )),
            }
        }
        let start = self.start;
        self.start += items as u64;
        self.bytes -= bytes;
        (items > 0).then(|| Cut {
            groups: groups.into_iter().map(|(_, group)| group).collect(),
            start,
            items,
        })
    }

    /// The next chunk to cut, with items left in it.
    fn front<'a>(
        front: &'a mut Option<Front>,
        chunks: &mut VecDeque<Chunk>,
        pool: &Arc<ChunkPool>,
    ) -> Option<&'a mut Front> {
        while front.as_ref().is_none_or(|front| front.runs.is_empty()) {
            let chunk = chunks.pop_front()?;
            *front = Some(Front {
                runs: chunk.runs().iter().copied().collect(),
                bytes: chunk.into_bytes(Arc::clone(pool)),
                offset: 0,
            });
        }
        front.as_mut()
    }

    /// Drops all staged items, and returns their number.
    pub(crate) fn abandon(&mut self) -> usize {
        let items = self.items();
        self.start = self.end;
        self.bytes = 0;
        self.front = None;
        for chunk in self.chunks.drain(..) {
            chunk.recycle(&self.pool);
        }
        items
    }
}

impl Front {
    /// Cuts items of one scope off the front: as many as fit, but at least one if `force`d.
    fn take(
        &mut self,
        (max_items, max_bytes): (usize, usize),
        force: bool,
    ) -> Option<(ScopeId, usize, Bytes)> {
        let run = self.runs.front_mut()?;
        let scope = run.scope;
        let len = (run.end.saturating_sub(self.offset) as usize).min(self.bytes.len());
        let (items, len) = if run.items as usize <= max_items && len <= max_bytes {
            (run.items as usize, len)
        } else {
            Self::fit(&self.bytes[..len], max_items, max_bytes, force)
        };
        if items == 0 {
            return None;
        }
        self.offset += len as u32;
        run.items = run.items.saturating_sub(items as u32);
        if run.items == 0 {
            self.runs.pop_front();
        }
        Some((scope, items, self.bytes.split_to(len)))
    }

    /// How many items at the front of `run` fit, and their length.
    fn fit(run: &[u8], max_items: usize, max_bytes: usize, force: bool) -> (usize, usize) {
        let (mut items, mut len) = (0, 0);
        while items < max_items {
            let Some(next) = request::prefix_of_items(&run[len..], 1) else {
                break;
            };
            if len + next > max_bytes && !(force && items == 0) {
                break;
            }
            items += 1;
            len += next;
        }
        (items, len)
    }
}

#[cfg(all(test, not(tracing_otlp_loom)))]
#[allow(clippy::unwrap_used, reason = "a test may fail by panicking")]
mod tests {
    use super::*;
    use crate::pool::{Budget, Pool, Reclaim as _};
    use crate::processor::record::TelemetryData;

    fn scopes() -> Scopes {
        Scopes::new(Budget::new(1 << 20))
    }

    fn staging() -> Staging {
        let budget = Budget::new(1 << 20);
        Staging::new(Arc::new(Pool::new(budget, Chunk::cost_of(4096), 4)))
    }

    fn chunk(staging: &Staging, items: &[(ScopeId, usize)]) -> Chunk {
        let mut chunk = staging.pool.take(|| Chunk::with_capacity(4096)).unwrap();
        for (scope, len) in items {
            chunk.append(TelemetryData {
                scope: *scope,
                item: &vec![b'x'; *len],
            });
        }
        chunk
    }

    fn shape(cut: &Cut) -> Vec<(String, Vec<usize>)> {
        let run = |run: &Bytes| request::count_items(run).unwrap();
        cut.groups
            .iter()
            .map(|group| {
                let name = String::from_utf8(group.scope.to_vec()).unwrap();
                (name, group.items.iter().map(run).collect())
            })
            .collect()
    }

    #[test]
    fn batches_are_grouped_by_scope_and_cut_by_spans_in_order() {
        let scopes = scopes();
        let [a, b] = ["a", "b"].map(|name| scopes.register(Bytes::from(name)).unwrap());
        assert_eq!(scopes.register(Bytes::from("a")), Some(a));
        let mut staging = staging();
        let first = chunk(&staging, &[(a, 900), (a, 900), (b, 900), (a, 900)]);
        let second = chunk(&staging, &[(a, 10), (b, 10)]);
        staging.stage(first);
        staging.stage(second);
        assert_eq!((staging.start(), staging.end()), (0, 6));

        let cut = staging.cut(5, 1 << 20, &scopes).unwrap();
        assert_eq!((cut.start, cut.items), (0, 5));
        // The sparse second chunk was moved into the first, where its `a` continues a run.
        let expected = [("a".to_owned(), vec![2, 2]), ("b".to_owned(), vec![1])];
        assert_eq!(shape(&cut), expected);

        let cut = staging.cut(5, 1 << 20, &scopes).unwrap();
        assert_eq!((cut.start, cut.items), (5, 1));
        assert_eq!(shape(&cut), [("b".to_owned(), vec![1])]);
        assert!(staging.cut(5, 1 << 20, &scopes).is_none());
        assert_eq!((staging.items(), staging.bytes()), (0, 0));
    }

    /// PAIN 28: a batch keeps below its bytes; a single larger span goes alone.
    #[test]
    fn batches_are_cut_by_bytes_and_a_giant_goes_alone() {
        let scopes = scopes();
        let scope = scopes.register(Bytes::new()).unwrap();
        let mut staging = staging();
        let lens = [100, 100, 100, 3000, 100];
        let items: Vec<_> = lens.iter().map(|len| (scope, *len)).collect();
        let chunk = chunk(&staging, &items);
        staging.stage(chunk);
        let cuts: Vec<_> = std::iter::from_fn(|| staging.cut(9, 250, &scopes))
            .map(|cut| cut.items)
            .collect();
        assert_eq!(cuts, [2, 1, 1, 1]);
        assert_eq!((staging.items(), staging.bytes()), (0, 0));
    }

    #[test]
    fn sparse_chunks_share_memory() {
        let scopes = scopes();
        let scope = scopes.register(Bytes::new()).unwrap();
        let mut staging = staging();
        for _ in 0..20 {
            let chunk = chunk(&staging, &[(scope, 100)]);
            staging.stage(chunk);
        }
        assert_eq!((staging.items(), staging.chunks.len()), (20, 1));
        assert_eq!(staging.cut(99, 1 << 20, &scopes).unwrap().items, 20);
    }

    #[test]
    fn what_is_abandoned_pays_its_memory_back() {
        let scopes = scopes();
        let mut staging = staging();
        for _ in 0..9 {
            let chunk = chunk(&staging, &[(ScopeId(7), 3000); 1]);
            staging.stage(chunk);
        }
        assert_eq!(staging.cut(1, 1 << 20, &scopes).unwrap().items, 1);
        assert_eq!(staging.abandon(), 8);
        staging.pool.trim();
        staging.pool.trim();
        staging.pool.trim();
        assert_eq!(staging.pool.budget().used(), 0);
    }
}
