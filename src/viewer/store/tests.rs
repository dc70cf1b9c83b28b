use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{self as proto, ResourceSpans};
use prost::Message;

use super::*;

fn resource(service: &str) -> Vec<u8> {
    let value = any_value::Value::StringValue(service.to_owned());
    let attribute = KeyValue {
        key: "service.name".to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..Default::default()
    };
    let resource = Some(Resource {
        attributes: vec![attribute],
        ..Default::default()
    });
    ResourceSpans {
        resource,
        ..Default::default()
    }
    .encode_to_vec()
}

fn id(trace: u64) -> [u8; 16] {
    let mut id = [1; 16];
    id[8..].copy_from_slice(&trace.to_be_bytes());
    id
}

fn span(trace: u64, span: u64, parent: u64, nanos: u64) -> proto::Span {
    proto::Span {
        trace_id: id(trace).to_vec(),
        span_id: span.to_be_bytes().to_vec(),
        parent_span_id: if parent == 0 {
            Vec::new()
        } else {
            parent.to_be_bytes().to_vec()
        },
        name: format!("span {span}"),
        start_time_unix_nano: 1_000 + span,
        end_time_unix_nano: 1_000 + span + nanos,
        ..Default::default()
    }
}

fn failed(mut span: proto::Span) -> proto::Span {
    span.status = Some(proto::Status {
        code: 2,
        ..Default::default()
    });
    span
}

fn put(store: &Store, span: &proto::Span) {
    assert!(
        store
            .writer()
            .add(&resource("shop"), b"", &span.encode_to_vec())
    );
}

/// The state's own sums, made anew.
fn check(store: &Store) {
    let state = lock(&store.state);
    let traces: usize = state.traces.values().map(|t| t.cost).sum();
    let origins: usize = state.origins.iter().map(|o| o.cost()).sum();
    assert_eq!(state.bytes, traces + origins + state.loose.bytes);
    let precious = state.traces.values().filter(|t| t.is_precious);
    assert_eq!(
        state.precious_bytes,
        precious.map(|t| t.cost).sum::<usize>()
    );
    assert_eq!(state.traces.len(), state.by_id.len());
    assert_eq!(
        state.traces.len(),
        state.ordinary.len() + state.precious.len()
    );
    assert!(state.bytes <= store.max_bytes);
}

#[test]
fn a_trace_is_known_by_its_root_and_the_earliest_without_one() {
    let store = Store::new(1 << 20);
    put(&store, &span(1, 3, 2, 5));
    put(&store, &span(1, 4, 2, 9));
    let summary = store.trace(id(1)).unwrap().summary;
    assert_eq!(
        (&*summary.name, summary.has_root, summary.spans),
        ("span 3", false, 2)
    );
    put(&store, &failed(span(1, 2, 0, 100)));
    let summary = store.trace(id(1)).unwrap().summary;
    assert_eq!(
        (&*summary.name, summary.has_root, summary.errors),
        ("span 2", true, 1)
    );
    assert_eq!(
        (&*summary.service, summary.start, summary.nanos()),
        ("shop", 1_002, 100)
    );
    check(&store);
}

#[test]
fn a_span_that_comes_again_replaces_itself() {
    let store = Store::new(1 << 20);
    put(&store, &span(1, 2, 0, 100));
    put(&store, &span(1, 2, 0, 300));
    let trace = store.trace(id(1)).unwrap();
    assert_eq!((trace.summary.spans, trace.summary.nanos()), (1, 300));
    check(&store);
}

#[test]
fn the_oldest_goes_first_and_errors_last() {
    let store = Store::new(256 << 10);
    for trace in 1..=20 {
        put(&store, &failed(span(trace, 1, 0, 1)));
    }
    for trace in 21..=2_000 {
        put(&store, &span(trace, 1, 0, 1));
    }
    let held = store.held();
    assert!(held.evicted > 1_000 && held.bytes <= 256 << 10, "{held:?}");
    for trace in 1..=20 {
        assert!(store.trace(id(trace)).is_some(), "error {trace} went");
    }
    assert!(store.trace(id(2_000)).is_some());
    assert!(store.trace(id(21)).is_none());
    check(&store);
}

#[test]
fn errors_alone_do_not_keep_out_what_is_new() {
    let store = Store::new(256 << 10);
    for trace in 1..=2_000 {
        put(&store, &failed(span(trace, 1, 0, 1)));
    }
    put(&store, &span(3_000, 1, 0, 1));
    for trace in 4_000..4_020 {
        put(&store, &failed(span(trace, 1, 0, 1)));
    }
    assert!(store.trace(id(3_000)).is_some());
    assert!(store.trace(id(1)).is_none());
    check(&store);
}

#[test]
fn slow_roots_stay_longer() {
    let store = Store::new(256 << 10);
    let root = |trace, nanos| proto::Span {
        name: "GET /".to_owned(),
        ..span(trace, 1, 0, nanos)
    };
    for trace in 1..=40 {
        put(&store, &root(trace, 1_000));
    }
    put(&store, &root(41, 9_000));
    for trace in 42..=3_000 {
        put(&store, &root(trace, 1_000));
    }
    assert!(store.trace(id(41)).unwrap().summary.is_slow_or_failed);
    assert!(store.trace(id(40)).is_none());
    check(&store);
}

#[test]
fn a_trace_without_end_is_cut_and_says_so() {
    let store = Store::new(64 << 20);
    let mut writer = store.writer();
    for i in 1..=MOST_SPANS as u64 + 5 {
        assert!(writer.add(b"", b"", &span(1, i, u64::from(i > 1), 1).encode_to_vec()));
    }
    drop(writer);
    let summary = store.trace(id(1)).unwrap().summary;
    assert_eq!((summary.spans, summary.left_out), (MOST_SPANS, 5));
    check(&store);

    // By bytes, too: it takes half of the memory at most.
    let store = Store::new(256 << 10);
    put(&store, &span(7, 1, 0, 1));
    for i in 1..=5_000 {
        put(&store, &span(1, i, 0, 1));
    }
    assert!(store.trace(id(1)).unwrap().summary.left_out > 1_000);
    assert!(store.trace(id(7)).is_some());
    check(&store);
}

#[test]
fn one_giant_leaves_room_for_those_after_it() {
    let store = Store::new(256 << 10);
    // A resource that is larger than all of the memory.
    let giant = resource(&"long".repeat(200 << 10));
    let small = span(1, 1, 0, 1).encode_to_vec();
    assert!(!store.writer().add(&giant, b"", &small));
    put(&store, &span(2, 1, 0, 1));
    assert!(store.trace(id(2)).is_some());
    check(&store);

    // A span that comes again, larger than a trace may be.
    put(&store, &span(3, 1, 0, 1));
    let mut large = span(3, 1, 0, 1);
    large.name = "n".repeat(200 << 10);
    put(&store, &large);
    assert!(store.trace(id(2)).is_some(), "it pushes nobody out");
    check(&store);
}

#[test]
fn what_is_no_span_is_refused() {
    let store = Store::new(1 << 20);
    let mut writer = store.writer();
    assert!(!writer.add(b"", b"", &[0xff]));
    assert!(!writer.add(b"", b"", &[]));
    assert!(
        !writer.add(
            b"",
            b"",
            &proto::Span {
                span_id: vec![1; 8],
                ..Default::default()
            }
            .encode_to_vec()
        )
    );
    assert_eq!(store.held().traces, 0);
}

#[test]
fn origins_go_with_their_last_trace() {
    let store = Store::new(256 << 10);
    for trace in 1..=5_000_u64 {
        let service = format!("service {trace}");
        assert!(store.writer().add(
            &resource(&service),
            b"",
            &span(trace, 1, 0, 1).encode_to_vec()
        ));
    }
    let state = lock(&store.state);
    assert!(
        state.origins.len() <= state.traces.len() + 64,
        "{}",
        state.origins.len()
    );
    drop(state);
    check(&store);
}

fn record(trace: Option<u64>, text: &str, severity: i32) -> Vec<u8> {
    use opentelemetry_proto::tonic::logs::v1::LogRecord;
    let value = any_value::Value::StringValue(text.to_owned());
    LogRecord {
        time_unix_nano: 5,
        severity_number: severity,
        body: Some(AnyValue { value: Some(value) }),
        trace_id: trace.map_or_else(Vec::new, |t| id(t).to_vec()),
        ..Default::default()
    }
    .encode_to_vec()
}

#[test]
fn log_records_stand_at_their_trace_or_by_themselves() {
    let store = Store::new(1 << 20);
    let mut writer = store.writer();
    assert!(writer.add_record(&resource("shop"), b"", &record(Some(1), "early", 9)));
    assert!(writer.add_record(&resource("shop"), b"", &record(None, "loose", 9)));
    assert!(!writer.add_record(&resource("shop"), b"", &[0xff]));
    drop(writer);
    let summary = || store.trace(id(1)).unwrap().summary;
    assert_eq!(
        (&*summary().name, summary().spans, summary().records),
        ("early", 0, 1)
    );
    put(&store, &span(1, 2, 0, 100));
    assert_eq!(
        (&*summary().name, summary().spans, summary().records),
        ("span 2", 1, 1)
    );
    let (number, loose) = store.newest_record_before(u64::MAX).unwrap();
    assert_eq!(number, store.newest_record());
    assert!(loose.record().trace_id.is_none());
    assert!(store.newest_record_before(number).is_none());
    check(&store);
}

#[test]
fn log_records_are_bounded_and_push_out_no_trace() {
    let store = Store::new(1 << 20);
    put(&store, &span(7, 1, 0, 1));
    for i in 0..20_000 {
        let service = format!("service {}", i / 100);
        let text = format!("record {i} {}", "x".repeat(100));
        assert!(
            store
                .writer()
                .add_record(&resource(&service), b"", &record(None, &text, 9))
        );
    }
    let held = store.held();
    assert!(
        held.loose_records > 500 && held.loose_evicted > 1_000,
        "{held:?}"
    );
    assert_eq!(held.loose_records as u64 + held.loose_evicted, 20_000);
    assert!(store.trace(id(7)).is_some());
    check(&store);
    for i in 0..20_000 {
        let text = format!("record {i} {}", "x".repeat(100));
        assert!(
            store
                .writer()
                .add_record(&resource("shop"), b"", &record(Some(1), &text, 9))
        );
    }
    let summary = store.trace(id(1)).unwrap().summary;
    assert!(summary.records > 1_000);
    assert_eq!(summary.records as u64 + summary.records_left_out, 20_000);
    assert!(store.trace(id(7)).is_some());
    check(&store);
}

#[test]
fn changes_are_told_newest_first_and_once() {
    let store = Store::new(1 << 20);
    for trace in 1..=10 {
        put(&store, &span(trace, 1, 0, 1));
    }
    put(&store, &failed(span(3, 2, 1, 1)));
    let (all, last) = store.changed_after(0, 100);
    assert_eq!((all.len(), all[0].summary.id, last), (10, id(3), 11));
    assert_eq!(store.changed_after(0, 4).0.len(), 4);
    put(&store, &span(4, 2, 1, 1));
    let (changed, last) = store.changed_after(last, 100);
    assert_eq!((changed.len(), changed[0].summary.id, last), (1, id(4), 12));
    assert!(store.changed_after(last, 100).0.is_empty());
}

#[test]
fn an_open_span_gives_way_to_its_end_and_what_has_ended_is_not_open_again() {
    let store = Store::new(1 << 20);
    let mut open = span(1, 1, 0, 0);
    open.end_time_unix_nano = 0;
    let show = || {
        let mut writer = store.writer();
        assert!(writer.add_open(&resource("shop"), b"", &open.encode_to_vec()));
    };
    let summary = || store.trace(id(1)).unwrap().summary;
    show();
    show();
    assert_eq!((summary().open, summary().spans), (1, 1));
    // It lasts until it was heard of last, which was now.
    assert!(summary().heard > 1 << 60 && summary().nanos() > 1 << 60);
    put(&store, &span(1, 1, 0, 500));
    for _ in 0..2 {
        assert_eq!((summary().open, summary().nanos()), (0, 500));
        show();
    }
    // Where the span that ended finds no room, the open one goes too.
    let mut large = span(1, 2, 1, 5);
    let open = large.clone();
    assert!(
        store
            .writer()
            .add_open(&resource("shop"), b"", &open.encode_to_vec())
    );
    large.name = "x".repeat(600 << 10);
    put(&store, &large);
    let summary = summary();
    assert_eq!((summary.open, summary.spans, summary.left_out), (0, 1, 1));
}
