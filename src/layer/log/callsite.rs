//! [`LogCallsite`]: the parts that all log records of a callsite share.

use tracing_core::{Level, Metadata};

use super::super::callsite::{CachedScope, Callsite, Field, StaticAttributes, is_ours};
use super::super::fields::FieldRole;
use crate::attribute::Value;
use crate::semconv;
use crate::wire::field::EncodedKey;
use crate::wire::log_record::{LOG_ATTRIBUTE, put_event_name, put_severity};
use crate::wire::value::put_key_value;

/// The part of a callsite that only log records need.
#[derive(Debug)]
pub(crate) struct LogCallsite {
    /// Encoded severity.
    pub(super) head: Box<[u8]>,
    /// By field index.
    pub(super) fields: Box<[Field]>,
    /// The encoded event name, if code names the event (LOG-54); else empty.
    pub(super) event_name: Box<[u8]>,
    /// The source location.
    pub(super) location: StaticAttributes,
    /// Whether it has `exception.*` fields of its own (LOG-60).
    pub(super) has_exception: bool,
    /// The scope of its target.
    pub(super) scope: CachedScope,
}

impl LogCallsite {
    pub(in crate::layer) fn new(callsite: &Callsite) -> Self {
        let metadata = callsite.metadata;
        let names: Vec<&str> = metadata.fields().iter().map(|f| f.name()).collect();
        let fields = names.iter().zip(&callsite.fields).map(|(name, field)| {
            let (role, key) = match callsite.is_log_line {
                true => FieldRole::of_log_line(name),
                false => (FieldRole::of_log_field(name), *name),
            };
            Field {
                key: EncodedKey::new(LOG_ATTRIBUTE, key),
                role,
                bit: field.bit,
            }
        });
        let mut head = Vec::new();
        let (number, text) = severity(*metadata.level());
        put_severity(&mut head, number, text);
        let mut event_name = Vec::new();
        if is_named(metadata) && !callsite.is_log_line {
            put_event_name(&mut event_name, metadata.name());
        }
        Self {
            head: head.into(),
            fields: fields.collect(),
            event_name: event_name.into(),
            location: location(metadata, callsite.is_log_line),
            has_exception: names
                .iter()
                .any(|n| [semconv::EXCEPTION_MESSAGE, semconv::EXCEPTION_STACKTRACE].contains(n)),
            scope: CachedScope::default(),
        }
    }
}

/// The smallest number of the level's range, and its name (LOG-1).
fn severity(level: Level) -> (u8, &'static str) {
    let number = match level {
        Level::TRACE => 1,
        Level::DEBUG => 5,
        Level::INFO => 9,
        Level::WARN => 13,
        Level::ERROR => 17,
    };
    (number, level.as_str())
}

/// Whether code names the event: `event src/x.rs:12` is the default name of tracing.
fn is_named(metadata: &Metadata<'_>) -> bool {
    let Some(place) = metadata.name().strip_prefix("event ") else {
        return true;
    };
    let (Some(file), Some(line)) = (metadata.file(), metadata.line()) else {
        return !place.contains(':');
    };
    let rest = place.strip_prefix(file).and_then(|r| r.strip_prefix(':'));
    rest.and_then(|rest| rest.parse().ok()) != Some(line)
}

/// The source location as attributes, without keys that are also fields'; empty for a line of the `log`
/// crate, which has its location in fields.
fn location(metadata: &Metadata<'_>, is_log_line: bool) -> StaticAttributes {
    let mut out = StaticAttributes::default();
    if is_log_line || is_ours(metadata) {
        return out;
    }
    let file = metadata
        .file()
        .map(|f| (semconv::CODE_FILE_PATH, Value::from(f.to_owned())));
    let line = metadata
        .line()
        .map(|l| (semconv::CODE_LINE_NUMBER, Value::from(l)));
    let mut bytes = Vec::new();
    let is_field = |key: &str| metadata.fields().iter().any(|f| f.name() == key);
    for (key, value) in file.into_iter().chain(line) {
        if !is_field(key) {
            put_key_value(&mut bytes, LOG_ATTRIBUTE, key, &value);
            out.count += 1;
        }
    }
    out.bytes = bytes.into();
    out
}
