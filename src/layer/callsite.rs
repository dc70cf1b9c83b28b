//! [`Callsite`]: encoded keys, field roles and static attributes, made once per callsite.
//!
//! A callsite is prepared at its registration or at its first span or event. The second is needed for a
//! layer that a reload brought in, and for metadata made by hand, which never register. The result
//! depends on the callsite alone, so all layers of the process share it, and it is never freed, as
//! callsites are not.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use once_cell::race::OnceBox;
use tracing_core::Metadata;

use super::attributes::EncodedAttributes;
use super::fields::{FieldRole, is_log_line};
use super::log::LogCallsite;
use crate::attribute::Value;
use crate::diagnostics::METRIC_FIELDS;
use crate::processor::ScopeId;
use crate::semconv;
use crate::wire::field::EncodedKey;
use crate::wire::span::{EVENT_ATTRIBUTE, SPAN_ATTRIBUTE};
use crate::wire::value::put_key_value;

/// A callsite, prepared.
#[derive(Debug)]
pub(crate) struct Callsite {
    pub(crate) metadata: &'static Metadata<'static>,
    /// By field index.
    pub(crate) fields: Box<[Field]>,
    /// Whether it has a field `error`, which may set the span's status at any level.
    pub(super) has_error_field: bool,
    /// Whether it emits lines of the `log` crate, each with its own target and source location.
    pub(super) is_log_line: bool,
    /// By the bits of [`Extras`]. Two threads may encode the same; a `OnceBox` never waits, so a thread
    /// that is lost in a fork blocks no one.
    extras: [OnceBox<StaticAttributes>; 16],
    /// The part for log records, made with the first.
    log: OnceBox<LogCallsite>,
    /// The scope of its target.
    pub(super) scope: CachedScope,
    /// Roots that a sampler dropped since the last late parent of a span of this callsite.
    dropped_roots: AtomicU32,
}

/// After so many dropped roots of a callsite without a late parent, the next ones keep no fields for
/// one: that costs as much as recording them.
const MAX_ROOTS_WITHOUT_PARENT: u32 = 128;

/// The attributes that the layer adds to the fields, as bits: target, location, level, and the target
/// of the middleware's callsites.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extras(u8);

impl Extras {
    pub(crate) const fn new(target: bool, location: bool, level: bool) -> Self {
        Self(target as u8 | (location as u8) << 1 | (level as u8) << 2)
    }

    /// Whether no callsite gets any.
    #[inline]
    pub(super) fn are_none(self) -> bool {
        self.0 & 7 == 0
    }

    /// Whether the middleware's spans and events get the target too.
    pub(crate) const fn with_own_target(self, is_wanted: bool) -> Self {
        Self(self.0 | (is_wanted as u8) << 3)
    }
}

/// The scope of a callsite's target in the sink that used it last. Sink number and scope id share one word,
/// so that a reader never combines the sink of one write with the scope of another.
#[derive(Debug)]
pub(super) struct CachedScope(AtomicU64);

impl Default for CachedScope {
    fn default() -> Self {
        Self(AtomicU64::new(u64::MAX))
    }
}

impl CachedScope {
    /// The scope, if `sink` used it last.
    #[inline]
    pub(super) fn of(&self, sink: u32) -> Option<ScopeId> {
        let cached = self.0.load(Ordering::Relaxed);
        ((cached >> 32) as u32 == sink).then_some(ScopeId(cached as u32))
    }

    pub(super) fn set(&self, sink: u32, scope: ScopeId) {
        let cached = u64::from(sink) << 32 | u64::from(scope.0);
        self.0.store(cached, Ordering::Relaxed);
    }
}

/// A field of a callsite.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) key: EncodedKey,
    pub(crate) role: FieldRole,
    /// The field's bit among those written. Fields of one name share a bit, and so do the 64th and all
    /// later fields. So a clear bit means that the key is absent, a set bit that it may be present.
    pub(crate) bit: u64,
}

/// Attributes that are the same for every span of a callsite. A key that is also a field's is left out:
/// the application's value wins.
#[derive(Debug, Default)]
pub(crate) struct StaticAttributes {
    pub(crate) bytes: Box<[u8]>,
    pub(crate) count: u32,
}

impl StaticAttributes {
    pub(super) fn encoded(&self) -> EncodedAttributes<'_> {
        EncodedAttributes {
            bytes: &self.bytes,
            recorded: 0,
            dynamic: false,
            count: self.count,
            dropped: 0,
        }
    }
}

/// Whether tracing-opentelemetry's `MetricsLayer` reads a field of that name as a metric.
fn is_metric(name: &str) -> bool {
    const PREFIXES: [&str; 4] = ["counter.", "monotonic_counter.", "histogram.", "gauge."];
    PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

impl Callsite {
    pub(super) fn new(metadata: &'static Metadata<'static>) -> Self {
        let tag = if metadata.is_span() {
            SPAN_ATTRIBUTE
        } else {
            EVENT_ATTRIBUTE
        };
        let names: Vec<&str> = metadata.fields().iter().map(|f| f.name()).collect();
        if metadata.is_event() && names.iter().any(|name| is_metric(name)) {
            METRIC_FIELDS.notice();
        }
        let is_log_line = is_log_line(metadata);
        let fields = names
            .iter()
            .enumerate()
            .map(|(i, name)| {
                let first = names.iter().position(|n| n == name).unwrap_or(i);
                let (role, key) = match is_log_line {
                    true => FieldRole::of_log_line(name),
                    false => (FieldRole::of(name, metadata.is_span()), *name),
                };
                Field {
                    key: EncodedKey::new(tag, key),
                    role,
                    bit: 1 << first.min(63),
                }
            })
            .collect();
        Self {
            metadata,
            has_error_field: names.contains(&"error"),
            fields,
            is_log_line,
            extras: Default::default(),
            log: OnceBox::new(),
            scope: CachedScope::default(),
            dropped_roots: AtomicU32::new(0),
        }
    }

    /// Whether a root that its sampler drops keeps its fields for a late parent.
    pub(super) fn expects_late_parent(&self) -> bool {
        let dropped = self.dropped_roots.load(Ordering::Relaxed);
        if dropped >= MAX_ROOTS_WITHOUT_PARENT {
            return false;
        }
        // Not one atomic step: two threads may lose a count, which only delays the limit.
        self.dropped_roots.store(dropped + 1, Ordering::Relaxed);
        true
    }

    /// Notes a late parent of a span of this callsite.
    pub(super) fn note_late_parent(&self) {
        self.dropped_roots.store(0, Ordering::Relaxed);
    }

    /// The attributes that are the same for every span or event of the callsite.
    #[inline]
    pub(crate) fn extras(&self, wanted: Extras) -> &StaticAttributes {
        let slot = &self.extras[usize::from(wanted.0 & 15)];
        slot.get_or_init(|| Box::new(self.encode_extras(wanted)))
    }

    /// The part for log records.
    #[inline]
    pub(super) fn log(&self) -> &LogCallsite {
        self.log.get_or_init(|| Box::new(LogCallsite::new(self)))
    }

    #[cold]
    fn encode_extras(&self, Extras(wanted): Extras) -> StaticAttributes {
        let metadata = self.metadata;
        let mut pairs: Vec<(&str, Value)> = Vec::new();
        // A log line has target and location in its fields.
        let has_target = match is_ours(metadata) {
            true => wanted & 9 == 9,
            false => wanted & 1 != 0 && !self.is_log_line,
        };
        if has_target {
            pairs.push(("target", metadata.target().to_owned().into()));
        }
        if wanted & 2 != 0 && !is_ours(metadata) {
            let file = metadata
                .file()
                .map(|f| (semconv::CODE_FILE_PATH, f.to_owned().into()));
            pairs.extend(file);
            pairs.extend(
                metadata
                    .line()
                    .map(|l| (semconv::CODE_LINE_NUMBER, l.into())),
            );
        }
        if wanted & 4 != 0 {
            pairs.push(("level", metadata.level().as_str().into()));
        }
        let is_field = |key: &str| metadata.fields().iter().any(|f| f.name() == key);
        let mut out = Vec::new();
        let mut count = 0;
        for (key, value) in pairs.iter().filter(|(key, _)| !is_field(key)) {
            put_key_value(&mut out, attribute_tag(metadata), key, value);
            count += 1;
        }
        StaticAttributes {
            bytes: out.into(),
            count,
        }
    }
}

/// Whether the callsite is in this crate's middleware: its location says nothing about the application.
pub(super) fn is_ours(metadata: &Metadata<'_>) -> bool {
    let module = metadata.module_path();
    module
        .is_some_and(|module| module.starts_with(concat!(env!("CARGO_CRATE_NAME"), "::middleware")))
}

fn attribute_tag(metadata: &Metadata<'_>) -> u8 {
    if metadata.is_span() {
        SPAN_ATTRIBUTE
    } else {
        EVENT_ATTRIBUTE
    }
}
