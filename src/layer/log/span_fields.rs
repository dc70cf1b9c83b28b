//! Fields of an event's surrounding spans on its log record (LOG-62).
//!
//! The encoded bytes are copied from the spans' buffers, without formatting. For one key the event's
//! value wins over a span's, and an inner span's over an outer one's.

use super::super::attributes::AttributeWriter;
use super::super::span::OpenSpan;
use crate::config::SpanFields;
use crate::semconv;
use crate::wire::log_record::LOG_ATTRIBUTE;
use crate::wire::span::{SPAN_ATTRIBUTE, fields, find_attribute, key_of};

/// Attributes that the layer adds to spans; they are no fields.
const ADDED: [&[u8]; 8] = [
    b"target",
    b"level",
    b"busy_ns",
    b"idle_ns",
    semconv::CODE_FILE_PATH.as_bytes(),
    semconv::CODE_LINE_NUMBER.as_bytes(),
    semconv::THREAD_ID.as_bytes(),
    semconv::THREAD_NAME.as_bytes(),
];

/// Copies the wanted fields of a span whose keys are absent. Called under the span's lock.
pub(super) fn copy(wanted: &SpanFields, span: &OpenSpan, to: &mut AttributeWriter<'_>) {
    for (tag, content, whole) in fields(&span.body) {
        let Some(key) = key_of(content).filter(|_| tag == SPAN_ATTRIBUTE) else {
            continue;
        };
        let is_wanted = match wanted {
            SpanFields::None => false,
            SpanFields::All => !ADDED.contains(&key),
            SpanFields::Named(names) => names.iter().any(|name| name.as_bytes() == key),
        };
        if is_wanted && find_attribute(to.mine(), LOG_ATTRIBUTE, key).is_none() {
            to.put_copy(whole);
        }
    }
}
