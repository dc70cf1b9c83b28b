//! [`SpanSink`]: takes ended spans to the processor, under their instrumentation scope, or first to a
//! tail sampler.

use std::collections::HashMap;
use std::sync::atomic::AtomicU32;

use super::callsite::Callsite;
use super::identity::Identity;
use super::span::{OpenSpan, SpanState};
use crate::processor::{BatchProcessor, ScopeId, SheddingFacts, TelemetryData};
use crate::sync::{Arc, Mutex, Ordering, lock};
use crate::tail::{EndedSpan, TailSampler};
use crate::wire::request::ScopeFields;
use crate::wire::span::StatusCode;

#[derive(Debug)]
pub(crate) struct SpanSink {
    pub(super) processor: BatchProcessor,
    destination: Destination,
    /// The scope of all spans.
    common: ScopeId,
    /// `None`: the common scope for all. Otherwise one for each target.
    by_target: Option<Mutex<HashMap<&'static str, ScopeId>>>,
    schema_url: &'static str,
    /// The sink's number in the process, for the callsites' caches.
    number: u32,
}

/// The next station of an ended span.
#[derive(Debug)]
enum Destination {
    /// The processor's queue.
    Queue,
    /// The tail sampler, which holds each local trace until its end.
    Tail(Arc<TailSampler>),
    /// None: the process is a fork of the one with the processor.
    Nowhere,
}

impl SpanSink {
    pub(crate) fn new(
        processor: BatchProcessor,
        name: &str,
        version: &str,
        per_target: bool,
        schema_url: &'static str,
    ) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let common = ScopeFields {
            name,
            version,
            schema_url,
            ..ScopeFields::default()
        };
        Self {
            common: processor.register_scope(common.encode()),
            processor,
            destination: Destination::Queue,
            by_target: per_target.then(Mutex::default),
            schema_url,
            number: NEXT.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// Registers an instrumentation scope; with too many the common one, and `false`.
    #[cfg(feature = "opentelemetry")]
    pub(super) fn register(&self, scope: ScopeFields<'_>) -> (ScopeId, bool) {
        match self.processor.try_register_scope(scope.encode()) {
            Some(scope) => (scope, true),
            None => (self.common, false),
        }
    }

    /// For a fork of the process: spans go nowhere, and take no lock on their way.
    pub(super) fn in_a_fork(&self) -> Self {
        Self {
            processor: self.processor.clone(),
            destination: Destination::Nowhere,
            common: self.common,
            by_target: None,
            schema_url: self.schema_url,
            number: self.number,
        }
    }

    /// Sends spans to `tail` first.
    pub(crate) fn behind(mut self, tail: Option<Arc<TailSampler>>) -> Self {
        if let Some(tail) = tail {
            self.destination = Destination::Tail(tail);
        }
        self
    }

    /// Begins a local trace with an exported span that has none.
    #[inline]
    pub(super) fn begin(&self, identity: &mut Identity) {
        if let Destination::Tail(tail) = &self.destination
            && identity.is_exported()
            && !identity.is_held()
        {
            identity.begin_local(&tail.begin(identity.trace_id));
        }
    }

    /// Takes a sealed span; `end` is a time of the clock, `shard` the calling thread's.
    #[inline]
    pub(super) fn take(&self, span: &OpenSpan, end: u64, shard: usize) {
        let data = TelemetryData {
            scope: span.scope,
            item: &span.body,
        };
        match &self.destination {
            Destination::Queue => {
                let facts = || SheddingFacts {
                    randomness: span.identity.randomness(),
                    goes_last: span.identity.is_local_root()
                        || span.otel_fields.status == StatusCode::Error,
                    has_trace_state: !span.identity.trace_state().is_empty(),
                };
                self.processor.push_at_home(shard, data, facts);
            }
            Destination::Nowhere => self.processor.push_in_a_fork(),
            Destination::Tail(tail) => tail.ended(&EndedSpan {
                trace_id: span.identity.trace_id,
                trace_ref: &span.identity.local(),
                name: span.name(),
                is_error: span.otel_fields.status == StatusCode::Error,
                start: span.state.start,
                end,
                data,
            }),
        }
    }

    /// Counts what an ended span left out.
    #[cold]
    pub(super) fn count_truncated(&self, state: &SpanState, for_memory: u32) {
        let dropped = [
            state.dropped_attributes,
            state.dropped_events,
            state.dropped_links,
        ];
        let dropped = dropped.iter().map(|n| u64::from(*n)).sum();
        let counters = self.processor.counters();
        counters.truncated.fetch_add(dropped, Ordering::Relaxed);
        counters
            .truncated_for_memory
            .fetch_add(u64::from(for_memory), Ordering::Relaxed);
    }

    /// Decides about all held traces: no local root ends any more.
    pub(super) fn close(&self) {
        if let Destination::Tail(tail) = &self.destination {
            tail.close();
        }
    }

    /// The scope of the spans of a callsite.
    #[inline]
    pub(super) fn scope(&self, callsite: &Callsite) -> ScopeId {
        match &self.by_target {
            None => self.common,
            Some(known) => {
                let cached = callsite.scope.of(self.number);
                cached.unwrap_or_else(|| self.scope_of_target(known, callsite))
            }
        }
    }

    /// For a callsite that is new to the sink, or that another pipeline used last.
    #[cold]
    fn scope_of_target(
        &self,
        known: &Mutex<HashMap<&'static str, ScopeId>>,
        callsite: &Callsite,
    ) -> ScopeId {
        let target = callsite.metadata.target();
        let found = lock(known).get(target).copied();
        let Some(scope) = found.or_else(|| self.register_target(target)) else {
            // The bound stays reached.
            callsite.scope.set(self.number, self.common);
            return self.common;
        };
        callsite.scope.set(self.number, scope);
        *lock(known).entry(target).or_insert(scope)
    }

    /// Two threads that register one target get the same scope. `None` with too many: targets made at run
    /// time must not fill the memory.
    fn register_target(&self, target: &str) -> Option<ScopeId> {
        if self.processor.has_all_scopes() {
            return None;
        }
        let scope = ScopeFields {
            name: target,
            schema_url: self.schema_url,
            ..ScopeFields::default()
        };
        self.processor.try_register_scope(scope.encode())
    }
}
