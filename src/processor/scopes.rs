//! [`Scopes`]: the instrumentation scopes of one processor, encoded.

use std::collections::HashMap;

use bytes::Bytes;

use super::record::ScopeId;
use crate::diagnostics::TOO_MANY_SCOPES;
use crate::pool::Budget;
use crate::sync::{Arc, Mutex, lock};

/// The bound of scopes. Scopes named by crate, module or library are far fewer; scopes named by data of
/// requests are without bound.
const MOST: usize = 1000;

/// All scopes together may take this fraction of the pipeline's memory: one 64th.
const SHARE: usize = 64;

/// The memory of a scope beside its bytes.
const OVERHEAD: usize = 128;

#[derive(Debug)]
pub(crate) struct Scopes {
    state: Mutex<ScopeTable>,
    budget: Arc<Budget>,
}

#[derive(Debug, Default)]
struct ScopeTable {
    by_id: Vec<Bytes>,
    ids: HashMap<Bytes, ScopeId>,
    /// The bytes reserved from the budget.
    bytes: usize,
}

impl ScopeTable {
    /// Whether one more scope of `cost` bytes is within the bounds.
    fn fits(&self, cost: usize, most_bytes: usize) -> bool {
        self.by_id.len() < MOST && self.bytes + cost <= most_bytes
    }
}

impl Scopes {
    pub(crate) fn new(budget: Arc<Budget>) -> Self {
        Self {
            state: Mutex::default(),
            budget,
        }
    }

    /// The id of a scope; equal scopes share one. `None`: the bound of scopes or of their memory is
    /// reached.
    pub(crate) fn register(&self, encoded: Bytes) -> Option<ScopeId> {
        let known = lock(&self.state).ids.get(&encoded).copied();
        if known.is_some() {
            return known;
        }
        let cost = encoded.len() + OVERHEAD;
        let most_bytes = self.budget.limit() / SHARE;
        // The budget is asked without the lock, because it may take memory from other holders.
        let may_fit = lock(&self.state).fits(cost, most_bytes);
        let is_charged = may_fit && self.budget.reserve(cost);
        let mut state = lock(&self.state);
        // Other threads may have registered this scope, or others, since.
        let known = state.ids.get(&encoded).copied();
        // The first one is the pipeline's own.
        let is_first = state.by_id.is_empty();
        let is_kept = is_first || is_charged && state.fits(cost, most_bytes);
        if known.is_some() || !is_kept {
            drop(state);
            if is_charged {
                self.budget.release(cost);
            }
            if known.is_none() {
                TOO_MANY_SCOPES.notice();
            }
            return known;
        }
        if is_charged {
            state.bytes += cost;
        }
        let id = ScopeId(state.by_id.len() as u32);
        state.by_id.push(encoded.clone());
        state.ids.insert(encoded, id);
        Some(id)
    }

    /// Whether the bound of scopes is reached.
    pub(crate) fn is_full(&self) -> bool {
        lock(&self.state).by_id.len() >= MOST
    }

    /// The encoded scope; empty for an unknown id, such as [`ScopeId::NONE`] or one of another processor.
    pub(super) fn encoded(&self, id: ScopeId) -> Bytes {
        let state = lock(&self.state);
        state.by_id.get(id.0 as usize).cloned().unwrap_or_default()
    }
}

impl Drop for Scopes {
    fn drop(&mut self) {
        let bytes = lock(&self.state).bytes;
        self.budget.release(bytes);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn names_beyond_the_bound_are_not_kept() {
        let budget = Budget::new(1 << 30);
        let scopes = Scopes::new(Arc::clone(&budget));
        let name = |n: usize| Bytes::from(format!("name {n}"));
        let known = (0..40_000).filter_map(|n| scopes.register(name(n))).count();
        assert_eq!(known, MOST);
        assert!(scopes.is_full());
        assert_eq!(scopes.register(name(7)), Some(ScopeId(7)), "known before");
        assert_eq!(scopes.encoded(ScopeId(7)), name(7));
        assert!(scopes.encoded(ScopeId::NONE).is_empty());
        assert!(budget.used() >= MOST * OVERHEAD);
        drop(scopes);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn long_names_are_bounded_by_their_bytes() {
        let budget = Budget::new(1 << 20);
        let scopes = Scopes::new(Arc::clone(&budget));
        let name = |n: usize| Bytes::from(format!("{n:0>4000}"));
        let known = (0..100).filter_map(|n| scopes.register(name(n))).count();
        assert_eq!(known, (1 << 20) / SHARE / (4000 + OVERHEAD));
        assert!(budget.used() <= (1 << 20) / SHARE);
    }
}
