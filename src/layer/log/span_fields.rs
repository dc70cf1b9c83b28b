//! Fields of the spans around an event, on its log record (LOG-62).
//!
//! They are copied from the spans' buffers, encoded as they are: nothing is formatted again. What an
//! inner span says wins over an outer one, and what the event says over both.

use super::super::attributes::AttributeWriter;
use super::super::span::OpenSpan;
use crate::config::SpanFields;
use crate::semconv;
use crate::wire::log_record::LOG_ATTRIBUTE;
use crate::wire::span::{SPAN_ATTRIBUTE, fields, find_attribute, key_of};

/// What the layer adds to spans by itself, and no field.
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

/// Copies the fields of a span that are wanted and not there yet. Called under the span's lock.
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
