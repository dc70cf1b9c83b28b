//! [`SpanOutline`]: what an encoded span says about its trace and its place there.

use super::reader::{FieldValue, MessageFields, each_field};
use super::varint;

/// The trace, the place and the status of an encoded `Span`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct SpanOutline<'a> {
    pub(crate) trace_id: [u8; 16],
    pub(crate) trace_state: &'a str,
    /// It has no parent, or one in another process.
    pub(crate) is_local_root: bool,
    pub(crate) is_error: bool,
}

const TRACE_STATE: u32 = 3;
/// The tag of `trace_state`.
const TRACE_STATE_TAG: u8 = varint::tag(3, varint::LEN);
/// The parent is remote, in `Span.flags`.
const IS_REMOTE: u32 = 0x200;

impl<'a> SpanOutline<'a> {
    /// `None` if the bytes are no span with a trace.
    pub(crate) fn of(span: &'a [u8]) -> Option<Self> {
        let mut outline = Self::default();
        let (mut has_trace, mut has_parent, mut is_remote) = (false, false, false);
        each_field(span, |number, field| {
            match number {
                1 => {
                    outline.trace_id = field.bytes()?.try_into().ok()?;
                    has_trace = true;
                }
                TRACE_STATE => outline.trace_state = field.text()?,
                4 => has_parent = field.bytes()?.iter().any(|byte| *byte != 0),
                15 => each_field(field.bytes()?, |number, field| {
                    if number == 3 {
                        outline.is_error = field.varint()? == 2;
                    }
                    Some(())
                })?,
                16 => is_remote = field.fixed32()? & IS_REMOTE != 0,
                _ => {}
            }
            Some(())
        })?;
        outline.is_local_root = !has_parent || is_remote;
        has_trace.then_some(outline)
    }
}

/// The trace state of an encoded span; `None`: it has none.
pub(crate) fn trace_state_of(span: &[u8]) -> Option<&str> {
    let mut fields = MessageFields::new(span).map_while(|field| field);
    let (_, state) = fields.find(|(number, _)| *number == TRACE_STATE)?;
    state.text()
}

/// The span with another trace state; `None` if the bytes are no span.
pub(crate) fn with_trace_state(span: &[u8], trace_state: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(span.len() + trace_state.len() + 3);
    let mut fields = MessageFields::new(span);
    loop {
        let before = fields.rest();
        let Some(field) = fields.next() else { break };
        let (number, value) = field?;
        if number != TRACE_STATE || !matches!(value, FieldValue::Bytes(_)) {
            out.extend_from_slice(before.get(..before.len() - fields.rest().len())?);
        }
    }
    if !trace_state.is_empty() {
        varint::put_bytes(&mut out, TRACE_STATE_TAG, trace_state.as_bytes());
    }
    Some(out)
}

#[cfg(all(test, not(tracing_otlp_loom)))]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::trace::v1 as proto;
    use proptest::prelude::*;
    use prost::Message as _;

    fn span(state: &str, parent: &[u8], flags: u32, code: i32) -> proto::Span {
        proto::Span {
            trace_id: vec![7; 16],
            span_id: vec![1; 8],
            parent_span_id: parent.to_vec(),
            trace_state: state.to_owned(),
            name: "work".to_owned(),
            flags,
            status: Some(proto::Status {
                message: "no".to_owned(),
                code,
            }),
            ..proto::Span::default()
        }
    }

    #[test]
    fn a_span_says_where_it_stands() {
        for (parent, flags, is_local_root) in [
            (&b""[..], 0x101, true),
            (&[0; 8], 0x101, true),
            (&[2; 8], 0x101, false),
            (&[2; 8], 0x301, true),
        ] {
            for code in 0..3 {
                let bytes = span("a=1", parent, flags, code).encode_to_vec();
                let outline = SpanOutline {
                    trace_id: [7; 16],
                    trace_state: "a=1",
                    is_local_root,
                    is_error: code == 2,
                };
                assert_eq!(SpanOutline::of(&bytes), Some(outline));
            }
        }
        assert_eq!(SpanOutline::of(b"\x2a\x03run"), None);
        assert_eq!(SpanOutline::of(b"\x0a\x01x"), None);
        assert_eq!(SpanOutline::of(b"no span"), None);
        assert_eq!(trace_state_of(b"no span"), None);
    }

    proptest! {
        #[test]
        fn nothing_but_the_trace_state_changes(before in "[a-z=,]{0,40}", after in "[a-z=,]{0,400}") {
            let mut span = span(&before, &[2; 8], 1, 1);
            let bytes = span.encode_to_vec();
            let found = trace_state_of(&bytes).unwrap_or_default();
            prop_assert_eq!(found, &before[..]);
            let changed = with_trace_state(&bytes, &after).unwrap();
            span.trace_state = after;
            prop_assert_eq!(changed.len(), span.encoded_len());
            prop_assert_eq!(proto::Span::decode(&changed[..]).unwrap(), span);
        }

        #[test]
        fn any_bytes_are_safe(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            SpanOutline::of(&bytes);
            with_trace_state(&bytes, "a=1");
        }
    }
}
