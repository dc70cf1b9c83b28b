//! Counts what an `ExportTraceServiceRequest`, or one of logs, holds by stepping over its fields.

use serde_json::json;

// Field numbers of opentelemetry-proto. Requests of logs have the same.
const REQUEST_RESOURCE_SPANS: u64 = 1;
const RESOURCE_SPANS_SCOPE_SPANS: u64 = 2;
const SCOPE_SPANS_SPANS: u64 = 2;
const SPAN_ATTRIBUTES: u64 = 9;
const SPAN_EVENTS: u64 = 11;
const RECORD_ATTRIBUTES: u64 = 6;

/// What a request holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Signal {
    Spans,
    Records,
}

#[derive(Debug, PartialEq)]
pub(crate) struct Counts {
    pub(crate) requests: u64,
    pub(crate) malformed: u64,
    pub(crate) bytes: u64,
    pub(crate) spans: u64,
    pub(crate) records: u64,
    /// Of the requests of log records.
    pub(crate) record_bytes: u64,
    /// Of all spans; zero unless they are looked into.
    pub(crate) attributes: u64,
    /// Of all spans; zero unless they are looked into.
    pub(crate) events: u64,
    /// Of all log records; zero unless they are looked into.
    pub(crate) record_attributes: u64,
}

impl Counts {
    pub(crate) const ZERO: Self = Self {
        requests: 0,
        malformed: 0,
        bytes: 0,
        spans: 0,
        records: 0,
        record_bytes: 0,
        attributes: 0,
        events: 0,
        record_attributes: 0,
    };

    /// What one request holds; `None` if it is not protobuf. Spans are opened only for `detail`.
    pub(crate) fn of_request(message: &[u8], signal: Signal, detail: bool) -> Option<Self> {
        let mut counts = Self::ZERO;
        match signal {
            Signal::Spans => counts.bytes = message.len() as u64,
            Signal::Records => counts.record_bytes = message.len() as u64,
        }
        for_each(message, REQUEST_RESOURCE_SPANS, &mut |resource_spans| {
            for_each(
                resource_spans,
                RESOURCE_SPANS_SCOPE_SPANS,
                &mut |scope_spans| {
                    for_each(scope_spans, SCOPE_SPANS_SPANS, &mut |span| {
                        match signal {
                            Signal::Spans => counts.spans += 1,
                            Signal::Records => counts.records += 1,
                        }
                        if detail {
                            counts.look_into(span, signal)
                        } else {
                            Some(())
                        }
                    })
                },
            )
        })?;
        Some(counts)
    }

    fn look_into(&mut self, mut span: &[u8], signal: Signal) -> Option<()> {
        while !span.is_empty() {
            match (signal, next_field(&mut span)?.0) {
                (Signal::Spans, SPAN_ATTRIBUTES) => self.attributes += 1,
                (Signal::Spans, SPAN_EVENTS) => self.events += 1,
                (Signal::Records, RECORD_ATTRIBUTES) => self.record_attributes += 1,
                _ => {}
            }
        }
        Some(())
    }

    /// Adds what one request held.
    pub(crate) fn add(&mut self, request: &Self) {
        self.requests += 1;
        self.bytes += request.bytes;
        self.spans += request.spans;
        self.records += request.records;
        self.record_bytes += request.record_bytes;
        self.record_attributes += request.record_attributes;
        self.attributes += request.attributes;
        self.events += request.events;
    }

    pub(crate) fn to_json(&self) -> String {
        json!({
            "requests": self.requests,
            "malformed": self.malformed,
            "bytes": self.bytes,
            "spans": self.spans,
            "records": self.records,
            "record_bytes": self.record_bytes,
            "record_attributes": self.record_attributes,
            "attributes": self.attributes,
            "events": self.events,
        })
        .to_string()
    }
}

/// Calls `found` with each field `number` of `message`.
fn for_each(
    mut message: &[u8],
    number: u64,
    found: &mut dyn FnMut(&[u8]) -> Option<()>,
) -> Option<()> {
    while !message.is_empty() {
        let (field, content) = next_field(&mut message)?;
        if field == number {
            found(content)?;
        }
    }
    Some(())
}

/// Takes one field from the front: its number and, if it has a length, its content.
fn next_field<'a>(rest: &mut &'a [u8]) -> Option<(u64, &'a [u8])> {
    let key = varint(rest)?;
    let content = match key & 7 {
        0 => {
            varint(rest)?;
            &[]
        }
        1 => take(rest, 8)?,
        2 => {
            let length = varint(rest)?;
            take(rest, usize::try_from(length).ok()?)?
        }
        5 => take(rest, 4)?,
        _ => return None,
    };
    Some((key >> 3, content))
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (content, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(content)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..70).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{
        Counts,
        Signal::{Records, Spans},
    };

    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![number << 3 | 2, content.len() as u8];
        bytes.extend_from_slice(content);
        bytes
    }

    /// Two attributes, one event, a fixed64 time and a varint kind.
    fn span() -> Vec<u8> {
        let mut span = field(1, &[7; 16]);
        span.extend([6 << 3, 2, 7 << 3 | 1, 0, 0, 0, 0, 0, 0, 0, 0]);
        span.extend(field(9, b"a"));
        span.extend(field(11, &[]));
        span.extend(field(9, b"b"));
        span
    }

    fn request() -> Vec<u8> {
        let scope = [field(1, b"scope"), field(2, &span()), field(2, &span())].concat();
        let resource = [field(1, b"resource"), field(2, &scope)].concat();
        field(1, &resource)
    }

    #[test]
    fn spans_attributes_and_events_are_counted() {
        let message = request();
        let counts = Counts::of_request(&message, Spans, true).expect("well-formed");
        assert_eq!((counts.spans, counts.attributes, counts.events), (2, 4, 2));
        assert_eq!(counts.bytes, message.len() as u64);
    }

    #[test]
    fn records_are_counted_apart() {
        let message = request();
        let counts = Counts::of_request(&message, Records, false).expect("well-formed");
        assert_eq!((counts.spans, counts.records), (0, 2));
        assert_eq!(
            (counts.bytes, counts.record_bytes),
            (0, message.len() as u64)
        );
    }

    #[test]
    fn a_span_is_not_opened_without_need() {
        let counts = Counts::of_request(&request(), Spans, false).expect("well-formed");
        assert_eq!((counts.spans, counts.attributes, counts.events), (2, 0, 0));
    }

    #[test]
    fn what_is_cut_short_is_malformed() {
        let message = request();
        for length in 1..message.len() {
            assert_eq!(
                Counts::of_request(&message[..length], Spans, true),
                None,
                "{length}"
            );
        }
        assert_eq!(Counts::of_request(&[0xff; 16], Spans, true), None);
        assert_eq!(Counts::of_request(&[], Spans, true), Some(Counts::ZERO));
    }
}
