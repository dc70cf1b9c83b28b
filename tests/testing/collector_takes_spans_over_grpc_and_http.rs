//! The test collector decodes what independent clients send (OTLP-1, OTLP-2) and refuses the rest
//! as a real one does.

use crate::support::{
    DEADLINE, GrpcClient, HttpClient, attribute, framed, gzip, request, request_of,
};
use http::Version;
use http_body_util::Full;
use opentelemetry_proto::tonic::trace::v1::{Span, Status, span};
use tracing_otlp::testing::{Collector, ReceivedKind, ReceivedStatusCode};
use tracing_otlp::{Protocol, SpanId, TraceId};

const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");

#[tokio::test]
async fn grpc() {
    let collector = Collector::start();
    let mut client = GrpcClient::connect(&collector.grpc_endpoint()).await;
    let message = request(&["a", "b"]);
    let reply = client
        .send(framed(false, &message), &[("x-tenant", "blue")])
        .await
        .unwrap();
    assert_eq!(reply.status, 200);
    assert_eq!(reply.grpc(), (0, String::new()));
    assert_eq!(reply.body, framed(false, &[]), "an empty response message");
    assert!(reply.trailers.contains_key("grpc-status"), "{reply:?}");

    let spans = collector.wait_for_spans(2, DEADLINE).unwrap();
    assert_eq!([&*spans[0].name, &*spans[1].name], ["a", "b"]);
    let [request] = &collector.requests()[..] else {
        panic!("one request: {:?}", collector.requests());
    };
    assert_eq!(request.protocol, Protocol::Grpc);
    assert_eq!(request.version, Version::HTTP_2);
    assert_eq!(request.header("x-tenant"), Some("blue"));
    assert_eq!(request.message, message);
    assert_eq!(request.wire_len, message.len() + 5);
    assert_eq!((request.resource_count, request.scope_count), (1, 1));
    assert!(request.accepted && !request.compressed);
}

#[tokio::test]
async fn http() {
    let collector = Collector::start();
    let mut client = HttpClient::connect(&collector.http_endpoint()).await;
    let message = request(&["a"]);
    let reply = client.export(&message).await.unwrap();
    assert_eq!((reply.status, &reply.body[..]), (200, &[][..]));
    assert_eq!(reply.header("content-type"), Some("application/x-protobuf"));
    assert_eq!(collector.spans().len(), 1);
    let request = &collector.requests()[0];
    assert_eq!(request.protocol, Protocol::HttpProtobuf);
    assert_eq!(request.version, Version::HTTP_11);
    assert_eq!(request.wire_len, message.len());
    assert_eq!(request.message, message);
}

#[tokio::test]
async fn gzip_on_both() {
    let collector = Collector::start();
    let message = request(&["a"]);
    let packed = gzip(&message);

    let mut client = GrpcClient::connect(&collector.grpc_endpoint()).await;
    let reply = client
        .send(framed(true, &packed), &[("grpc-encoding", "gzip")])
        .await
        .unwrap();
    assert_eq!(reply.grpc().0, 0);

    let mut client = HttpClient::connect(&collector.http_endpoint()).await;
    let headers = [PROTOBUF, ("content-encoding", "gzip")];
    let reply = client
        .send("POST", "/v1/traces", &headers, packed.clone())
        .await
        .unwrap();
    assert_eq!(reply.status, 200);

    assert_eq!(collector.spans().len(), 2);
    for (request, head) in collector.requests().iter().zip([5, 0]) {
        assert!(request.compressed);
        assert_eq!(request.wire_len, packed.len() + head);
        assert_eq!(request.message, message);
    }
}

#[tokio::test]
async fn grpc_messages_may_say_that_they_are_not_compressed() {
    let collector = Collector::start();
    let mut client = GrpcClient::connect(&collector.grpc_endpoint()).await;
    let body = framed(false, &request(&["a"]));
    let reply = client.send(body, &[("grpc-encoding", "gzip")]).await;
    assert_eq!(reply.unwrap().grpc().0, 0);
    assert!(!collector.requests()[0].compressed);
}

#[tokio::test]
async fn every_field_of_a_span_is_shown() {
    let collector = Collector::start();
    let mut client = GrpcClient::connect(&collector.grpc_endpoint()).await;
    let sent = Span {
        trace_id: (1..=16).collect(),
        span_id: (1..=8).collect(),
        parent_span_id: (11..=18).collect(),
        trace_state: "v=1".to_owned(),
        flags: 0x301,
        name: "GET /".to_owned(),
        kind: 2,
        start_time_unix_nano: 5,
        end_time_unix_nano: 12,
        attributes: vec![
            attribute("k", "1"),
            attribute("j", "2"),
            attribute("k", "3"),
        ],
        dropped_attributes_count: 1,
        events: vec![span::Event {
            time_unix_nano: 6,
            name: "cache miss".to_owned(),
            attributes: vec![attribute("key", "user:1")],
            dropped_attributes_count: 2,
        }],
        dropped_events_count: 3,
        links: vec![span::Link {
            trace_id: vec![9; 16],
            span_id: vec![8; 8],
            trace_state: "w=2".to_owned(),
            attributes: vec![attribute("why", "batch")],
            dropped_attributes_count: 4,
            flags: 0x100,
        }],
        dropped_links_count: 5,
        status: Some(Status {
            message: "no stock".to_owned(),
            code: 2,
        }),
    };
    client.export(&request_of(vec![sent])).await.unwrap();

    let span = &collector.spans()[0];
    assert_eq!(
        span.trace_id.to_string(),
        "0102030405060708090a0b0c0d0e0f10"
    );
    assert_eq!(span.span_id.to_string(), "0102030405060708");
    assert_eq!(span.parent_span_id.unwrap().to_string(), "0b0c0d0e0f101112");
    assert_eq!(
        (&*span.trace_state, span.flags, &*span.name),
        ("v=1", 0x301, "GET /")
    );
    assert_eq!(span.kind, ReceivedKind::Server);
    assert_eq!((span.start_unix_nanos, span.end_unix_nanos), (5, 12));
    assert_eq!(span.duration().as_nanos(), 7);
    let attributes = span.attributes.iter().map(|(k, v)| format!("{k}={v}"));
    let attributes: Vec<_> = attributes.collect();
    assert_eq!(attributes.join(" "), "k=1 j=2 k=3", "order and duplicates");
    assert_eq!(span["k"], "1");
    assert_eq!(
        (
            span.dropped_attributes,
            span.dropped_events,
            span.dropped_links
        ),
        (1, 3, 5)
    );
    let event = span.event("cache miss").unwrap();
    assert_eq!((event.unix_nanos, event.dropped_attributes), (6, 2));
    assert_eq!(event["key"], "user:1");
    let link = &span.links[0];
    assert_eq!(link.trace_id, TraceId::from_bytes([9; 16]));
    assert_eq!(link.span_id, SpanId::from_bytes([8; 8]));
    assert_eq!(
        (&*link.trace_state, link.flags, link.dropped_attributes),
        ("w=2", 0x100, 4)
    );
    assert_eq!(link.attr("why").unwrap(), &"batch");
    assert_eq!(span.status.code, ReceivedStatusCode::Error);
    assert_eq!(span.status.message, "no stock");
    assert_eq!(
        (&*span.scope.name, &*span.scope.version),
        ("shop::checkout", "1.2.3")
    );
    assert_eq!(span.scope.schema_url, "https://example.org/scope");
    assert_eq!(span.resource["service.name"], "shop");
    assert_eq!(span.resource.schema_url, "https://example.org/resource");
}

#[tokio::test]
async fn what_is_no_message_is_refused_and_kept() {
    let collector = Collector::start();
    let garbage = b"\x0a\xff\x01";

    let mut client = GrpcClient::connect(&collector.grpc_endpoint()).await;
    let (code, message) = client.export(garbage).await.unwrap().grpc();
    assert_eq!(code, 3, "INVALID_ARGUMENT");
    assert!(message.starts_with("protobuf: "), "{message}");
    let cut = client.send(vec![0, 0, 0, 0, 9, 1], &[]).await.unwrap();
    assert_eq!(
        cut.grpc(),
        (
            3,
            "gRPC framing says flag 0 and 9 bytes, 1 follow".to_owned()
        )
    );
    let short = client.send(vec![0, 0], &[]).await.unwrap();
    assert_eq!(
        short.grpc(),
        (3, "2 bytes are too few for a gRPC message".to_owned())
    );
    let unnamed = client.send(framed(true, &gzip(b"")), &[]).await.unwrap();
    assert_eq!(unnamed.grpc().0, 13, "INTERNAL, as gRPC has it");
    let headers = [("grpc-encoding", "snappy")];
    let unknown = client.send(framed(true, b"?"), &headers).await.unwrap();
    assert_eq!(
        unknown.grpc(),
        (12, "compression \"snappy\" is not supported".to_owned())
    );
    assert_eq!(
        unknown.header("grpc-accept-encoding"),
        Some("identity, gzip, zstd")
    );

    let mut client = HttpClient::connect(&collector.http_endpoint()).await;
    let reply = client.export(garbage).await.unwrap();
    assert_eq!(reply.status, 400);
    assert_eq!(reply.header("content-type"), Some("application/x-protobuf"));
    let headers = [PROTOBUF, ("content-encoding", "gzip")];
    let reply = client
        .send("POST", "/v1/traces", &headers, b"no gzip".to_vec())
        .await
        .unwrap();
    assert_eq!(reply.status, 400);
    let headers = [PROTOBUF, ("content-encoding", "br")];
    let reply = client
        .send("POST", "/v1/traces", &headers, vec![])
        .await
        .unwrap();
    assert_eq!(reply.status, 415);

    let malformed = collector.malformed();
    assert_eq!(malformed.len(), 8);
    assert_eq!(malformed[0].body, framed(false, garbage));
    assert_eq!(malformed[5].body, &garbage[..]);
    assert!(collector.requests().is_empty() && collector.spans().is_empty());
    assert_eq!(collector.received_attempts(), 8);
}

#[tokio::test]
async fn what_is_no_export_is_turned_away() {
    let collector = Collector::start();
    let mut client = HttpClient::connect(&collector.http_endpoint()).await;
    let message = request(&["a"]);
    for (method, path, content_type, status) in [
        ("POST", "/v1/metrics", "application/x-protobuf", 404),
        ("POST", "/", "application/x-protobuf", 404),
        ("GET", "/v1/traces", "application/x-protobuf", 405),
        ("POST", "/v1/traces", "text/json", 415),
        ("POST", "/v1/traces", "application/grpc", 415),
        (
            "POST",
            "/v1/traces",
            "application/x-protobuf; charset=x",
            200,
        ),
    ] {
        let headers = [("content-type", content_type)];
        let reply = client.send(method, path, &headers, message.clone()).await;
        let reply = reply.unwrap();
        assert_eq!(reply.status, status, "{method} {path} {content_type}");
        if status == 405 {
            assert_eq!(reply.header("allow"), Some("POST"));
        }
    }

    let mut client = GrpcClient::connect(&collector.grpc_endpoint()).await;
    let mut request = http::Request::post("http://127.0.0.1/opentelemetry.Nothing/Export")
        .header("content-type", "application/grpc")
        .body(Full::from(framed(false, &message)))
        .unwrap();
    let reply = client.send_request(request.clone()).await.unwrap();
    assert_eq!(reply.grpc().0, 12, "UNIMPLEMENTED");
    let text = http::HeaderValue::from_static("text/plain");
    request.headers_mut().insert("content-type", text);
    let reply = client.send_request(request).await.unwrap();
    assert_eq!(reply.status, 415);

    assert_eq!(collector.received_attempts(), 8);
    assert_eq!(collector.spans().len(), 1);
}

#[tokio::test]
async fn http_may_be_served_at_another_path() {
    let builder = Collector::builder().with_http_path("/my/v1/traces");
    let collector = builder.start().unwrap();
    let mut client = HttpClient::connect(&collector.http_endpoint()).await;
    assert_eq!(client.export(&request(&["a"])).await.unwrap().status, 404);
    let reply = client
        .send("POST", "/my/v1/traces", &[PROTOBUF], request(&["a"]))
        .await
        .unwrap();
    assert_eq!(reply.status, 200);
}

#[tokio::test]
async fn messages_above_the_limit_are_refused() {
    let builder = Collector::builder().max_message_size(1000);
    let collector = builder.start().unwrap();
    let large = request(&["x".repeat(1000).as_str()]);
    let expected = format!(
        "received message larger than max ({} vs. 1000)",
        large.len()
    );

    let mut grpc = GrpcClient::connect(&collector.grpc_endpoint()).await;
    let reply = grpc.export(&large).await.unwrap();
    assert_eq!(reply.grpc(), (8, expected), "RESOURCE_EXHAUSTED");
    let packed = framed(true, &gzip(&large));
    let reply = grpc.send(packed, &[("grpc-encoding", "gzip")]).await;
    assert_eq!(reply.unwrap().grpc().0, 8, "also after decompression");

    let mut http = HttpClient::connect(&collector.http_endpoint()).await;
    assert_eq!(http.export(&large).await.unwrap().status, 413);
    let headers = [PROTOBUF, ("content-encoding", "gzip")];
    let reply = http
        .send("POST", "/v1/traces", &headers, gzip(&large))
        .await
        .unwrap();
    assert_eq!(reply.status, 413, "also after decompression");

    grpc.export(&request(&["small"])).await.unwrap();
    http.export(&request(&["small"])).await.unwrap();
    assert_eq!(collector.spans().len(), 2);
    assert_eq!(collector.connections(), 2, "both lived on");
}

#[tokio::test]
async fn counting_keeps_numbers_only() {
    let collector = Collector::builder().count_only().start().unwrap();
    let mut client = GrpcClient::connect(&collector.grpc_endpoint()).await;
    let message = request(&["a", "b", "c"]);
    assert_eq!(client.export(&message).await.unwrap().grpc().0, 0);
    // Protobuf joins messages by joining their bytes.
    let twice = [&message[..], &message[..]].concat();
    assert_eq!(client.export(&twice).await.unwrap().grpc().0, 0);
    let cut = client.export(&message[..message.len() - 1]).await.unwrap();
    assert_eq!(cut.grpc().0, 3, "INVALID_ARGUMENT");

    assert_eq!(collector.span_count(), 9);
    assert!(collector.spans().is_empty());
    let counts: Vec<_> = collector
        .requests()
        .iter()
        .map(|r| {
            (
                r.resource_count,
                r.scope_count,
                r.span_count,
                r.message.len(),
            )
        })
        .collect();
    assert_eq!(counts, [(1, 1, 3, 0), (2, 2, 6, 0)]);
}
