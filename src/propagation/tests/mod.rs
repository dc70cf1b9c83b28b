//! What each propagator takes, refuses and writes: PROP-1…2, W3C-1…8, BAG-1…2, B3-1…2, JAE-1.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod formats;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;
use crate::config::PropagatorKind;
use crate::context::{Baggage, TraceState};

const TRACE: &str = "12345678901234567890123456789012";
const SPAN: &str = "1234567890123456";
const PARENT: &str = "00-12345678901234567890123456789012-1234567890123456-01";

const EVERY: &[PropagatorKind] = &[
    PropagatorKind::TraceContext,
    PropagatorKind::Baggage,
    PropagatorKind::B3,
    PropagatorKind::B3Multi,
    PropagatorKind::Jaeger,
    PropagatorKind::XRay,
];

fn headers(lines: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in lines {
        let name: HeaderName = name.parse().unwrap();
        map.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    map
}

/// One that no header here names.
fn elsewhere() -> TraceContext {
    TraceContext::new(
        TraceId::from_bytes([7; 16]),
        SpanId::from_bytes([9; 8]),
        TraceFlags::RANDOM,
    )
    .with_trace_state("old=1".parse().unwrap())
    .with_baggage(Baggage::EMPTY.with("old", "2"))
}

fn context(flags: TraceFlags) -> TraceContext {
    TraceContext::new(TRACE.parse().unwrap(), SPAN.parse().unwrap(), flags)
}

/// What is taken from these headers, by a process that has a context already.
#[track_caller]
fn extract(propagator: &dyn Propagator, lines: &[(&str, &str)]) -> Option<TraceContext> {
    let parent = elsewhere();
    let cx = propagator.extract(parent.clone(), &headers(lines));
    // A carrier that is no HTTP says the same, unless it can't hold a name twice in order.
    let owned = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
    let list: Vec<_> = lines.iter().map(owned).collect();
    assert_eq!(propagator.extract(parent.clone(), &list), cx, "{lines:?}");
    let names: BTreeSet<_> = lines.iter().map(|line| line.0.to_lowercase()).collect();
    if names.len() == list.len() {
        let map: BTreeMap<_, _> = list.into_iter().collect();
        assert_eq!(propagator.extract(parent.clone(), &map), cx, "{lines:?}");
        let map: HashMap<_, _> = map.into_iter().collect();
        assert_eq!(propagator.extract(parent.clone(), &map), cx, "{lines:?}");
    }
    (cx != parent).then_some(cx)
}

/// What is written for a context, sorted.
fn inject(propagator: &dyn Propagator, cx: &TraceContext) -> Vec<(String, String)> {
    let mut map = HeaderMap::new();
    propagator.inject(cx, &mut map);
    let mut list = Vec::new();
    propagator.inject(cx, &mut list);
    for (name, value) in &list {
        assert_eq!(map[name], value);
    }
    assert_eq!(map.len(), list.len());
    list.sort();
    list
}

fn pairs(lines: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = lines.iter();
    owned.map(|(k, v)| (k.to_string(), v.to_string())).collect()
}

#[test]
fn a_trace_is_continued_w3c_1_w3c_8() {
    let cx = extract(
        &TraceContextPropagator,
        &[("TraceParent", PARENT), ("TRACESTATE", "foo=1 ,bar=2")],
    );
    let cx = cx.unwrap();
    assert_eq!(cx.to_traceparent().as_str(), PARENT);
    assert!(cx.is_remote() && cx.is_sampled());
    assert_eq!(cx.trace_state().as_str(), "foo=1,bar=2");
    assert_eq!(cx.baggage().get("old"), Some("2"));
    assert_eq!(
        inject(&TraceContextPropagator, &cx),
        pairs(&[("traceparent", PARENT), ("tracestate", "foo=1,bar=2")])
    );
}

#[test]
fn the_random_flag_goes_on_and_unknown_ones_do_not_w3c_4() {
    for (theirs, ours) in [("00", "00"), ("01", "01"), ("02", "02"), ("ff", "03")] {
        let text = format!("00-{TRACE}-{SPAN}-{theirs}");
        let cx = extract(&TraceContextPropagator, &[("traceparent", &text)]).unwrap();
        let text = format!("00-{TRACE}-{SPAN}-{ours}");
        let sent = inject(&TraceContextPropagator, &cx);
        assert_eq!(sent, pairs(&[("traceparent", &text)]));
    }
}

#[test]
fn a_context_is_taken_whole_or_not_at_all_w3c_1_w3c_3_w3c_5() {
    let other = PARENT.replace("-01", "-00");
    let upper = PARENT.replace("12345678901234567890123456789012", &"AB".repeat(16));
    for lines in [
        &[][..],
        // The conformance suite: two of them, alike or not, begin a new trace.
        &[("traceparent", PARENT), ("traceparent", PARENT)],
        &[("traceparent", PARENT), ("traceparent", &other)],
        &[("traceparent", PARENT), ("traceparent", "")],
        &[("traceparent", "")],
        &[("traceparent", "foo"), ("tracestate", "foo=1")],
        &[("traceparent", &upper), ("tracestate", "foo=1")],
        &[("trace-parent", PARENT)],
        &[("trace.parent", PARENT)],
        &[("tracestate", "foo=1")],
        &[("traceparent", &format!("{PARENT},{PARENT}"))],
    ] {
        assert_eq!(extract(&TraceContextPropagator, lines), None, "{lines:?}");
    }
}

#[test]
fn tracestate_never_spoils_traceparent_w3c_5_w3c_6() {
    let many = |n: u32| {
        let members = (0..n).map(|i| format!("k{i}=1"));
        members.collect::<Vec<_>>().join(",")
    };
    let long = format!("foo=1,{}=1", "z".repeat(257));
    for (lines, state) in [
        (&[""][..], ""),
        (&["", ""], ""),
        (&["foo=1"], "foo=1"),
        (&["foo=1", ""], "foo=1"),
        (
            &["foo=1,bar=2", "rojo=1,congo=2"],
            "foo=1,bar=2,rojo=1,congo=2",
        ),
        (&["foo=1,foo=1"], "foo=1,foo=1"),
        (&["foo=1", "foo=2"], "foo=1,foo=2"),
        (&["foo=1 \t, \tbar=2"], "foo=1,bar=2"),
        (&["foo 1"], ""),
        (&["foo=1", "bar"], ""),
        (&["foo@=1,bar=2=3"], ""),
        (&[&long], ""),
        (&[&many(32)], &many(32)),
        (&[&many(33)], ""),
        (&[&many(32), "more=1"], ""),
    ] {
        let mut all = vec![("traceparent", PARENT)];
        all.extend(lines.iter().map(|line| ("tracestate", *line)));
        let cx = extract(&TraceContextPropagator, &all).unwrap();
        assert_eq!(cx.to_traceparent().as_str(), PARENT);
        assert_eq!(cx.trace_state().as_str(), state, "{lines:?}");
    }
}

#[test]
fn a_value_that_is_no_text_is_there_and_wrong_prop_1() {
    let bad = HeaderValue::from_bytes(b"\xff\xfe").unwrap();
    for (name, good) in [
        ("traceparent", PARENT),
        ("b3", "12345678901234567890123456789012-1234567890123456-1"),
    ] {
        let mut map = headers(&[]);
        map.append(name, bad.clone());
        map.append(name, good.parse().unwrap());
        let cx = CompositePropagator::new(EVERY).extract(elsewhere(), &map);
        assert_eq!(cx, elsewhere(), "{name}");
    }
    let mut map = headers(&[("traceparent", PARENT), ("tracestate", "a=1")]);
    map.append("tracestate", bad.clone());
    map.insert("baggage", bad.clone());
    map.insert("uberctx-a", bad.clone());
    map.append("baggage", "b=2".parse().unwrap());
    let cx = CompositePropagator::new(EVERY).extract(TraceContext::default(), &map);
    assert_eq!(cx.to_traceparent().as_str(), PARENT);
    assert_eq!(cx.trace_state(), &TraceState::EMPTY);
    assert_eq!(cx.baggage().to_string(), "b=2");
}

#[test]
fn what_another_request_brought_is_not_passed_on_w3c_5() {
    let mut map = headers(&[
        ("traceparent", "00-old"),
        ("traceparent", "00-older"),
        ("tracestate", "old=1"),
        ("baggage", "old=1"),
        ("accept", "*/*"),
    ]);
    global().inject(&context(TraceFlags::SAMPLED), &mut map);
    assert_eq!(map, headers(&[("traceparent", PARENT), ("accept", "*/*")]));
}

#[test]
fn without_a_trace_only_baggage_is_written_prop_1() {
    let cx = TraceContext::default().with_baggage(Baggage::EMPTY.with("a", "1"));
    assert_eq!(
        inject(&CompositePropagator::new(EVERY), &cx),
        pairs(&[("baggage", "a=1"), ("uberctx-a", "1")])
    );
}

#[test]
fn baggage_is_joined_and_needs_no_trace_bag_1_bag_2() {
    let lines = [("baggage", "a=1;p , b=2"), ("Baggage", "c=%C3%A9")];
    let cx = extract(&BaggagePropagator, &lines).unwrap();
    assert_eq!(cx.baggage().to_string(), "a=1;p,b=2,c=%C3%A9");
    assert_eq!(cx.trace_id(), elsewhere().trace_id());
    assert_eq!(
        inject(&BaggagePropagator, &cx),
        pairs(&[("baggage", "a=1;p,b=2,c=%C3%A9")])
    );
    for nothing in ["", ",", "a", "a b=1"] {
        let cx = extract(&BaggagePropagator, &[("baggage", nothing)]);
        assert_eq!(cx, None, "{nothing:?}");
    }
    let unsendable = TraceContext::default().with_baggage(Baggage::EMPTY.with("é", "1"));
    assert_eq!(inject(&BaggagePropagator, &unsendable), []);
}

#[test]
fn several_formats_of_one_span_lose_nothing_prop_2() {
    let all = CompositePropagator::new(EVERY);
    let flags = TraceFlags::SAMPLED.with(TraceFlags::RANDOM);
    let cx = context(flags)
        .with_trace_state("a=1".parse().unwrap())
        .with_baggage(Baggage::EMPTY.with("b", "2"))
        .with_remote(true);
    let mut map = HeaderMap::new();
    all.inject(&cx, &mut map);
    assert_eq!(
        all.extract(elsewhere(), &map).trace_state(),
        cx.trace_state()
    );
    assert_eq!(all.extract(TraceContext::default(), &map), cx);
    // X-Ray knows no debug flag, and takes away none.
    let debug = cx.clone().with_flags(flags.with(TraceFlags::DEBUG));
    let mut debugged = HeaderMap::new();
    all.inject(&debug, &mut debugged);
    assert_eq!(all.extract(TraceContext::default(), &debugged), debug);
    // A later word on sampling counts.
    let mut sampled = HeaderMap::new();
    TraceContextPropagator.inject(&debug, &mut sampled);
    XRayPropagator.inject(&context(TraceFlags::default()), &mut sampled);
    let read = all.extract(TraceContext::default(), &sampled);
    assert_eq!(read.flags(), TraceFlags::RANDOM);
    // Of different spans, the last format that is read counts, and W3C's state is not its.
    map.insert(
        "b3",
        format!("{TRACE}-{}-1", "a".repeat(16)).parse().unwrap(),
    );
    let w3c_then_b3 = CompositePropagator::new(&[PropagatorKind::TraceContext, PropagatorKind::B3]);
    let read = w3c_then_b3.extract(TraceContext::default(), &map);
    assert_eq!(read.span_id().to_string(), "a".repeat(16));
    assert!(read.trace_state().is_empty());
}

#[test]
fn a_composite_of_none_leaves_all_alone_prop_2() {
    let none = CompositePropagator::none();
    assert_eq!(inject(&none, &elsewhere()), []);
    assert_eq!(extract(&none, &[("traceparent", PARENT)]), None);
    assert!(none.fields().is_empty());
    let all = CompositePropagator::new(EVERY);
    assert_eq!(
        format!("{all:?}"),
        r#"CompositePropagator(["traceparent", "tracestate", "baggage", "b3", "X-B3-TraceId", "X-B3-SpanId", "X-B3-Sampled", "X-B3-Flags", "uber-trace-id", "X-Amzn-Trace-Id"])"#
    );
}

#[test]
fn maps_replace_a_name_in_any_case_and_keep_ours_prop_1() {
    fn check(mut carrier: impl Extractor + Injector) {
        carrier.set("Baggage", "old=1");
        carrier.set("baggage", "new=1");
        carrier.set("other", "1");
        assert_eq!(carrier.get_all("BAGGAGE").collect::<Vec<_>>(), ["new=1"]);
        assert_eq!(carrier.get("bAggage"), Some("new=1"));
        let mut keys = carrier.keys();
        keys.sort_unstable();
        assert_eq!(keys, ["baggage", "other"]);
        carrier.remove("Other");
        carrier.remove("nobody");
        assert_eq!((carrier.get("other"), carrier.keys().len()), (None, 1));
    }
    check(HeaderMap::new());
    check(HashMap::new());
    check(BTreeMap::new());
    check(Vec::new());
    let mut map = HeaderMap::new();
    map.set("no name", "1");
    map.set("x", "line\nbreak");
    assert!(map.is_empty());
}

#[test]
fn variables_carry_a_context_to_a_child_envc_1() {
    let cx = context(TraceFlags::SAMPLED)
        .with_remote(true)
        .with_trace_state("a=1".parse().unwrap())
        .with_baggage(Baggage::EMPTY.with("b", "2"));
    for kinds in [PropagatorKind::DEFAULT, EVERY] {
        let propagator = CompositePropagator::new(kinds);
        let mut variables = Environment::default();
        propagator.inject(&cx, &mut variables);
        let child: Environment = variables.into_iter().collect();
        assert_eq!(child.get("traceparent"), Some(PARENT));
        assert_eq!(propagator.extract(TraceContext::default(), &child), cx);
    }
    // Of this process: cargo has set this one.
    let own = Environment::from_process();
    assert_eq!(own.get("cargo-pkg-name"), Some(env!("CARGO_PKG_NAME")));
}

proptest! {
    #[test]
    fn every_format_brings_a_context_back(
        trace in any::<[u8; 16]>(), span in any::<[u8; 8]>(), bits in 0u8..4,
    ) {
        let flags = TraceFlags::from_bits(bits);
        let cx = TraceContext::new(TraceId::from_bytes(trace), SpanId::from_bytes(span), flags)
            .with_remote(true);
        prop_assume!(cx.is_valid());
        for kind in EVERY.iter().filter(|kind| **kind != PropagatorKind::Baggage) {
            let propagator = CompositePropagator::new(&[*kind]);
            let mut map = HeaderMap::new();
            propagator.inject(&cx, &mut map);
            let expected = match kind {
                PropagatorKind::TraceContext => cx.clone(),
                // Others have no random flag.
                _ => cx.clone().with_flags(TraceFlags::from_bits(bits & 1)),
            };
            let read = propagator.extract(TraceContext::default(), &map);
            prop_assert_eq!(read, expected, "{:?}", kind);
        }
    }
}
