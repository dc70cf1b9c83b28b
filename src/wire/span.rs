//! `Span`, `Span.Event`, `Span.Link` and `Status`, field by field.
//!
//! Protobuf lets fields come in any order and repeated fields interleave: attributes, events and
//! links are appended as they happen, the rest when the span ends.

use super::reader::Delimited;
use super::value::KEY;
use super::varint::{self, FIXED64, LEN, VARINT, tag};
/// `Span.kind`
pub(crate) use crate::span_data::SpanKind as Kind;

/// `Span.attributes`
pub(crate) const SPAN_ATTRIBUTE: u8 = tag(9, LEN);
/// `Span.events`
pub(crate) const SPAN_EVENT: u8 = tag(11, LEN);
/// `Span.links`
pub(crate) const SPAN_LINK: u8 = tag(13, LEN);
/// `Event.attributes`
pub(crate) const EVENT_ATTRIBUTE: u8 = tag(3, LEN);

/// `Link.attributes`
pub(crate) const LINK_ATTRIBUTE: u8 = tag(4, LEN);

const SPAN_TRACE_ID: u8 = tag(1, LEN);
const SPAN_ID: u8 = tag(2, LEN);
const SPAN_PARENT_ID: u8 = tag(4, LEN);
const SPAN_KIND: u8 = tag(6, VARINT);
const SPAN_START: u8 = tag(7, FIXED64);
const SPAN_END: u8 = tag(8, FIXED64);
/// `Span.flags` is field 16, whose tag takes two bytes: 16 << 3 | fixed32.
const SPAN_FLAGS: [u8; 2] = [0x85, 0x01];
const SPAN_TRACE_STATE: u8 = tag(3, LEN);
const SPAN_NAME: u8 = tag(5, LEN);
const SPAN_DROPPED_ATTRIBUTES: u8 = tag(10, VARINT);
const SPAN_DROPPED_EVENTS: u8 = tag(12, VARINT);
const SPAN_DROPPED_LINKS: u8 = tag(14, VARINT);
const SPAN_STATUS: u8 = tag(15, LEN);
const STATUS_MESSAGE: u8 = tag(2, LEN);
const STATUS_CODE: u8 = tag(3, VARINT);
const EVENT_TIME: u8 = tag(1, FIXED64);
const EVENT_NAME: u8 = tag(2, LEN);
const EVENT_DROPPED_ATTRIBUTES: u8 = tag(4, VARINT);
const LINK_TRACE_ID: u8 = tag(1, LEN);
const LINK_SPAN_ID: u8 = tag(2, LEN);
const LINK_TRACE_STATE: u8 = tag(3, LEN);
const LINK_DROPPED_ATTRIBUTES: u8 = tag(5, VARINT);

/// `SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK`
const HAS_IS_REMOTE: u32 = 0x100;
/// `SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK`
const IS_REMOTE: u32 = 0x200;

/// `Status.code`, in the order of precedence of TR-7 when compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) enum StatusCode {
    #[default]
    Unset,
    Error,
    Ok,
}

impl StatusCode {
    fn number(self) -> u8 {
        match self {
            Self::Unset => 0,
            Self::Ok => 1,
            Self::Error => 2,
        }
    }
}

/// The fields of a span that are written at its end.
#[derive(Debug)]
pub(crate) struct SpanHead<'a> {
    pub(crate) trace_id: [u8; 16],
    pub(crate) span_id: [u8; 8],
    /// All zeros for a root.
    pub(crate) parent_id: [u8; 8],
    pub(crate) parent_is_remote: bool,
    /// The flags of W3C's `traceparent`.
    pub(crate) flags: u8,
    pub(crate) trace_state: &'a str,
    pub(crate) name: &'a str,
    pub(crate) kind: Kind,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) status: StatusCode,
    pub(crate) status_message: &'a str,
    pub(crate) dropped_attributes: u32,
    pub(crate) dropped_events: u32,
    pub(crate) dropped_links: u32,
}

/// Appends the fields of `Span` that are not repeated.
#[inline(always)]
pub(crate) fn put_head(out: &mut Vec<u8>, head: &SpanHead<'_>) {
    const FIXED: usize = 54;
    let remote = if head.parent_is_remote { IS_REMOTE } else { 0 };
    let flags = u32::from(head.flags) | HAS_IS_REMOTE | remote;
    let mut fixed = [0u8; FIXED + 10];
    fixed[..2].copy_from_slice(&[SPAN_TRACE_ID, 16]);
    fixed[2..18].copy_from_slice(&head.trace_id);
    fixed[18..20].copy_from_slice(&[SPAN_ID, 8]);
    fixed[20..28].copy_from_slice(&head.span_id);
    fixed[28] = SPAN_START;
    fixed[29..37].copy_from_slice(&head.start.to_le_bytes());
    fixed[37] = SPAN_END;
    fixed[38..46].copy_from_slice(&head.end.to_le_bytes());
    fixed[46..48].copy_from_slice(&[SPAN_KIND, head.kind as u8]);
    fixed[48..50].copy_from_slice(&SPAN_FLAGS);
    fixed[50..FIXED].copy_from_slice(&flags.to_le_bytes());
    fixed[FIXED..FIXED + 2].copy_from_slice(&[SPAN_PARENT_ID, 8]);
    fixed[FIXED + 2..].copy_from_slice(&head.parent_id);
    // A constant size, so the copy needs no call.
    out.extend_from_slice(&fixed);
    if head.parent_id == [0; 8] {
        out.truncate(out.len() - 10);
    }
    varint::put_bytes(out, SPAN_NAME, head.name.as_bytes());
    let dropped = [
        head.dropped_attributes,
        head.dropped_events,
        head.dropped_links,
    ];
    let status = (head.status, head.status_message);
    put_rest(out, head.trace_state, dropped, status);
}

/// Appends the rare fields.
#[inline(always)]
pub(crate) fn put_rest(
    out: &mut Vec<u8>,
    trace_state: &str,
    dropped: [u32; 3],
    (status, message): (StatusCode, &str),
) {
    if !trace_state.is_empty() {
        varint::put_bytes(out, SPAN_TRACE_STATE, trace_state.as_bytes());
    }
    let [attributes, events, links] = dropped;
    put_dropped_counts(out, attributes, events, links);
    if status != StatusCode::Unset {
        put_status(out, status, message);
    }
}

/// The numbers of dropped attributes, events and links.
pub(super) const DROPPED_COUNTS: [u8; 3] = [
    SPAN_DROPPED_ATTRIBUTES,
    SPAN_DROPPED_EVENTS,
    SPAN_DROPPED_LINKS,
];

/// Appends the numbers of dropped attributes, events and links.
#[inline]
pub(super) fn put_dropped_counts(out: &mut Vec<u8>, attributes: u32, events: u32, links: u32) {
    put_count(out, SPAN_DROPPED_ATTRIBUTES, attributes);
    put_count(out, SPAN_DROPPED_EVENTS, events);
    put_count(out, SPAN_DROPPED_LINKS, links);
}

/// The message is written only for an error (TR-7).
fn put_status(out: &mut Vec<u8>, code: StatusCode, message: &str) {
    let message = if code == StatusCode::Error {
        message
    } else {
        ""
    };
    let mut len = 2;
    if !message.is_empty() {
        len += 1 + varint::len(message.len() as u64) + message.len();
    }
    out.push(SPAN_STATUS);
    varint::put(out, len as u64);
    out.extend_from_slice(&[STATUS_CODE, code.number()]);
    if !message.is_empty() {
        varint::put_bytes(out, STATUS_MESSAGE, message.as_bytes());
    }
}

#[inline]
fn put_count(out: &mut Vec<u8>, tag: u8, count: u32) {
    if count > 0 {
        out.push(tag);
        varint::put(out, u64::from(count));
    }
}

/// Appends an event's time.
#[inline]
pub(crate) fn put_event_time(out: &mut Vec<u8>, unix_nanos: u64) {
    let mut field = [EVENT_TIME; 9];
    field[1..].copy_from_slice(&unix_nanos.to_le_bytes());
    out.extend_from_slice(&field);
}

/// Appends an event's name.
#[inline]
pub(crate) fn put_event_name(out: &mut Vec<u8>, name: &str) {
    varint::put_bytes(out, EVENT_NAME, name.as_bytes());
}

/// Appends an event's count of dropped attributes.
#[inline]
pub(crate) fn put_event_dropped(out: &mut Vec<u8>, count: u32) {
    put_count(out, EVENT_DROPPED_ATTRIBUTES, count);
}

/// The length of an event with this name and its time alone.
pub(crate) const EVENT_NAME_TAG: u8 = EVENT_NAME;

/// Appends the content of a `Link`.
pub(crate) fn put_link(
    out: &mut Vec<u8>,
    trace_id: [u8; 16],
    span_id: [u8; 8],
    trace_state: &str,
    flags: u8,
    is_remote: bool,
) {
    let remote = if is_remote { IS_REMOTE } else { 0 };
    let flags = u32::from(flags) | HAS_IS_REMOTE | remote;
    varint::put_bytes(out, LINK_TRACE_ID, &trace_id);
    varint::put_bytes(out, LINK_SPAN_ID, &span_id);
    if !trace_state.is_empty() {
        varint::put_bytes(out, LINK_TRACE_STATE, trace_state.as_bytes());
    }
    out.push(tag(6, varint::FIXED32));
    out.extend_from_slice(&flags.to_le_bytes());
}

/// Appends a link's count of dropped attributes.
pub(crate) fn put_link_dropped(out: &mut Vec<u8>, count: u32) {
    put_count(out, LINK_DROPPED_ATTRIBUTES, count);
}

/// The range of the attribute with this key in `body`, a sequence of repeated fields of `Span`.
pub(crate) fn find_attribute(body: &[u8], tag: u8, key: &[u8]) -> Option<std::ops::Range<usize>> {
    let mut row = Delimited::new(body);
    loop {
        let start = body.len() - row.rest().len();
        let (found, field) = row.next()?;
        if found == tag && has_key(field, key) {
            return Some(start..body.len() - row.rest().len());
        }
    }
}

/// Whether a `KeyValue` that we wrote, key first, has this key. Keys of one length often begin alike, so the
/// last byte is compared first.
#[inline(always)]
fn has_key(content: &[u8], key: &[u8]) -> bool {
    match content.split_first_chunk() {
        Some((&[KEY, len], rest)) if len < 0x80 => {
            let len = usize::from(len);
            len == key.len() && rest.get(len.wrapping_sub(1)) == key.last() && rest.starts_with(key)
        }
        _ => key_of(content) == Some(key),
    }
}

/// The key of a `KeyValue` that we wrote, key first.
#[inline]
pub(crate) fn key_of(field: &[u8]) -> Option<&[u8]> {
    match Delimited::new(field).next()? {
        (KEY, key) => Some(key),
        _ => None,
    }
}

/// The fields in a row of repeated length-delimited fields: tag, content, whole.
pub(crate) fn fields(body: &[u8]) -> impl Iterator<Item = (u8, &[u8], &[u8])> {
    let mut row = Delimited::new(body);
    std::iter::from_fn(move || {
        let left = row.rest();
        let (tag, content) = row.next()?;
        Some((tag, content, &left[..left.len() - row.rest().len()]))
    })
}
