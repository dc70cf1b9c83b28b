//! Headers of any bytes: a context is taken whole or not at all, and what was taken can be sent.

use http::{HeaderMap, HeaderValue};

use crate::config::PropagatorKind;
use crate::context::{Baggage, SpanId, TraceContext, TraceFlags, TraceId, TraceState};
use crate::propagation::{CompositePropagator, Propagator};

/// Reads headers, one a line: the first byte says which.
pub fn propagation(bytes: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|b| *b == b'\n') {
        let Some((which, value)) = line.split_first() else {
            continue;
        };
        if let Ok(value) = HeaderValue::from_bytes(value) {
            let name = HEADERS[usize::from(*which) % HEADERS.len()];
            headers.append(name, value);
        }
        if let Ok(text) = std::str::from_utf8(value) {
            texts(text);
        }
    }
    let parent = TraceContext::new(
        TraceId::from_bytes([7; 16]),
        SpanId::from_bytes([9; 8]),
        TraceFlags::RANDOM,
    )
    .with_trace_state(TraceState::parse("old=1").unwrap_or_default())
    .with_baggage(Baggage::EMPTY.with("old", "1"));
    for kind in KINDS {
        through(&CompositePropagator::new(&[*kind]), &parent, &headers);
    }
    through(&CompositePropagator::new(KINDS), &parent, &headers);
}

fn through(propagator: &dyn Propagator, parent: &TraceContext, headers: &HeaderMap) {
    let read = propagator.extract(parent.clone(), headers);
    let is_parents = trace_of(&read) == trace_of(parent) && !read.is_remote();
    assert!(
        is_parents || read.is_remote() && read.is_valid(),
        "{read:?}"
    );
    let state = read.trace_state();
    assert_eq!(TraceState::parse(state.as_str()).as_ref(), Ok(state));

    let mut sent = HeaderMap::new();
    propagator.inject(&read, &mut sent);
    let again = propagator.extract(TraceContext::default(), &sent);
    if again.is_valid() {
        assert_eq!(again.trace_id(), read.trace_id());
        assert_eq!(again.span_id(), read.span_id());
        assert_eq!(again.is_sampled(), read.is_sampled());
    }
    // And it settles: what is sent once is sent alike by the next.
    let mut next = HeaderMap::new();
    propagator.inject(&again, &mut next);
    for field in [
        "traceparent",
        "tracestate",
        "b3",
        "uber-trace-id",
        "x-amzn-trace-id",
    ] {
        assert_eq!(sent.get(field), next.get(field), "{field}");
    }
}

fn trace_of(cx: &TraceContext) -> (TraceId, SpanId, TraceFlags, &TraceState) {
    (cx.trace_id(), cx.span_id(), cx.flags(), cx.trace_state())
}

fn texts(text: &str) {
    if let Ok(cx) = TraceContext::from_traceparent(text) {
        let again = TraceContext::from_traceparent(&cx.to_traceparent());
        assert_eq!(again, Ok(cx));
    }
    if let Ok(id) = text.parse::<TraceId>() {
        assert_eq!(id.to_string(), text);
    }
    let baggage = Baggage::parse(text);
    assert!(baggage.len() <= Baggage::MAX_MEMBERS);
    let header = baggage.to_header();
    assert!(header.len() <= Baggage::MAX_BYTES);
    // A `%` that stood alone is written as three characters, and then one may not fit.
    let again = Baggage::parse(&header);
    assert!(again == baggage || again.len() < baggage.len());
}

const KINDS: &[PropagatorKind] = &[
    PropagatorKind::TraceContext,
    PropagatorKind::Baggage,
    PropagatorKind::B3,
    PropagatorKind::B3Multi,
    PropagatorKind::Jaeger,
    PropagatorKind::XRay,
];

const HEADERS: &[&str] = &[
    "traceparent",
    "tracestate",
    "baggage",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-sampled",
    "x-b3-flags",
    "uber-trace-id",
    "uberctx-a",
    "x-amzn-trace-id",
];

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// Values that are nearly right, for any of the headers.
    fn value() -> impl Strategy<Value = String> {
        prop_oneof![
            "0[01]-[0-9a-f]{32}-[0-9a-f]{16}-0[0-3](-x)?",
            "[0-9a-f]{32}-[0-9a-f]{16}(-[01d2])?",
            "[0-9a-f]{1,32}:[0-9a-f]{1,16}:0:[0-4]",
            "Root=1-[0-9a-f]{8}-[0-9a-f]{24};Parent=[0-9a-f]{16};Sampled=[012]",
            "([0-9a-f]{16}){1,2}",
            "([a-c]{1,2}=[ -~]{0,9},){0,6}",
            "[01d]|\\PC{0,60}",
        ]
    }

    proptest! {
        #[test]
        fn any_headers(lines in vec((any::<u8>(), value()), 0..12)) {
            let lines = lines.iter().map(|(which, value)| {
                let mut line = vec![*which];
                line.extend_from_slice(value.as_bytes());
                line
            });
            super::propagation(&lines.collect::<Vec<_>>().join(&b'\n'));
        }

        #[test]
        fn headers_of_any_bytes(bytes in vec(any::<u8>(), 0..200)) {
            super::propagation(&bytes);
        }
    }
}
