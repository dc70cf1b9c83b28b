//! Shrinks a span that exceeds its share of memory: removes the largest attributes, events and links
//! first, so that small ones stay.

use super::reader::{FieldValue, MessageFields};
use super::span::{DROPPED_COUNTS, SPAN_ATTRIBUTE, SPAN_EVENT, SPAN_LINK, put_dropped_counts};
use super::varint;

/// The numbers of removed attributes, events and links.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Shed {
    pub(crate) attributes: u32,
    pub(crate) events: u32,
    pub(crate) links: u32,
}

impl Shed {
    pub(crate) fn total(self) -> u32 {
        self.attributes + self.events + self.links
    }

    fn count(&mut self, tag: u8) {
        match tag {
            SPAN_ATTRIBUTE => self.attributes += 1,
            SPAN_EVENT => self.events += 1,
            _ => self.links += 1,
        }
    }
}

/// Removes attributes, events and links of more than `least` bytes from `body`, the largest first, until
/// at most `goal` bytes are left. Also returns the size of the largest remaining one.
pub(crate) fn shed(body: &mut Vec<u8>, goal: usize, least: usize) -> (Shed, usize) {
    let mut largest: Vec<_> = parts(body).filter(SpanPart::is_repeated).collect();
    largest.sort_unstable_by_key(|field| std::cmp::Reverse(field.len()));
    let (mut left, mut cut) = (body.len(), 0);
    for field in &largest {
        if left <= goal || field.len() <= least {
            break;
        }
        left -= field.len();
        cut += 1;
    }
    let rest = largest.get(cut).map_or(0, SpanPart::len);
    largest.truncate(cut);
    largest.sort_unstable_by_key(|field| field.start);
    let mut shed = Shed::default();
    let (mut from, mut to) = (0, 0);
    for field in &largest {
        body.copy_within(from..field.start, to);
        to += field.start - from;
        from = field.end;
        shed.count(field.tag);
    }
    let end = body.len();
    body.copy_within(from..end, to);
    body.truncate(to + end - from);
    (shed, rest)
}

/// Shrinks an encoded `Span` and writes its dropped counts; `None` if that is not enough, or if the
/// bytes are no span.
#[cold]
pub(crate) fn slimmed(span: &[u8], goal: usize) -> Option<(Vec<u8>, Shed)> {
    /// What three counts take.
    const COUNTS: usize = 3 * 6;
    if parts(span).map(|field| field.len()).sum::<usize>() != span.len() {
        return None;
    }
    let mut repeated: Vec<_> = parts(span).filter(SpanPart::is_repeated).collect();
    repeated.sort_unstable_by_key(|field| std::cmp::Reverse(field.len()));
    let mut left = span.len() + COUNTS;
    let mut cut = Vec::new();
    for field in repeated {
        if left <= goal {
            break;
        }
        left -= field.len();
        cut.push(field.start);
    }
    if left > goal {
        return None;
    }
    cut.sort_unstable();
    let (mut shed, mut counts) = (Shed::default(), [0; 3]);
    let mut out = Vec::with_capacity(left);
    for field in parts(span) {
        if let Some(count) = DROPPED_COUNTS.iter().position(|tag| *tag == field.tag) {
            counts[count] = field.number as u32;
        } else if cut.binary_search(&field.start).is_ok() {
            shed.count(field.tag);
        } else {
            out.extend_from_slice(&span[field.start..field.end]);
        }
    }
    let [attributes, events, links] = counts;
    put_dropped_counts(
        &mut out,
        attributes.saturating_add(shed.attributes),
        events.saturating_add(shed.events),
        links.saturating_add(shed.links),
    );
    Some((out, shed))
}

/// A field of `Span`, by its range.
struct SpanPart {
    /// Zero where the tag takes more than a byte: such a field does not matter here.
    tag: u8,
    start: usize,
    end: usize,
    /// Of a varint.
    number: u64,
}

impl SpanPart {
    fn len(&self) -> usize {
        self.end - self.start
    }

    fn is_repeated(&self) -> bool {
        matches!(self.tag, SPAN_ATTRIBUTE | SPAN_EVENT | SPAN_LINK)
    }
}

/// The fields of a `Span` that we wrote; ends before the first that is malformed.
fn parts(span: &[u8]) -> impl Iterator<Item = SpanPart> {
    let mut fields = MessageFields::new(span);
    let mut start = 0;
    std::iter::from_fn(move || {
        let (field, content) = fields.next()??;
        let (wire_type, number) = match content {
            FieldValue::Varint(number) => (varint::VARINT, number),
            FieldValue::Bytes(_) => (varint::LEN, 0),
            FieldValue::Fixed64(_) => (varint::FIXED64, 0),
            FieldValue::Fixed32(_) => (varint::FIXED32, 0),
        };
        let end = span.len() - fields.rest().len();
        let part = SpanPart {
            tag: if field < 16 {
                varint::tag(field as u8, wire_type)
            } else {
                0
            },
            start,
            end,
            number,
        };
        start = end;
        Some(part)
    })
}

#[cfg(all(test, not(tracing_otlp_loom)))]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use opentelemetry_proto::tonic::trace::v1::Span;
    use prost::Message;

    use super::super::span::{Kind, SpanHead, StatusCode, put_head};
    use super::super::value::put_key_value;
    use super::*;

    fn body(lens: &[usize]) -> Vec<u8> {
        let mut body = Vec::new();
        for (i, len) in lens.iter().enumerate() {
            put_key_value(
                &mut body,
                SPAN_ATTRIBUTE,
                &format!("k{i}"),
                &*"x".repeat(*len),
            );
        }
        body
    }

    fn seal(mut body: Vec<u8>, dropped_attributes: u32) -> Vec<u8> {
        let head = SpanHead {
            trace_id: [1; 16],
            span_id: [2; 8],
            parent_id: [3; 8],
            parent_is_remote: false,
            flags: 1,
            trace_state: "a=b",
            name: "name",
            kind: Kind::Server,
            start: 1,
            end: 2,
            status: StatusCode::Error,
            status_message: "why",
            dropped_attributes,
            dropped_events: 7,
            dropped_links: 0,
        };
        put_head(&mut body, &head);
        body
    }

    fn keys(span: &Span) -> Vec<&str> {
        span.attributes.iter().map(|a| a.key.as_str()).collect()
    }

    #[test]
    fn the_largest_go_first_and_the_order_stays() {
        let mut bytes = body(&[10, 5000, 20, 300, 30]);
        let (cut, largest) = shed(&mut bytes, 100, 0);
        assert_eq!((cut.attributes, cut.total()), (2, 2));
        assert!((30..50).contains(&largest));
        let span = Span::decode(&bytes[..]).unwrap();
        assert_eq!(keys(&span), ["k0", "k2", "k4"]);
    }

    #[test]
    fn what_is_no_larger_than_the_newcomer_stays() {
        let mut bytes = body(&[100, 100, 100]);
        let whole = bytes.clone();
        assert_eq!(shed(&mut bytes, 0, 200).0, Shed::default());
        assert_eq!(bytes, whole);
    }

    #[test]
    fn a_whole_span_is_slimmed_and_says_how_much_it_left_out() {
        let bytes = seal(body(&[10, 5000, 20, 3000]), 4);
        let (slim, shed) = slimmed(&bytes, 1000).unwrap();
        assert_eq!(shed.attributes, 2);
        assert!(slim.len() <= 1000);
        let (was, is) = (
            Span::decode(&bytes[..]).unwrap(),
            Span::decode(&slim[..]).unwrap(),
        );
        assert_eq!(keys(&is), ["k0", "k2"]);
        assert_eq!(
            (is.dropped_attributes_count, is.dropped_events_count),
            (6, 7)
        );
        let rest = Span {
            attributes: was.attributes,
            dropped_attributes_count: 4,
            ..is
        };
        assert_eq!(Span::decode(&bytes[..]).unwrap(), rest);
        assert!(slimmed(&bytes, 50).is_none(), "the head alone is larger");
        assert!(slimmed(&[b'x'; 2000], 1000).is_none(), "no span");
    }
}
