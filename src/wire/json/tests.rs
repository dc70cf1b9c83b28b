use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1 as common;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1 as proto;
use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::wire::decode::export_request;

/// The request that a line of spans holds.
fn spans_of_json(line: &str) -> Result<Vec<u8>, String> {
    let spans = request_of_json(line)?.spans;
    spans.ok_or_else(|| "no spans".to_owned())
}

fn any(value: Any) -> common::AnyValue {
    common::AnyValue { value: Some(value) }
}

fn pair(key: &str, value: Any) -> common::KeyValue {
    common::KeyValue {
        key: key.to_owned(),
        value: Some(any(value)),
        ..Default::default()
    }
}

fn span(attributes: Vec<common::KeyValue>) -> proto::Span {
    proto::Span {
        trace_id: (0xa0..0xb0).collect(),
        span_id: vec![0xb7; 8],
        parent_span_id: vec![0x0f; 8],
        trace_state: "v=1".to_owned(),
        flags: 0x301,
        name: "GET \"/\"\n\u{1}\u{2028}é".to_owned(),
        kind: 2,
        start_time_unix_nano: u64::MAX,
        end_time_unix_nano: 1_795_421_700_123_456_789,
        attributes: attributes.clone(),
        dropped_attributes_count: 1,
        events: vec![proto::span::Event {
            time_unix_nano: 5,
            name: "e".to_owned(),
            attributes: attributes.clone(),
            dropped_attributes_count: 2,
        }],
        dropped_events_count: 3,
        links: vec![proto::span::Link {
            trace_id: vec![1; 16],
            span_id: vec![2; 8],
            trace_state: "l=1".to_owned(),
            attributes,
            dropped_attributes_count: 4,
            flags: 0x100,
        }],
        dropped_links_count: 5,
        status: Some(proto::Status {
            message: "no stock".to_owned(),
            code: 2,
        }),
    }
}

fn request(spans: Vec<proto::Span>) -> ExportTraceServiceRequest {
    let scope = |name: &str, spans: &[proto::Span]| proto::ScopeSpans {
        scope: Some(common::InstrumentationScope {
            name: name.to_owned(),
            version: "1".to_owned(),
            attributes: vec![pair("s", Any::BoolValue(true))],
            dropped_attributes_count: 6,
        }),
        spans: spans.to_vec(),
        schema_url: "u".to_owned(),
    };
    ExportTraceServiceRequest {
        resource_spans: vec![proto::ResourceSpans {
            resource: Some(Resource {
                attributes: vec![pair("service.name", Any::StringValue("shop".to_owned()))],
                ..Default::default()
            }),
            scope_spans: vec![scope("a", &spans[..1]), scope("b", &spans)],
            schema_url: "r".to_owned(),
        }],
    }
}

/// As the exporter writes it.
fn written(request: &ExportTraceServiceRequest) -> String {
    let bytes = request.encode_to_vec();
    let (mut resource, mut spans) = (Vec::new(), Vec::new());
    export_request::each_span(&bytes, |r, scope, span| {
        resource = r.to_vec();
        spans.push((scope.to_vec(), span.to_vec()));
    })
    .unwrap();
    let mut out = String::new();
    let spans = spans.iter().map(|(scope, span)| (&**scope, &**span));
    assert_eq!(put_request(&mut out, &resource, spans), 0);
    assert!(!out.contains(['\n', '\r']), "{out}");
    out
}

fn every_kind() -> Vec<common::KeyValue> {
    let list = vec![any(Any::IntValue(-1)), common::AnyValue { value: None }];
    vec![
        pair("text", Any::StringValue(String::new())),
        pair("no", Any::BoolValue(false)),
        pair("zero", Any::IntValue(0)),
        pair("least", Any::IntValue(i64::MIN)),
        pair("double", Any::DoubleValue(0.1)),
        pair("whole", Any::DoubleValue(3.0)),
        pair("large", Any::DoubleValue(1e300)),
        pair("endless", Any::DoubleValue(f64::NEG_INFINITY)),
        pair("bytes", Any::BytesValue(vec![0, 255, 254, 1])),
        pair("list", Any::ArrayValue(common::ArrayValue { values: list })),
        pair(
            "map",
            Any::KvlistValue(common::KeyValueList {
                values: vec![pair("k", Any::StringValue("v".to_owned()))],
            }),
        ),
    ]
}

/// LOG-71, LOG-72, LOG-73, LOG-74.
#[test]
fn a_request_is_what_another_reader_reads_and_ours() {
    let is_finite = |a: &common::KeyValue| a.key != "endless";
    let finite = every_kind().into_iter().filter(is_finite).collect();
    let finite = request(vec![span(finite), proto::Span::default()]);
    // Theirs reads no infinity.
    let theirs: ExportTraceServiceRequest = serde_json::from_str(&written(&finite)).unwrap();
    assert_eq!(theirs, finite);
    let request = request(vec![span(every_kind()), proto::Span::default()]);
    let line = written(&request);
    let ours = spans_of_json(&line).unwrap();
    let ours = ExportTraceServiceRequest::decode(&*ours).unwrap();
    assert_eq!(ours, request);
    let json: serde_json::Value = serde_json::from_str(&line).unwrap();
    let span = &json["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
    assert_eq!(span["traceId"], "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf");
    assert_eq!(span["startTimeUnixNano"], u64::MAX.to_string());
    assert_eq!(
        (&span["kind"], &span["status"]["code"]),
        (&2.into(), &2.into())
    );
    assert_eq!(span["attributes"][2]["value"]["intValue"], "0");
    assert_eq!(span["attributes"][8]["value"]["bytesValue"], "AP/+AQ==");
    assert_eq!(span["attributes"][7]["value"]["doubleValue"], "-Infinity");
}

#[test]
fn nan_is_a_text_and_reads_back() {
    let nan = vec![pair("nan", Any::DoubleValue(f64::NAN))];
    let line = written(&request(vec![span(nan)]));
    assert!(line.contains(r#""doubleValue":"NaN""#), "{line}");
    let bytes = spans_of_json(&line).unwrap();
    let read = ExportTraceServiceRequest::decode(&*bytes).unwrap();
    let span = &read.resource_spans[0].scope_spans[0].spans[0];
    let Some(Any::DoubleValue(value)) = span.attributes[0].value.as_ref().unwrap().value else {
        panic!("{span:?}");
    };
    assert!(value.is_nan());
}

#[test]
fn a_reader_takes_what_the_rules_allow_and_names_what_they_do_not() {
    let read = |span: &str| {
        let line =
            format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{span}]}}],"x":1}}],"y":2}}"#);
        let bytes = spans_of_json(&line)?;
        let request = ExportTraceServiceRequest::decode(&*bytes).unwrap();
        Ok::<_, String>(request.resource_spans[0].scope_spans[0].spans[0].clone())
    };
    let span = read(
        r#"{"traceId":"A0A1A2A3A4A5A6A7A8A9AAABACADAEAF","spanId":"","parentSpanId":null,
        "startTimeUnixNano":7,"endTimeUnixNano":"8","kind":3,"new":[{}],
        "attributes":[{"key":"n","value":{"intValue":5}},{"key":"b","value":{"bytesValue":"_-8"}},{"key":"e"}]}"#,
    )
    .unwrap();
    assert_eq!(span.trace_id, (0xa0..0xb0).collect::<Vec<u8>>());
    assert_eq!((span.span_id.len(), span.parent_span_id.len()), (0, 0));
    let times = (span.start_time_unix_nano, span.end_time_unix_nano);
    assert_eq!((times, span.kind), ((7, 8), 3));
    assert_eq!(span.attributes[0], pair("n", Any::IntValue(5)));
    assert_eq!(
        span.attributes[1],
        pair("b", Any::BytesValue(vec![255, 239]))
    );
    for (wrong, named) in [
        (r#"{"kind":"SPAN_KIND_SERVER"}"#, "kind"),
        (r#"{"traceId":"oKGio6SlpqeoqaqrrK2urw=="}"#, "traceId"),
        (r#"{"spanId":"éééé0000000"}"#, "spanId"),
        (r#"{"startTimeUnixNano":"soon"}"#, "startTimeUnixNano"),
        (r#"{"startTimeUnixNano":-1}"#, "startTimeUnixNano"),
        (r#"{"flags":4294967296}"#, "flags"),
        (r#"{"name":5}"#, "name"),
        (r#"{"events":[5]}"#, "events"),
        (
            r#"{"attributes":[{"value":{"intValue":1.5}}]}"#,
            "attributes.value.intValue",
        ),
        (
            r#"{"attributes":[{"value":{"boolValue":1}}]}"#,
            "attributes.value.boolValue",
        ),
    ] {
        let error = read(wrong).unwrap_err();
        assert!(error.contains(named), "{wrong}: {error}");
    }
    for line in ["", "{", "[]", "{}", r#"{"resourceLogs":[]}"#, "5"] {
        assert!(spans_of_json(line).is_err(), "{line}");
    }
    let deep = format!("{}{}", r#"{"resourceSpans":["#, "[".repeat(100_000));
    assert!(spans_of_json(&deep).is_err());
}

proptest! {
    #[test]
    fn any_text_and_number_comes_back(text in ".*", int: i64, double in proptest::num::f64::NORMAL, bytes: Vec<u8>) {
        let request = request(vec![span(vec![
            pair(&text, Any::StringValue(text.clone())),
            pair("i", Any::IntValue(int)),
            pair("d", Any::DoubleValue(double)),
            pair("b", Any::BytesValue(bytes)),
        ])]);
        let line = written(&request);
        let read = spans_of_json(&line).unwrap();
        prop_assert_eq!(ExportTraceServiceRequest::decode(&*read).unwrap(), request);
    }

    #[test]
    fn any_line_is_read_or_refused(line in ".*") {
        let _ = spans_of_json(&line);
    }
}
