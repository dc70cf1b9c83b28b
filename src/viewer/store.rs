//! [`Store`]: the newest traces, within a bound in bytes.
//!
//! A span stays encoded as it came: that is a fraction of what a tree of values takes, and most spans
//! are never looked at. Only what lists and the eviction need is kept beside it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use tokio::sync::watch;

use super::durations::Durations;
use super::origin::Origin;
use super::record::{LooseRecords, StoredRecord};
use super::trace::{Stored, StoredTrace, Summary};
use crate::sync::{Mutex, lock};
use crate::wire::decode::{LogRecord, Span};

/// A trace with more spans than this keeps those that came first, and says how many it left out.
pub(super) const MOST_SPANS: usize = 10_000;
/// The same of its log records.
const MOST_RECORDS: usize = 10_000;

/// Traces, newest first by the number that the store gave them.
#[derive(Debug)]
pub(super) struct Store {
    state: Mutex<State>,
    /// The number of the last change, for those who wait for one.
    changes: watch::Sender<u64>,
    max_bytes: usize,
}

#[derive(Debug, Default)]
struct State {
    /// By number, which grows with the first arrival of a trace.
    traces: BTreeMap<u64, StoredTrace>,
    by_id: HashMap<[u8; 16], u64>,
    /// Change and number of each trace: those that go first, and those that go last.
    ordinary: BTreeSet<(u64, u64)>,
    precious: BTreeSet<(u64, u64)>,
    precious_bytes: usize,
    /// Log records of no trace.
    loose: LooseRecords,
    origins: HashSet<Arc<Origin>>,
    /// Origins at which those that nobody uses are looked for.
    sweep_at: usize,
    durations: Durations,
    bytes: usize,
    change: u64,
    evicted: u64,
}

/// What the store holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) traces: usize,
    pub(super) spans: usize,
    /// Log records of traces.
    pub(super) records: usize,
    /// Log records of no trace.
    pub(super) loose_records: usize,
    pub(super) bytes: usize,
    pub(super) max_bytes: usize,
    /// Traces that were evicted so far.
    pub(super) evicted: u64,
    /// Log records of no trace that were evicted so far.
    pub(super) loose_evicted: u64,
}

/// What is read of one trace, without its lock.
#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    pub(super) number: u64,
    pub(super) summary: Arc<Summary>,
    pub(super) spans: Vec<Arc<Stored>>,
    pub(super) records: Vec<Arc<StoredRecord>>,
}

/// Adds spans and log records that came together; what they changed shows when it is dropped.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    store: &'a Store,
    /// The last origin, because they come in rows of one.
    origin: Option<Arc<Origin>>,
}

impl Store {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self {
            state: Mutex::new(State {
                sweep_at: 64,
                ..State::default()
            }),
            changes: watch::Sender::new(0),
            max_bytes,
        }
    }

    pub(super) fn writer(&self) -> Writer<'_> {
        Writer {
            store: self,
            origin: None,
        }
    }

    /// Told the number of each change.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    pub(super) fn held(&self) -> Held {
        let state = lock(&self.state);
        Held {
            traces: state.traces.len(),
            spans: state.traces.values().map(|t| t.spans.len()).sum(),
            records: state.traces.values().map(|t| t.records.len()).sum(),
            loose_records: state.loose.len(),
            bytes: state.bytes,
            max_bytes: self.max_bytes,
            evicted: state.evicted,
            loose_evicted: state.loose.evicted,
        }
    }

    /// The trace with this id.
    pub(super) fn trace(&self, id: [u8; 16]) -> Option<Snapshot> {
        let mut state = lock(&self.state);
        let number = *state.by_id.get(&id)?;
        Some(snapshot(number, state.traces.get_mut(&number)?))
    }

    /// The newest trace whose number is below `before`.
    pub(super) fn newest_before(&self, before: u64) -> Option<Snapshot> {
        let mut state = lock(&self.state);
        let (number, trace) = state.traces.range_mut(..before).next_back()?;
        Some(snapshot(*number, trace))
    }

    /// The newest log record of no trace whose number is below `before`.
    pub(super) fn newest_record_before(&self, before: u64) -> Option<(u64, Arc<StoredRecord>)> {
        lock(&self.state).loose.newest_before(before)
    }

    /// The number of the newest log record of no trace.
    pub(super) fn newest_record(&self) -> u64 {
        lock(&self.state).loose.newest()
    }

    /// Traces that changed after `change`, at most `most` of them and then the newest, and the number
    /// of the last change.
    pub(super) fn changed_after(&self, change: u64, most: usize) -> (Vec<Snapshot>, u64) {
        let mut state = lock(&self.state);
        let from = (change.saturating_add(1), 0);
        let ordinary = state.ordinary.range(from..).rev().take(most);
        let precious = state.precious.range(from..).rev().take(most);
        let mut changed: Vec<(u64, u64)> = ordinary.chain(precious).copied().collect();
        changed.sort_unstable_by(|a, b| b.cmp(a));
        changed.truncate(most);
        let mut snapshots = Vec::with_capacity(changed.len());
        for (_, number) in changed {
            if let Some(trace) = state.traces.get_mut(&number) {
                snapshots.push(snapshot(number, trace));
            }
        }
        (snapshots, state.change)
    }
}

fn snapshot(number: u64, trace: &mut StoredTrace) -> Snapshot {
    Snapshot {
        number,
        summary: trace.summary(),
        spans: trace.spans.clone(),
        records: trace.records.clone(),
    }
}

/// The part of the memory that one resource and scope may take.
const ORIGINS_SHARE: usize = 16;
/// The part of the memory for log records of no trace.
const LOOSE_SHARE: usize = 4;

impl Writer<'_> {
    /// Keeps a copy of an encoded span; false where it is none, or names no trace, or comes from a
    /// resource and scope that are too large to be kept.
    pub(super) fn add(&mut self, resource: &[u8], scope: &[u8], bytes: &[u8]) -> bool {
        self.put(resource, scope, bytes, None)
    }

    /// The same of a span that has not ended, until it does.
    pub(super) fn add_open(&mut self, resource: &[u8], scope: &[u8], bytes: &[u8]) -> bool {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now = now.map_or(0, |d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX));
        self.put(resource, scope, bytes, Some(now))
    }

    /// Keeps a copy of an encoded log record, at its trace if it names one; false as for a span.
    pub(super) fn add_record(&mut self, resource: &[u8], scope: &[u8], bytes: &[u8]) -> bool {
        let Some(record) = LogRecord::decode(bytes) else {
            return false;
        };
        let Some(origin) = self.origin(resource, scope) else {
            return false;
        };
        let max_bytes = self.store.max_bytes;
        let stored = StoredRecord::new(&record, bytes, Arc::clone(&origin));
        let mut state = lock(&self.store.state);
        match record.trace_id {
            Some(id) => state.add_record(id, stored, max_bytes),
            None => state.add_loose(stored, max_bytes),
        }
        drop(state);
        self.origin = Some(origin);
        true
    }

    /// The stored form of a resource and scope; `None` if they are too large.
    fn origin(&mut self, resource: &[u8], scope: &[u8]) -> Option<Arc<Origin>> {
        if resource.len() + scope.len() > self.store.max_bytes / ORIGINS_SHARE {
            return None;
        }
        let known = self.origin.take();
        let known = known.filter(|o| *o.resource == *resource && *o.scope == *scope);
        Some(known.unwrap_or_else(|| {
            // Allocated before the lock is taken.
            let origin = Arc::new(Origin::new(resource, scope));
            lock(&self.store.state).intern(origin)
        }))
    }

    fn put(&mut self, resource: &[u8], scope: &[u8], bytes: &[u8], heard: Option<u64>) -> bool {
        let Some(span) = Span::decode(bytes) else {
            return false;
        };
        if span.trace_id == [0; 16] || span.span_id == [0; 8] {
            return false;
        }
        let Some(origin) = self.origin(resource, scope) else {
            return false;
        };
        let stored = Stored::new(&span, bytes, Arc::clone(&origin), heard);
        let mut state = lock(&self.store.state);
        state.add(span.trace_id, stored, &span, self.store.max_bytes);
        drop(state);
        self.origin = Some(origin);
        true
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        let change = lock(&self.store.state).change;
        self.store.changes.send_replace(change);
    }
}

impl State {
    fn intern(&mut self, origin: Arc<Origin>) -> Arc<Origin> {
        if let Some(known) = self.origins.get(&origin) {
            return Arc::clone(known);
        }
        if self.origins.len() >= self.sweep_at {
            self.sweep();
        }
        self.bytes += origin.cost();
        self.origins.insert(Arc::clone(&origin));
        origin
    }

    /// Forgets origins that no span names. Most are forgotten with their last trace; a reader that
    /// held one at that moment leaves it to this.
    fn sweep(&mut self) {
        let mut freed = 0;
        self.origins.retain(|origin| {
            let is_used = Arc::strong_count(origin) > 1;
            freed += if is_used { 0 } else { origin.cost() };
            is_used
        });
        self.bytes = self.bytes.saturating_sub(freed);
        self.sweep_at = (self.origins.len() * 2).max(64);
    }

    fn add(&mut self, id: [u8; 16], stored: Stored, span: &Span<'_>, max_bytes: usize) {
        let is_root = span.parent_span_id.is_none() && !stored.is_open;
        let nanos = span.end_unix_nanos.saturating_sub(span.start_unix_nanos);
        let is_slow = is_root && self.durations.is_slow(span.name, nanos);
        let (is_precious, cost) = (stored.is_error || is_slow, stored.cost());
        self.change_trace(id, is_precious, max_bytes, |trace| {
            // A trace may not push out all others.
            let has_room = trace.spans.len() < MOST_SPANS && trace.cost + cost <= max_bytes / 2;
            trace.put(stored, has_room);
        });
    }

    fn add_record(&mut self, id: [u8; 16], record: StoredRecord, max_bytes: usize) {
        let (is_precious, cost) = (record.is_error(), record.cost());
        self.change_trace(id, is_precious, max_bytes, |trace| {
            let has_room = trace.records.len() < MOST_RECORDS && trace.cost + cost <= max_bytes / 2;
            trace.put_record(record, has_room);
        });
    }

    fn add_loose(&mut self, record: StoredRecord, max_bytes: usize) {
        self.change += 1;
        self.bytes += record.cost();
        self.loose.push(self.change, Arc::new(record));
        while self.loose.bytes > max_bytes / LOOSE_SHARE {
            let Some(oldest) = self.loose.pop() else {
                break;
            };
            self.bytes -= oldest.cost();
            let origin = Arc::clone(&oldest.origin);
            drop(oldest);
            self.release(origin);
        }
        self.keep_within(max_bytes);
    }

    /// Forgets an origin that nothing else names.
    fn release(&mut self, origin: Arc<Origin>) {
        // The set's and this one.
        if Arc::strong_count(&origin) == 2 && self.origins.remove(&origin) {
            self.bytes = self.bytes.saturating_sub(origin.cost());
        }
    }

    fn keep_within(&mut self, max_bytes: usize) {
        while self.bytes > max_bytes {
            if !self.evict(max_bytes) {
                // Only origins are left: those that no span has go.
                self.sweep();
                break;
            }
        }
    }

    /// Changes a trace, a new one if need be, and keeps the sums.
    fn change_trace(
        &mut self,
        id: [u8; 16],
        is_precious: bool,
        max_bytes: usize,
        change: impl FnOnce(&mut StoredTrace),
    ) {
        self.change += 1;
        let next = self.change;
        let number = *self.by_id.entry(id).or_insert(next);
        let trace = self
            .traces
            .entry(number)
            .or_insert_with(|| StoredTrace::new(id));
        let (before, was_precious) = (trace.cost, trace.is_precious);
        let is_new = trace.change == 0;
        if !is_new {
            let place = (trace.change, number);
            let queue = if was_precious {
                &mut self.precious
            } else {
                &mut self.ordinary
            };
            queue.remove(&place);
        }
        trace.is_precious |= is_precious;
        change(trace);
        trace.change = next;
        let (after, is_precious) = (trace.cost, trace.is_precious);
        // A new trace costs something before its first span.
        let counted = if is_new { 0 } else { before };
        self.bytes = self.bytes + after - counted;
        if was_precious {
            self.precious_bytes -= before;
        }
        if is_precious {
            self.precious_bytes += after;
            self.precious.insert((next, number));
        } else {
            self.ordinary.insert((next, number));
        }
        self.keep_within(max_bytes);
    }

    /// Forgets the trace that is missed least; false where there is none.
    fn evict(&mut self, max_bytes: usize) -> bool {
        // Errors may fill half of the memory: beyond it the newest traces matter more.
        let spares_precious = self.precious_bytes <= max_bytes / 2;
        let first = match spares_precious {
            true => self
                .ordinary
                .pop_first()
                .or_else(|| self.precious.pop_first()),
            false => self
                .precious
                .pop_first()
                .or_else(|| self.ordinary.pop_first()),
        };
        let Some(mut trace) = first.and_then(|(_, number)| self.traces.remove(&number)) else {
            return false;
        };
        self.by_id.remove(&trace.id);
        self.bytes -= trace.cost;
        if trace.is_precious {
            self.precious_bytes -= trace.cost;
        }
        self.evicted += 1;
        for span in trace.spans.drain(..) {
            let origin = Arc::clone(&span.origin);
            drop(span);
            self.release(origin);
        }
        for record in trace.records.drain(..) {
            let origin = Arc::clone(&record.origin);
            drop(record);
            self.release(origin);
        }
        true
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]
mod tests;
