//! Formats that are not W3C's: B3, Jaeger, X-Ray.

use super::*;

#[test]
fn b3_in_one_header_b3_1() {
    let long = format!("{TRACE}-{SPAN}");
    let sampled = |text: &str| {
        let cx = extract(&B3Propagator::single(), &[("B3", text)])?;
        assert_eq!(cx.span_id().to_string(), SPAN);
        assert!(cx.is_remote() && cx.trace_state().is_empty());
        assert_eq!(cx.baggage().get("old"), Some("2"));
        Some((
            cx.trace_id().to_string(),
            cx.is_sampled(),
            cx.flags().is_debug(),
        ))
    };
    let left_padded = format!("{}{SPAN}", "0".repeat(16));
    for (text, trace, is_sampled, is_debug) in [
        (long.clone(), TRACE, false, false),
        (format!("{long}-0"), TRACE, false, false),
        (format!("{long}-1"), TRACE, true, false),
        (format!(" {long}-d\t"), TRACE, true, true),
        (format!("{long}-1-{SPAN}"), TRACE, true, false),
        (format!("{SPAN}-{SPAN}-1"), &left_padded, true, false),
    ] {
        let expected = (trace.to_owned(), is_sampled, is_debug);
        assert_eq!(sampled(&text), Some(expected), "{text}");
    }
    for wrong in [
        "".to_owned(),
        "0".to_owned(),
        "1".to_owned(),
        "d".to_owned(),
        TRACE.to_owned(),
        format!("{long}-"),
        format!("{long}-2"),
        format!("{long}-true"),
        format!("{long}-1-"),
        format!("{long}-1-{SPAN}0"),
        format!("{long}-1-{SPAN}-"),
        format!("{}-{SPAN}-1", &TRACE[1..]),
        format!("{TRACE}-{}-1", &SPAN[1..]),
        format!("{}-{SPAN}-1", "0".repeat(32)),
        format!("{}-{SPAN}-1", "0".repeat(16)),
        format!("{TRACE}-{}-1", "0".repeat(16)),
        format!("{}-{SPAN}-1", "AB".repeat(16)),
    ] {
        assert_eq!(sampled(&wrong), None, "{wrong}");
    }
}

#[test]
fn b3_in_many_headers_b3_1() {
    const ID: (&str, &str) = ("X-B3-TraceId", TRACE);
    const SID: (&str, &str) = ("x-b3-spanid", SPAN);
    let flags = |more: &[(&str, &str)]| {
        let cx = extract(&B3Propagator::multi(), &[&[ID, SID], more].concat())?;
        assert_eq!((cx.trace_id(), cx.span_id()), {
            let same = context(TraceFlags::default());
            (same.trace_id(), same.span_id())
        });
        Some((cx.is_sampled(), cx.flags().is_debug()))
    };
    assert_eq!(flags(&[]), Some((false, false)));
    assert_eq!(flags(&[("X-B3-Sampled", "1")]), Some((true, false)));
    assert_eq!(flags(&[("X-B3-Sampled", "true")]), Some((true, false)));
    assert_eq!(flags(&[("X-B3-Sampled", "0")]), Some((false, false)));
    assert_eq!(flags(&[("X-B3-Flags", "1")]), Some((true, true)));
    assert_eq!(flags(&[("X-B3-Flags", "0")]), Some((false, false)));
    let both = [("X-B3-Sampled", "0"), ("X-B3-Flags", "1")];
    assert_eq!(flags(&both), Some((true, true)));
    assert_eq!(flags(&[("X-B3-Sampled", "d")]), None);
    assert_eq!(flags(&[("X-B3-Flags", "d")]), None);
    assert_eq!(flags(&[("X-B3-ParentSpanId", SPAN)]), Some((false, false)));
    assert_eq!(flags(&[("X-B3-ParentSpanId", "x")]), None);
    let nobody = [("X-B3-TraceId", "x"), SID];
    assert_eq!(extract(&B3Propagator::multi(), &nobody), None);
    assert_eq!(extract(&B3Propagator::multi(), &[ID]), None);
    assert_eq!(extract(&B3Propagator::multi(), &[SID]), None);
}

#[test]
fn the_one_header_of_b3_wins_over_the_many_b3_1() {
    let many = [("X-B3-TraceId", TRACE), ("X-B3-SpanId", SPAN)];
    let read = |one: &str| {
        let cx = extract(&B3Propagator::multi(), &[("b3", one), many[0], many[1]])?;
        Some(cx.trace_id().to_string())
    };
    let other = "f".repeat(32);
    assert_eq!(read(&format!("{other}-{SPAN}-1")), Some(other));
    assert_eq!(read("nonsense").as_deref(), Some(TRACE));
    assert_eq!(read("0"), None, "it says not to");
}

#[test]
fn b3_is_written_as_configured_and_without_a_parent_b3_2() {
    for (flags, mark) in [
        (TraceFlags::default(), "0"),
        (TraceFlags::SAMPLED.with(TraceFlags::RANDOM), "1"),
        (TraceFlags::DEBUG, "d"),
    ] {
        let cx = context(flags);
        let text = format!("{TRACE}-{SPAN}-{mark}");
        assert_eq!(
            inject(&B3Propagator::default(), &cx),
            pairs(&[("b3", &text)])
        );
        let last = match mark {
            "d" => ("X-B3-Flags", "1"),
            mark => ("X-B3-Sampled", mark),
        };
        let ids = [("X-B3-SpanId", SPAN), ("X-B3-TraceId", TRACE)];
        let mut expected = pairs(&[ids[0], ids[1], last]);
        expected.sort();
        assert_eq!(inject(&B3Propagator::multi(), &cx), expected);
    }
    // A request that is passed on still has what an earlier hop wrote.
    let (old, cx) = (elsewhere(), context(TraceFlags::SAMPLED));
    let all = [PropagatorKind::B3Multi, PropagatorKind::B3];
    for (first, then) in [(&all[..1], &all[1..]), (&all[1..], &all[..1]), (&all, &all)] {
        let mut headers = HeaderMap::new();
        CompositePropagator::new(first).inject(&old, &mut headers);
        let then = CompositePropagator::new(then);
        then.inject(&cx, &mut headers);
        assert_eq!(
            headers.len(),
            then.fields().len() - usize::from(then.fields().len() > 1)
        );
        for reads in [B3Propagator::single(), B3Propagator::multi()] {
            let read = reads.extract(TraceContext::default(), &headers);
            assert_eq!(read.span_id(), cx.span_id());
        }
    }
    for writes in [B3Propagator::single(), B3Propagator::multi()] {
        let mut headers = headers(&[("x-b3-parentspanid", SPAN)]);
        writes.inject(&cx, &mut headers);
        assert_eq!(headers.get("x-b3-parentspanid"), None);
    }
    assert_eq!(B3Propagator::single().fields(), ["b3"]);
    assert_eq!(B3Propagator::multi().fields().len(), 4);
}

#[test]
fn jaeger_jae_1() {
    let read = |text: &str| {
        let cx = extract(&JaegerPropagator, &[("Uber-Trace-Id", text)])?;
        let flags = (cx.is_sampled(), cx.flags().is_debug());
        Some((format!("{}-{}", cx.trace_id(), cx.span_id()), flags))
    };
    let ids = || format!("{TRACE}-{SPAN}");
    for (text, flags) in [
        (format!("{TRACE}:{SPAN}:0:1"), (true, false)),
        (format!("{TRACE}:{SPAN}:0:0"), (false, false)),
        (format!("{TRACE}:{SPAN}:{SPAN}:01"), (true, false)),
        (format!("{TRACE}:{SPAN}:0:3"), (true, true)),
        (format!("{TRACE}:{SPAN}:0:2"), (true, true)),
        (format!("{TRACE}:{SPAN}:0:8"), (false, false)),
        (format!("{TRACE}%3A{SPAN}%3a0%3A1"), (true, false)),
    ] {
        assert_eq!(read(&text), Some((ids(), flags)), "{text}");
    }
    let short = format!("{:0>32}-{:0>16}", "abc", "1f");
    assert_eq!(read("ABC:1f:0:1"), Some((short, (true, false))));
    for wrong in [
        "".to_owned(),
        "::::".to_owned(),
        format!("{TRACE}:{SPAN}:0"),
        format!("{TRACE}:{SPAN}::1"),
        format!("{TRACE}:{SPAN}:0:"),
        format!("{TRACE}:{SPAN}:0:1:"),
        format!("{TRACE}:{SPAN}:0:001"),
        format!("{TRACE}0:{SPAN}:0:1"),
        format!("{TRACE}:{SPAN}0:0:1"),
        format!("0:{SPAN}:0:1"),
        format!("{TRACE}:0:0:1"),
        format!("+{}:{SPAN}:0:1", &TRACE[1..]),
        format!("{TRACE}%2C{SPAN}:0:1"),
    ] {
        assert_eq!(read(&wrong), None, "{wrong}");
    }
    let cx = context(TraceFlags::DEBUG).with_baggage(Baggage::EMPTY.with("k", "ä b"));
    let text = format!("{TRACE}:{SPAN}:0:3");
    let sent = [("uber-trace-id", &*text), ("uberctx-k", "%C3%A4%20b")];
    assert_eq!(inject(&JaegerPropagator, &cx), pairs(&sent));
    let read = extract(&JaegerPropagator, &sent).unwrap();
    assert_eq!(read.baggage().to_string(), "old=2,k=%C3%A4%20b");
    // Through the environment, as far as a variable's name can tell (ENVC-1).
    let mut variables = Environment::default();
    let cx = cx.with_baggage(Baggage::EMPTY.with("userId", "ä"));
    JaegerPropagator.inject(&cx, &mut variables);
    let read = JaegerPropagator.extract(TraceContext::default(), &variables);
    assert_eq!(read.baggage().get("userid"), Some("ä"));
    let alone = extract(&JaegerPropagator, &[("UberCtx-k", "1"), ("uberctx-", "2")]);
    assert_eq!(alone.unwrap().baggage().len(), 2);
}

#[test]
fn xray() {
    const ROOT: &str = "Root=1-12345678-901234567890123456789012";
    let read = |text: &str| {
        let cx = extract(&XRayPropagator, &[("x-amzn-trace-id", text)])?;
        assert_eq!(cx.span_id().to_string(), SPAN);
        assert_eq!(cx.trace_id().to_string(), TRACE);
        Some(cx.is_sampled())
    };
    for (text, sampled) in [
        (format!("{ROOT};Parent={SPAN};Sampled=1"), true),
        (format!("{ROOT};Parent={SPAN};Sampled=0"), false),
        (format!("{ROOT};Parent={SPAN};Sampled=?"), false),
        (format!("{ROOT};Parent={SPAN}"), false),
        (format!("Sampled=1 ; Parent={SPAN} ; {ROOT};"), true),
        (
            format!("Self=1-2-3;{ROOT};Parent={SPAN};Sampled=1;Lineage=a:1|b:2"),
            true,
        ),
    ] {
        assert_eq!(read(&text), Some(sampled), "{text}");
    }
    for wrong in [
        "".to_owned(),
        ROOT.to_owned(),
        format!("Parent={SPAN};Sampled=1"),
        format!("{ROOT};Parent={SPAN};Sampled=2"),
        format!("{ROOT};Parent={SPAN}0;Sampled=1"),
        format!("{ROOT}0;Parent={SPAN};Sampled=1"),
        format!("{ROOT};Parent={SPAN};Sampled"),
        format!("Root=2-12345678-901234567890123456789012;Parent={SPAN}"),
        format!("Root=1-123456789-01234567890123456789012;Parent={SPAN}"),
        format!("Root=1-00000000-{};Parent={SPAN}", "0".repeat(24)),
        format!("{ROOT};Parent=0000000000000000"),
    ] {
        assert_eq!(read(&wrong), None, "{wrong}");
    }
    let text = format!("{ROOT};Parent={SPAN};Sampled=1");
    let sent = inject(&XRayPropagator, &context(TraceFlags::SAMPLED));
    assert_eq!(sent, pairs(&[("X-Amzn-Trace-Id", &text)]));
}

#[test]
fn no_header_is_looked_through_however_long_it_is() {
    const MANY: usize = 1 << 20;
    let w3c = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let formats: [(&dyn Propagator, &str, String); 5] = [
        (
            &B3Propagator::single(),
            "b3",
            format!(
                "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1{}",
                " ".repeat(MANY)
            ),
        ),
        (
            &B3Propagator::single(),
            "X-B3-TraceId",
            format!("4bf92f3577b34da6a3ce929d0e0e4736{}", " ".repeat(MANY)),
        ),
        (
            &XRayPropagator,
            "X-Amzn-Trace-Id",
            format!(
                "{}Root=1-4bf92f35-77b34da6a3ce929d0e0e4736;Parent=00f067aa0ba902b7;Sampled=1",
                ";".repeat(MANY)
            ),
        ),
        (
            &JaegerPropagator,
            "uber-trace-id",
            format!(
                "4bf92f3577b34da6a3ce929d0e0e4736:00f067aa0ba902b7:0:1{}",
                " ".repeat(MANY)
            ),
        ),
        (
            &BaggagePropagator,
            "baggage",
            format!("{}a=b", ",".repeat(MANY)),
        ),
    ];
    for (format, key, value) in formats {
        let mut carrier = std::collections::HashMap::from([(key.to_owned(), value)]);
        carrier.insert("X-B3-SpanId".to_owned(), "00f067aa0ba902b7".to_owned());
        let read = format.extract(TraceContext::default(), &carrier);
        assert!(!read.is_valid() && read.baggage().is_empty(), "{key}");
    }
    // A trace does not end for it: its state does.
    let carrier = std::collections::HashMap::from([
        ("traceparent".to_owned(), w3c.to_owned()),
        (
            "tracestate".to_owned(),
            format!("foo=1{}", ",".repeat(MANY)),
        ),
    ]);
    let read = TraceContextPropagator.extract(TraceContext::default(), &carrier);
    assert_eq!(read.to_traceparent().as_str(), w3c);
    assert!(read.trace_state().is_empty());
    // Of many headers the first are read.
    let many: Vec<_> = (0..10_000)
        .map(|i| (format!("uberctx-{i}"), "\u{e4}".to_owned()))
        .chain([("uberctx-last".to_owned(), "v".to_owned())])
        .collect();
    let read = JaegerPropagator.extract(TraceContext::default(), &many);
    assert!(read.baggage().is_empty());
}
