//! What is known once per callsite: encoded keys, the meaning of each field, static attributes.
//!
//! A callsite is prepared when it registers or when its first span or event comes, whichever is
//! first (a layer that was reloaded in, or metadata made by hand, sees spans of callsites that
//! never registered with it). What is prepared depends on the callsite alone, so all layers of the
//! process share it, and it lives as long as the callsite does: for ever.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{PoisonError, RwLock};

use arc_swap::ArcSwapOption;
use once_cell::race::OnceBox;
use tracing_core::Metadata;

use super::attributes::EncodedAttributes;
use super::fields::{FieldRole, is_log_line};
use super::log::LogCallsite;
use crate::attribute::Value;
use crate::diagnostics::METRIC_FIELDS;
use crate::fork::Home;
use crate::semconv;
use crate::sync::Arc;
use crate::wire::field::EncodedKey;
use crate::wire::span::{EVENT_ATTRIBUTE, SPAN_ATTRIBUTE};
use crate::wire::value::put_key_value;

/// A callsite, prepared.
#[derive(Debug)]
pub(crate) struct Callsite {
    pub(crate) metadata: &'static Metadata<'static>,
    /// By field index.
    pub(crate) fields: Box<[Field]>,
    /// Whether an event may say how its span fared, whatever its level.
    pub(super) has_error_field: bool,
    /// Whether the `log` crate's lines come by it: each has a target and a place of its own.
    pub(super) is_log_line: bool,
    /// Two threads may encode them, and nobody waits for one that a fork has left behind.
    extras: [OnceBox<StaticAttributes>; 16],
    /// What its log records need; made when the first comes.
    log: OnceBox<LogCallsite>,
    /// Roots that a sampler dropped since a span of this callsite last got a parent late.
    dropped_roots: AtomicU32,
}

/// After so many dropped roots of a callsite none of which got a parent late, the next ones keep no
/// fields for it: that would cost as much as recording them.
const PATIENCE: u32 = 128;

/// Which attributes beside the fields are wanted, as bits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extras(u8);

impl Extras {
    pub(crate) const fn new(target: bool, location: bool, level: bool) -> Self {
        Self(target as u8 | (location as u8) << 1 | (level as u8) << 2)
    }

    /// Whether none is wanted of any callsite.
    #[inline]
    pub(super) fn are_none(self) -> bool {
        self.0 & 7 == 0
    }

    /// Whether the target is also wanted of what the middleware makes.
    pub(crate) const fn with_own_target(self, is_wanted: bool) -> Self {
        Self(self.0 | (is_wanted as u8) << 3)
    }
}

/// A field of a callsite.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) key: EncodedKey,
    pub(crate) role: FieldRole,
    /// The field's bit among those recorded. Fields of one name share a bit, and so do the 64th
    /// and all after it: a bit that is set says that the key may have been written.
    pub(crate) bit: u64,
}

/// Attributes that are the same for every span of a callsite. One whose key is also a field's is
/// left out: what the application records wins.
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

/// Whether tracing-opentelemetry's `MetricsLayer` takes a field of that name for a metric.
fn is_metric(name: &str) -> bool {
    const PREFIXES: [&str; 4] = ["counter.", "monotonic_counter.", "histogram.", "gauge."];
    PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

impl Callsite {
    fn new(metadata: &'static Metadata<'static>) -> Self {
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
            dropped_roots: AtomicU32::new(0),
        }
    }

    /// Whether a root that its sampler drops may still get a parent that decides otherwise.
    pub(super) fn expects_late_parent(&self) -> bool {
        let dropped = self.dropped_roots.load(Ordering::Relaxed);
        if dropped >= PATIENCE {
            return false;
        }
        // A count lost between two threads does not matter.
        self.dropped_roots.store(dropped + 1, Ordering::Relaxed);
        true
    }

    /// A span of this callsite got its parent late.
    pub(super) fn note_late_parent(&self) {
        self.dropped_roots.store(0, Ordering::Relaxed);
    }

    /// The attributes that are the same for every span or event of the callsite.
    #[inline]
    pub(crate) fn extras(&self, wanted: Extras) -> &StaticAttributes {
        let slot = &self.extras[usize::from(wanted.0 & 15)];
        slot.get_or_init(|| Box::new(self.encode_extras(wanted)))
    }

    /// What log records of the callsite have in common.
    #[inline]
    pub(super) fn log(&self) -> &LogCallsite {
        self.log.get_or_init(|| Box::new(LogCallsite::new(self)))
    }

    #[cold]
    fn encode_extras(&self, Extras(wanted): Extras) -> StaticAttributes {
        let metadata = self.metadata;
        let mut pairs: Vec<(&str, Value)> = Vec::new();
        // Of a log line, target and place are what its fields say.
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

/// Whether the middleware makes it: where that stands says nothing of the application.
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

/// Callsites by the address of their metadata: unlike `Identifier`, it also tells apart metadata
/// made by hand that share one callsite.
#[derive(Default)]
struct Known {
    callsites: RwLock<HashMap<usize, &'static Callsite>>,
    /// A fork of this process prepares its callsites anew: the lock may be held by a thread that did
    /// not come along. `None`: no fork can be noticed.
    home: Option<Home>,
}

static KNOWN: ArcSwapOption<Known> = ArcSwapOption::const_empty();

fn known() -> Arc<Known> {
    let is_ours = |known: &Arc<Known>| !known.home.as_ref().is_some_and(Home::is_left);
    loop {
        let current = KNOWN.load();
        if let Some(known) = current.as_ref().filter(|known| is_ours(known)) {
            return Arc::clone(known);
        }
        let new = Known {
            home: Home::here().ok(),
            ..Known::default()
        };
        // Whoever comes second takes what the first one made.
        KNOWN.compare_and_swap(&current, Some(Arc::new(new)));
    }
}

/// Sets of the cache below, and the bits that number them.
const SETS: usize = 1 << SET_BITS;
const SET_BITS: u32 = 6;

type Slot = Cell<Option<&'static Callsite>>;

thread_local! {
    /// Recently used callsites of this thread. Two to a set, or two that fall into the same place
    /// and take turns would be looked up in the table every time.
    static RECENT: [[Slot; 2]; SETS] = const { [const { [const { Cell::new(None) }; 2] }; SETS] };
}

/// The prepared callsite of `metadata`.
#[inline]
pub(crate) fn of(metadata: &'static Metadata<'static>) -> &'static Callsite {
    let address = std::ptr::from_ref(metadata) as u64;
    // The high bits of a product depend on all bits of the address.
    let set = address.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - SET_BITS);
    RECENT.with(|recent| {
        let [first, second] = &recent[set as usize % SETS];
        match first.get() {
            Some(known) if std::ptr::eq(known.metadata, metadata) => known,
            other => {
                let known = match second.get() {
                    Some(known) if std::ptr::eq(known.metadata, metadata) => known,
                    _ => prepare(metadata),
                };
                second.set(other);
                first.set(Some(known));
                known
            }
        }
    })
}

#[cold]
#[inline(never)]
fn prepare(metadata: &'static Metadata<'static>) -> &'static Callsite {
    let known = known();
    let address = std::ptr::from_ref(metadata) as usize;
    let found = known
        .callsites
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .get(&address)
        .copied();
    // Nothing foreign runs under the lock: preparing reads metadata only.
    found.unwrap_or_else(|| {
        known
            .callsites
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(address)
            .or_insert_with(|| Box::leak(Box::new(Callsite::new(metadata))))
    })
}
