//! Framing: encoded items (spans or log records) behind an encoded scope and resource become a request. The
//! messages of both signals have the same field numbers, so the names here are those of spans.

use bytes::{Bytes, BytesMut};

use super::reader::Delimited;
use super::value::put_key_value;
use super::varint::{self, LEN, tag};
use crate::attribute::KeyValue;

/// `ExportTraceServiceRequest.resource_spans`
const RESOURCE_SPANS: u8 = tag(1, LEN);
/// `ResourceSpans.scope_spans`
const SCOPE_SPANS: u8 = tag(2, LEN);
/// `ScopeSpans.spans`, `ScopeLogs.log_records`
pub(crate) const ITEMS: u8 = tag(2, LEN);

/// `ScopeSpans.scope`
const SCOPE: u8 = tag(1, LEN);
/// `ScopeSpans.schema_url`
const SCOPE_SCHEMA_URL: u8 = tag(3, LEN);
/// `InstrumentationScope.name`, `.version` and `.attributes`
const SCOPE_NAME: u8 = tag(1, LEN);
const SCOPE_VERSION: u8 = tag(2, LEN);
const SCOPE_ATTRIBUTES: u8 = tag(3, LEN);

/// Our own field of `ExportTraceServiceRequest` for open spans, a `ResourceSpans` each. OTLP does not
/// define it, so other receivers skip it.
pub(crate) const OPEN_SPANS: u32 = 20_316;

/// Slices shorter than this are copied together instead of being sent as frames of their own.
const COALESCE: usize = 4096;

/// An instrumentation scope (TR-13). Empty fields are not written.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ScopeFields<'a> {
    pub(crate) name: &'a str,
    pub(crate) version: &'a str,
    pub(crate) attributes: &'a [KeyValue],
    pub(crate) schema_url: &'a str,
}

impl ScopeFields<'_> {
    /// The fields of `ScopeSpans` other than `spans`.
    pub(crate) fn encode(&self) -> Bytes {
        let mut scope = Vec::new();
        for (tag, text) in [(SCOPE_NAME, self.name), (SCOPE_VERSION, self.version)] {
            if !text.is_empty() {
                varint::put_bytes(&mut scope, tag, text.as_bytes());
            }
        }
        for KeyValue { key, value } in self.attributes.iter().filter(|a| !a.key.is_empty()) {
            put_key_value(&mut scope, SCOPE_ATTRIBUTES, key, value);
        }
        let mut out = Vec::new();
        varint::put_bytes(&mut out, SCOPE, &scope);
        if !self.schema_url.is_empty() {
            varint::put_bytes(&mut out, SCOPE_SCHEMA_URL, self.schema_url.as_bytes());
        }
        out.into()
    }
}

/// The items of one instrumentation scope.
#[derive(Debug, Clone)]
pub(crate) struct ScopeGroup {
    /// Encoded fields of `ScopeSpans` other than `spans`: `scope` and `schema_url`.
    pub(crate) scope: Bytes,
    /// Encoded `ScopeSpans.spans` fields, each with its tag and length, in one or more slices cut
    /// between items.
    pub(crate) items: Vec<Bytes>,
}

impl ScopeGroup {
    fn len(&self) -> usize {
        self.scope.len() + self.items.iter().map(Bytes::len).sum::<usize>()
    }
}

/// The length of a field with a one-byte tag and `len` bytes.
pub(crate) fn field_len(len: usize) -> usize {
    1 + varint::len(len as u64) + len
}

/// The length of the request that [`frame`] gives.
pub(crate) fn framed_len(resource: &Bytes, groups: &[ScopeGroup]) -> usize {
    let scopes: usize = groups.iter().map(|g| field_len(g.len())).sum();
    field_len(resource.len() + scopes)
}

/// An `ExportTraceServiceRequest` with one `ResourceSpans`, as a list of slices; large slices are
/// shared with the groups, not copied. `resource` holds the encoded fields of `ResourceSpans`
/// other than `scope_spans`.
pub(crate) fn frame(resource: &Bytes, groups: &[ScopeGroup]) -> Vec<Bytes> {
    let scopes: usize = groups.iter().map(|g| field_len(g.len())).sum();
    let mut head = Vec::with_capacity(resource.len() + 64);
    head.push(RESOURCE_SPANS);
    varint::put(&mut head, (resource.len() + scopes) as u64);
    head.extend_from_slice(resource);
    let mut out = Vec::new();
    let mut small = BytesMut::from(&head[..]);
    for group in groups {
        let mut head = Vec::with_capacity(16);
        head.push(SCOPE_SPANS);
        varint::put(&mut head, group.len() as u64);
        small.extend_from_slice(&head);
        small.extend_from_slice(&group.scope);
        for run in &group.items {
            if run.len() < COALESCE {
                small.extend_from_slice(run);
            } else {
                if !small.is_empty() {
                    out.push(small.split().freeze());
                }
                out.push(run.clone());
            }
        }
    }
    if !small.is_empty() {
        out.push(small.freeze());
    }
    out
}

/// Turns a request with one `ResourceSpans` into one of open spans.
pub(crate) fn as_open(request: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(request.len() + 4);
    varint::put(&mut out, u64::from(OPEN_SPANS) << 3 | u64::from(LEN));
    out.extend_from_slice(request.get(1..).unwrap_or_default());
    out.into()
}

/// An encoded item as a field of `ScopeSpans`.
pub(crate) fn item_field(item: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(field_len(item.len()));
    varint::put_bytes(&mut out, ITEMS, item);
    out.into()
}

/// The encoded items of `run`, without their tags and lengths; ends early where `run` is not a row
/// of items.
pub(crate) fn each_item(run: &[u8]) -> impl Iterator<Item = &[u8]> {
    Delimited::new(run).map_while(|(tag, item)| (tag == ITEMS).then_some(item))
}

/// Bytes that the first `count` items of `run` take: `None` where `run` is not a row of items.
pub(crate) fn prefix_of_items(run: &[u8], count: usize) -> Option<usize> {
    let mut fields = Delimited::new(run);
    for _ in 0..count {
        fields.next().filter(|(tag, _)| *tag == ITEMS)?;
    }
    Some(run.len() - fields.rest().len())
}

/// Items in `run`; `None` where `run` is not a row of items.
pub(crate) fn count_items(run: &[u8]) -> Option<usize> {
    let mut fields = Delimited::new(run);
    let mut count = 0;
    while !fields.rest().is_empty() {
        fields.next().filter(|(tag, _)| *tag == ITEMS)?;
        count += 1;
    }
    Some(count)
}
