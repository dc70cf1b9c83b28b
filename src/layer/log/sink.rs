//! [`LogSink`]: takes log records to their processor.

use std::collections::HashMap;
use std::sync::atomic::AtomicU32;

use tracing_core::{Level, LevelFilter};

use super::callsite::LogCallsite;
use crate::config::{EventRule, Events, LogLimits, OtlpConfig, SpanFields};
use crate::pool::{preferred_shard, shard_count};
use crate::processor::{BatchProcessor, ScopeId, TelemetryData};
use crate::sync::{Arc, AtomicU64, CachePadded, Mutex, Ordering, lock};
use crate::wire::bounded::ValueLimit;
use crate::wire::request::ScopeFields;

/// Takes log records to a processor, under the scopes of their targets (LOG-56).
pub(crate) struct LogSink {
    pub(in crate::layer) processor: BatchProcessor,
    pub(super) events: Events,
    pub(super) rules: Box<[EventRule]>,
    /// Of exceptions that this crate records.
    pub(super) exceptions: Events,
    /// Events in unsampled spans become records up to this level.
    unsampled: LevelFilter,
    /// The same of traces that are sampled, and that tail sampling may drop.
    undecided: LevelFilter,
    pub(super) span_fields: SpanFields,
    pub(super) value_limit: ValueLimit,
    pub(super) attributes: u32,
    /// Whether one visit serves record and span event: both have the same limits.
    pub(super) is_one_visit: bool,
    pub(in crate::layer) emitted: ShardedCounter,
    /// Number in the process, for [`LogCallsite::scope`].
    number: u32,
    /// The scope of targets beyond the bound, without a name.
    pub(super) common: ScopeId,
    /// Registered scopes by target.
    by_target: Mutex<HashMap<Box<str>, ScopeId>>,
    schema_url: &'static str,
}

/// Counts emitted records, with a counter per shard so that threads rarely share one.
#[derive(Debug)]
pub(in crate::layer) struct ShardedCounter(Box<[CachePadded<AtomicU64>]>);

impl Default for ShardedCounter {
    fn default() -> Self {
        let counters = (0..shard_count()).map(|_| CachePadded::default());
        Self(counters.collect())
    }
}

impl ShardedCounter {
    #[inline]
    pub(super) fn count(&self) {
        if let Some(counter) = self.0.get(preferred_shard() & (self.0.len() - 1)) {
            counter.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(in crate::layer) fn sum(&self) -> u64 {
        self.0.iter().map(|c| c.0.load(Ordering::Relaxed)).sum()
    }
}

impl LogSink {
    pub(crate) fn new(
        processor: BatchProcessor,
        config: &OtlpConfig,
        schema_url: &'static str,
    ) -> Arc<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (spans, has_tail) = (&config.limits, config.tail.is_some());
        let config = &config.logs;
        let undecided = match has_tail {
            true => config.undecided,
            false => LevelFilter::TRACE,
        };
        let LogLimits {
            attribute_value_length_limit: length,
            attribute_count_limit: count,
        } = config.limits;
        let unnamed = ScopeFields {
            schema_url,
            ..ScopeFields::default()
        };
        Arc::new(Self {
            common: processor.register_scope(unnamed.encode()),
            processor,
            events: config.events,
            rules: config.event_rules.clone().into(),
            exceptions: config.exceptions,
            unsampled: config.unsampled,
            undecided,
            span_fields: config.span_fields.clone(),
            value_limit: ValueLimit {
                length: length.unwrap_or(usize::MAX),
            },
            attributes: u32::try_from(count).unwrap_or(u32::MAX),
            is_one_visit: length == spans.attribute_value_length_limit
                && count == spans.attributes_per_event_limit,
            emitted: ShardedCounter::default(),
            number: NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed),
            by_target: Mutex::default(),
            schema_url,
        })
    }

    /// Whether a record of this level in a sampled, or an unsampled, trace is wanted.
    #[inline]
    pub(super) fn takes(&self, level: Level, is_sampled: bool) -> bool {
        level
            <= match is_sampled {
                true => self.undecided,
                false => self.unsampled,
            }
    }

    /// The sink of a fork of the process: it drops records, and takes no lock of the parent's.
    pub(in crate::layer) fn in_a_fork(&self) -> Self {
        Self {
            processor: self.processor.clone(),
            events: self.events,
            rules: self.rules.clone(),
            exceptions: self.exceptions,
            unsampled: self.unsampled,
            undecided: self.undecided,
            span_fields: self.span_fields.clone(),
            value_limit: self.value_limit,
            attributes: self.attributes,
            is_one_visit: self.is_one_visit,
            emitted: ShardedCounter::default(),
            number: u32::MAX,
            common: self.common,
            by_target: Mutex::default(),
            schema_url: self.schema_url,
        }
    }

    /// The scope of a callsite's target; with too many the common one, and `false`.
    #[inline]
    pub(super) fn scope_of(&self, callsite: &LogCallsite, target: &str) -> (ScopeId, bool) {
        match callsite.scope.of(self.number) {
            Some(scope) => (scope, true),
            None => self.scope_of_new(callsite, target),
        }
    }

    /// For a callsite that is new to the sink, or that another pipeline used last.
    #[cold]
    fn scope_of_new(&self, callsite: &LogCallsite, target: &str) -> (ScopeId, bool) {
        let (scope, is_named) = self.scope_of_target(target);
        if is_named {
            callsite.scope.set(self.number, scope);
        }
        (scope, is_named)
    }

    /// The scope of a target without a callsite's cache.
    pub(super) fn scope_of_target(&self, target: &str) -> (ScopeId, bool) {
        if let Some(scope) = lock(&self.by_target).get(target) {
            return (*scope, true);
        }
        let (scope, is_named) = self.register(target);
        if is_named {
            lock(&self.by_target).insert(target.into(), scope);
        }
        (scope, is_named)
    }

    fn register(&self, target: &str) -> (ScopeId, bool) {
        if self.processor.is_forked() || self.processor.has_all_scopes() {
            return (self.common, false);
        }
        let scope = ScopeFields {
            name: target,
            schema_url: self.schema_url,
            ..ScopeFields::default()
        };
        match self.processor.try_register_scope(scope.encode()) {
            Some(scope) => (scope, true),
            None => (self.common, false),
        }
    }

    /// Hands a record to the processor, and counts the attributes that it left out.
    #[inline]
    pub(super) fn push(&self, scope: ScopeId, record: &[u8], dropped: u32, for_memory: u32) {
        if dropped | for_memory != 0 {
            self.count_truncated(dropped, for_memory);
        }
        self.processor.push_log(TelemetryData {
            scope,
            item: record,
        });
    }

    #[cold]
    fn count_truncated(&self, dropped: u32, for_memory: u32) {
        if let Some(counters) = self.processor.log_counters() {
            counters
                .truncated
                .fetch_add(u64::from(dropped), Ordering::Relaxed);
            counters
                .truncated_for_memory
                .fetch_add(u64::from(for_memory), Ordering::Relaxed);
        }
    }
}
