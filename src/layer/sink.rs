//! [`SpanSink`]: takes ended spans to the processor, under their instrumentation scope, or first to a
//! tail sampler.

use std::collections::HashMap;

use super::identity::Identity;
use super::span::{OpenSpan, SpanState};
use crate::processor::{BatchProcessor, ScopeId, TelemetryData};
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
            span: &span.body,
        };
        match &self.destination {
            Destination::Queue => self.processor.push_at_home(shard, data),
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
            .shed
            .fetch_add(u64::from(for_memory), Ordering::Relaxed);
    }

    /// Decides about all held traces: no local root ends any more.
    pub(super) fn close(&self) {
        if let Destination::Tail(tail) = &self.destination {
            tail.close();
        }
    }

    /// The scope of a span with this target.
    #[inline]
    pub(super) fn scope(&self, target: &'static str) -> ScopeId {
        match &self.by_target {
            None => self.common,
            Some(known) => self.scope_of_target(known, target),
        }
    }

    fn scope_of_target(
        &self,
        known: &Mutex<HashMap<&'static str, ScopeId>>,
        target: &'static str,
    ) -> ScopeId {
        if let Some(scope) = lock(known).get(target) {
            return *scope;
        }
        // The number of scopes is bounded: targets made at run time must not fill the memory.
        if self.processor.has_all_scopes() {
            return self.common;
        }
        // Registered without this lock. Two threads that register one target get the same scope.
        let scope = ScopeFields {
            name: target,
            schema_url: self.schema_url,
            ..ScopeFields::default()
        };
        let scope = self.processor.try_register_scope(scope.encode());
        let Some(scope) = scope else {
            return self.common;
        };
        *lock(known).entry(target).or_insert(scope)
    }
}
