//! A gRPC call becomes a span on each side, in one trace, which lasts as long as the call.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use crate::capture::{Span, Value, int, layer, named, text, under, value};
use crate::grpc::{Answer, Calls, calls, channel, serve, serve_with};
use crate::pace::fit;
use crate::web::{at_info, block_on, recorded_at_info, until, until_closed};
use http::HeaderName;
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataMap;
use tonic::{Code, Request};
use tracing::{Instrument as _, info_span};
use tracing_otlp::TraceContext;
use tracing_otlp::middleware::{ClientLayer, ServerLayer};
use tracing_otlp::propagation::{self, Propagator as _};
use tracing_subscriber::layer::SubscriberExt as _;

const SERVER: i32 = 2;
const CLIENT: i32 = 3;
const ERROR: i32 = 2;

#[track_caller]
fn is(span: &Span, key: &str, expected: Option<Value>) {
    assert_eq!(value(&span.attributes, key), expected.as_ref(), "{key}");
}

#[track_caller]
fn has_code(span: &Span, code: &str, is_error: bool) {
    is(span, "rpc.status_code", text(code));
    let status = span.status.as_ref().map_or(0, |status| status.code);
    assert_eq!(status == ERROR, is_error, "{span:#?}");
    is(span, "error.type", is_error.then(|| text(code)).flatten());
}

fn described(span: &Span) -> &str {
    span.status.as_ref().map_or("", |s| s.message.as_str())
}

/// The client's span and the server's.
#[track_caller]
fn both(spans: &[Span]) -> (&Span, &Span) {
    assert_eq!(spans.len(), 2, "{spans:#?}");
    let of = |kind| spans.iter().find(|span| span.kind == kind).unwrap();
    (of(CLIENT), of(SERVER))
}

fn keys(span: &Span) -> Vec<&str> {
    let keys = span.attributes.iter().map(|a| a.key.as_str());
    let mut keys: Vec<_> = keys
        .filter(|key| !key.starts_with("thread.") && *key != "target")
        .collect();
    keys.sort_unstable();
    keys
}

/// Runs `f` with a server and a client of it; the spans once they have ended.
fn recorded_until<F: Future<Output = ()>>(spans: u64, f: impl FnOnce(Calls) -> F) -> Vec<Span> {
    let (layer, capture) = layer();
    under(at_info().with(layer), || {
        block_on(|| async {
            let address = serve().await;
            f(calls(address).await).await;
            until_closed(&capture, spans).await;
        });
    });
    capture.spans()
}

#[test]
fn all_that_the_conventions_require_and_recommend_is_there_rpc_1_rpc_2_rpc_5() {
    let (layer, capture) = layer();
    let mut port = 0;
    under(at_info().with(layer), || {
        block_on(|| async {
            let address = serve().await;
            port = i64::from(address.port());
            let mut calls = calls(address).await;
            assert_eq!(calls.unary(Answer::Ok).await.unwrap(), "ok");
            until_closed(&capture, 2).await;
        });
    });
    let spans = capture.spans();
    let (client, server) = both(&spans);
    for span in [client, server] {
        assert_eq!(span.name, "test.Echo/Unary");
        has_code(span, "OK", false);
        is(span, "rpc.system.name", text("grpc"));
        is(span, "rpc.method", text("test.Echo/Unary"));
        is(span, "network.protocol.version", text("2"));
        is(span, "server.address", text("127.0.0.1"));
        is(span, "server.port", int(port));
    }
    is(server, "client.address", text("127.0.0.1"));
    is(server, "network.peer.address", text("127.0.0.1"));
    assert!(value(&server.attributes, "network.peer.port").is_some());
    let common = [
        "network.protocol.version",
        "rpc.method",
        "rpc.status_code",
        "rpc.system.name",
        "server.address",
        "server.port",
    ];
    assert_eq!(keys(client), common, "and nothing else");
    let mut more = common.to_vec();
    more.extend([
        "client.address",
        "network.peer.address",
        "network.peer.port",
    ]);
    more.sort_unstable();
    assert_eq!(keys(server), more, "and nothing else");
    assert_eq!(server.trace_id, client.trace_id);
    assert_eq!(server.parent_span_id, client.span_id);
}

#[test]
fn each_shape_of_call_is_one_span_on_each_side_rpc_6() {
    let sent = || vec!["a".to_owned(), "b".to_owned()];
    let shapes = |shape: &'static str| {
        recorded_until(2, move |mut calls: Calls| async move {
            match shape {
                "Unary" => {
                    calls.unary(Answer::Ok).await.unwrap();
                }
                "Upload" => {
                    let joined = calls.upload(tokio_stream::iter(sent())).await.unwrap();
                    assert_eq!(joined, "ab");
                }
                "Download" => {
                    let stream = calls.download(Answer::Count(3)).await.unwrap();
                    assert_eq!(stream.collect::<Vec<_>>().await.len(), 3);
                }
                _ => {
                    let stream = calls.echo(tokio_stream::iter(sent())).await.unwrap();
                    let echoed: Vec<_> = stream.map(Result::unwrap).collect().await;
                    assert_eq!(echoed, sent());
                }
            }
        })
    };
    for shape in ["Unary", "Upload", "Download", "Echo"] {
        let spans = shapes(shape);
        let (client, server) = both(&spans);
        for span in [client, server] {
            assert_eq!(span.name, format!("test.Echo/{shape}"));
            has_code(span, "OK", false);
        }
        assert_eq!(server.parent_span_id, client.span_id);
    }
}

#[test]
fn a_stream_is_over_with_its_last_frame_and_not_before_rpc_6() {
    let (layer, capture) = layer();
    under(at_info().with(layer), || {
        block_on(|| async {
            let mut calls = calls(serve().await).await;
            let (send, sent) = mpsc::channel(1);
            let mut stream = calls.echo(ReceiverStream::new(sent)).await.unwrap();
            for i in 0..5 {
                send.send(i.to_string()).await.unwrap();
                assert_eq!(stream.message().await.unwrap().unwrap(), i.to_string());
                assert_eq!((capture.stats().open, capture.spans().len()), (2, 0));
            }
            drop(send);
            assert_eq!(stream.message().await.unwrap(), None);
            until_closed(&capture, 2).await;
        });
    });
    let spans = capture.spans();
    let (client, server) = both(&spans);
    has_code(client, "OK", false);
    has_code(server, "OK", false);
}

#[test]
fn a_status_is_read_from_headers_and_from_trailers_rpc_3_rpc_4() {
    // Code, what the server's fault is.
    for (code, name, is_server_s) in [
        (Code::Cancelled, "CANCELLED", false),
        (Code::Unknown, "UNKNOWN", true),
        (Code::InvalidArgument, "INVALID_ARGUMENT", false),
        (Code::DeadlineExceeded, "DEADLINE_EXCEEDED", true),
        (Code::NotFound, "NOT_FOUND", false),
        (Code::AlreadyExists, "ALREADY_EXISTS", false),
        (Code::PermissionDenied, "PERMISSION_DENIED", false),
        (Code::ResourceExhausted, "RESOURCE_EXHAUSTED", false),
        (Code::FailedPrecondition, "FAILED_PRECONDITION", false),
        (Code::Aborted, "ABORTED", false),
        (Code::OutOfRange, "OUT_OF_RANGE", false),
        (Code::Internal, "INTERNAL", true),
        (Code::Unavailable, "UNAVAILABLE", true),
        (Code::DataLoss, "DATA_LOSS", true),
        (Code::Unauthenticated, "UNAUTHENTICATED", false),
    ] {
        for is_late in [false, true] {
            let spans = recorded_until(2, |mut calls| async move {
                let status = match is_late {
                    // In the headers: there is no message.
                    false => calls.unary(Answer::Fails(code)).await.unwrap_err(),
                    // In the trailers, after a message.
                    true => {
                        let answer = Answer::FailsLate(code);
                        let mut stream = calls.download(answer).await.unwrap();
                        assert!(stream.message().await.unwrap().is_some());
                        stream.message().await.unwrap_err()
                    }
                };
                assert_eq!(status.code(), code);
            });
            let (client, server) = both(&spans);
            has_code(client, name, true);
            has_code(server, name, is_server_s);
            assert_eq!(described(client), "says the test, 100%");
            let told = if is_server_s {
                "says the test, 100%"
            } else {
                ""
            };
            assert_eq!(described(server), told);
        }
    }
}

#[test]
fn methods_that_a_server_does_not_know_are_other_rpc_1_rpc_2() {
    for path in ["/test.Echo/Nothing", "/no.Service/Unary"] {
        let spans = recorded_until(2, |mut calls| async move {
            let status = calls.at(path, Answer::Ok).await.unwrap_err();
            assert_eq!(status.code(), Code::Unimplemented);
        });
        let (client, server) = both(&spans);
        let method = path.trim_start_matches('/');
        assert_eq!(
            (client.name.as_str(), server.name.as_str()),
            (method, "grpc")
        );
        is(client, "rpc.method", text(method));
        is(client, "rpc.method_original", None);
        is(server, "rpc.method", text("_OTHER"));
        is(server, "rpc.method_original", text(method));
        has_code(client, "UNIMPLEMENTED", true);
        has_code(server, "UNIMPLEMENTED", true);
    }
}

#[test]
fn a_method_has_its_name_once_it_has_answered_rpc_2() {
    let failing = Answer::Fails(Code::Unauthenticated);
    let (layer, capture) = layer();
    under(at_info().with(layer), || {
        block_on(|| async {
            let mut calls = calls(serve().await).await;
            for answer in [failing, Answer::Ok, failing, Answer::Panics] {
                let _ = calls.unary(answer).await;
            }
            until_closed(&capture, 8).await;
        });
    });
    let spans = capture.spans();
    let names = |kind| {
        let spans = spans.iter().filter(move |span| span.kind == kind);
        spans.map(|span| span.name.as_str()).collect::<Vec<_>>()
    };
    const NAME: &str = "test.Echo/Unary";
    assert_eq!(names(SERVER), ["grpc", NAME, NAME, NAME]);
    assert_eq!(names(CLIENT), [NAME; 4]);
    let first = spans.iter().find(|span| span.kind == SERVER).unwrap();
    is(first, "rpc.method", text("_OTHER"));
    is(first, "rpc.method_original", text(NAME));
}

#[test]
fn a_method_that_is_listed_has_its_name_from_the_first_call_rpc_2() {
    let (layer, capture) = layer();
    under(at_info().with(layer), || {
        block_on(|| async {
            let server = ServerLayer::new().with_known_rpc_methods(["test.Echo/Unary"]);
            let mut calls = calls(crate::grpc::serve_with(Some(server)).await).await;
            let _ = calls.unary(Answer::Fails(Code::Internal)).await;
            let _ = calls.at("/test.Echo/Nothing", Answer::Ok).await;
            until_closed(&capture, 4).await;
        });
    });
    let spans = capture.spans();
    let served = spans.iter().filter(|span| span.kind == SERVER);
    let names: Vec<_> = served.map(|span| span.name.as_str()).collect();
    assert_eq!(names, ["test.Echo/Unary", "grpc"]);
}

#[test]
fn a_stream_that_its_client_drops_is_cancelled_rpc_6() {
    let spans = recorded_until(2, |mut calls| async move {
        let mut stream = calls.download(Answer::Endless).await.unwrap();
        assert!(stream.message().await.unwrap().is_some());
    });
    let (client, server) = both(&spans);
    has_code(client, "CANCELLED", true);
    has_code(server, "CANCELLED", false);
}

#[test]
fn a_call_that_its_client_drops_is_cancelled() {
    let (layer, capture) = layer();
    under(at_info().with(layer), || {
        block_on(|| async {
            let mut calls = calls(serve().await).await;
            let call = tokio::spawn(async move { calls.unary(Answer::Never).await });
            until(|| capture.stats().open == 2).await;
            call.abort();
            until_closed(&capture, 2).await;
        });
    });
    let spans = capture.spans();
    let (client, server) = both(&spans);
    has_code(client, "CANCELLED", true);
    has_code(server, "CANCELLED", false);
}

#[test]
fn a_deadline_that_passes_is_told_by_the_client() {
    // The server gets to see it.
    let deadline = fit(Duration::from_millis(30));
    for path in ["Unary", "Download"] {
        let spans = recorded_until(2, move |mut calls| async move {
            let mut request = Request::new(Answer::Never.into());
            request.set_timeout(deadline);
            let result = match path {
                "Unary" => calls.send(request).await.map(drop),
                _ => calls.receive(request).await.map(drop),
            };
            result.unwrap_err();
        });
        let (client, _) = both(&spans);
        has_code(client, "DEADLINE_EXCEEDED", true);
    }
}

#[test]
fn a_deadline_that_passes_is_told_by_the_server() {
    let (layer, capture) = layer();
    under(at_info().with(layer), || {
        block_on(|| async {
            // One message, `never`, from a client that has all the time in the world.
            let message = [&[0, 0, 0, 0, 7, 10, 5][..], b"never"].concat();
            let request = http::Request::post(crate::grpc::UNARY)
                .header("content-type", "application/grpc")
                .header("grpc-timeout", "30m")
                .body(http_body_util::Full::from(message))
                .unwrap();
            let response = crate::web::open_h2(serve().await, request).await.unwrap();
            assert_eq!(response.headers()["grpc-status"], "1", "so tonic has it");
            until_closed(&capture, 1).await;
        });
    });
    let spans = capture.spans();
    // It has not shown yet that it has the method.
    has_code(named(&spans, "grpc"), "DEADLINE_EXCEEDED", true);
}

#[test]
fn a_server_that_panics_says_so() {
    let code = Rc::new(Cell::new(None));
    let told = code.clone();
    let spans = recorded_until(2, |mut calls| async move {
        let status = calls.unary(Answer::Panics).await.unwrap_err();
        told.set(Some(status.code()));
    });
    let (client, server) = both(&spans);
    is(server, "error.type", text("panic"));
    assert_eq!(described(server), "as it was told to");
    let exception = named_event(server, "exception");
    assert_eq!(
        value(&exception.attributes, "exception.message"),
        text("as it was told to").as_ref()
    );
    // The client is told no more than that the stream was reset; its span says what it was told.
    assert_eq!(code.get(), Some(Code::Cancelled));
    has_code(client, "CANCELLED", true);
}

fn named_event<'a>(
    span: &'a Span,
    name: &str,
) -> &'a opentelemetry_proto::tonic::trace::v1::span::Event {
    span.events.iter().find(|event| event.name == name).unwrap()
}

#[test]
fn a_connection_refused_is_unavailable_rpc_3() {
    let (spans, ()) = recorded_at_info(|| async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let layer = ClientLayer::new().with_server(format!("http://{address}"));
        let mut calls = Calls::new(channel(address).connect_lazy(), layer);
        let status = calls.unary(Answer::Ok).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
    });
    let span = named(&spans, "test.Echo/Unary");
    has_code(span, "UNAVAILABLE", true);
    assert!(described(span).contains("refused"), "{}", described(span));
    is(span, "server.address", text("127.0.0.1"));
}

#[test]
fn traces_are_joined_whoever_writes_the_metadata() {
    // By the layers.
    let (spans, ()) = recorded_at_info(|| async {
        let mut calls = calls(serve().await).await;
        let call = calls.unary(Answer::Context);
        let told = call.instrument(info_span!("caller")).await.unwrap();
        // The handler runs in the server's span.
        assert_ne!(told, "none");
    });
    let caller = named(&spans, "caller");
    assert!(spans.iter().all(|span| span.trace_id == caller.trace_id));
    let client = spans.iter().find(|span| span.kind == CLIENT).unwrap();
    assert_eq!(client.parent_span_id, caller.span_id);
    // By hand, with a client of no layer.
    let (spans, told) = recorded_at_info(|| async {
        let mut plain = Calls::plain(channel(serve().await).connect_lazy());
        let mut request = Request::new(Answer::Context.into());
        let cx = TraceContext::from_traceparent(
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        );
        propagation::global().inject(&cx.unwrap(), request.metadata_mut());
        plain.send(request).await.unwrap()
    });
    let server = named(&spans, "test.Echo/Unary");
    assert_eq!(server.trace_id[..2], [0x4b, 0xf9]);
    assert_eq!(server.parent_span_id[..2], [0x00, 0xf0]);
    let span_id: String = server.span_id.iter().map(|b| format!("{b:02x}")).collect();
    assert!(told.contains(&span_id), "{told}");
    // And read by hand, in a handler that no layer serves.
    let (_, told) = recorded_at_info(|| async {
        let address = serve_with(None).await;
        let mut calls = calls(address).await;
        let call = calls.unary(Answer::Metadata);
        call.instrument(info_span!("caller")).await.unwrap()
    });
    assert!(told.starts_with("00-"), "{told}");
}

#[test]
fn hostile_metadata_do_no_harm() {
    let spans = recorded_until(1, |_| async {
        let mut plain = Calls::plain(channel(serve().await).connect_lazy());
        let mut request = Request::new(Answer::Ok.into());
        let metadata: &mut MetadataMap = request.metadata_mut();
        for key in ["traceparent", "tracestate", "baggage", "grpc-timeout"] {
            let bytes = [&b"\xff\xfe;=,%"[..], &[b'9'; 300]].concat();
            metadata.insert(key, bytes.as_slice().try_into().unwrap());
        }
        metadata.insert_bin(
            "traceparent-bin",
            tonic::metadata::MetadataValue::from_bytes(&[0]),
        );
        assert_eq!(plain.send(request).await.unwrap(), "ok");
    });
    let server = named(&spans, "test.Echo/Unary");
    assert!(server.parent_span_id.is_empty());
    has_code(server, "OK", false);
}

#[test]
fn metadata_are_recorded_if_they_are_asked_for_rpc_7() {
    let names = || ["x-tag", "x-blob-bin"].map(HeaderName::from_static);
    let (layer, capture) = layer();
    under(at_info().with(layer), || {
        block_on(|| async {
            let served = ServerLayer::new()
                .with_request_headers(names())
                .with_response_headers([HeaderName::from_static("x-answer")]);
            let address = serve_with(Some(served)).await;
            let layer = ClientLayer::new()
                .with_request_headers(names())
                .with_response_headers([HeaderName::from_static("x-answer")]);
            let mut calls = Calls::new(channel(address).connect_lazy(), layer);
            let mut request = Request::new(Answer::Ok.into());
            let metadata = request.metadata_mut();
            metadata.append("x-tag", "one".parse().unwrap());
            metadata.append("x-tag", "two".parse().unwrap());
            metadata.insert("x-secret", "three".parse().unwrap());
            calls.send(request).await.unwrap();
            until_closed(&capture, 2).await;
        });
    });
    let spans = capture.spans();
    let (client, server) = both(&spans);
    for span in [client, server] {
        let list = |key: &str| -> Vec<_> {
            match value(&span.attributes, key) {
                Some(Value::ArrayValue(list)) => {
                    list.values.iter().map(|v| v.value.clone()).collect()
                }
                other => panic!("{key}: {other:?}"),
            }
        };
        assert_eq!(
            list("rpc.request.metadata.x-tag"),
            [text("one"), text("two")]
        );
        assert_eq!(list("rpc.response.metadata.x-answer"), [text("42")]);
        is(span, "rpc.request.metadata.x-blob-bin", None);
        assert!(!format!("{span:?}").contains("three"));
    }
}

#[test]
fn a_target_that_is_no_address_is_taken_whole_rpc_5() {
    let spans = |target: &'static str| {
        let (spans, ()) = recorded_at_info(|| async {
            let address = serve_with(None).await;
            let layer = ClientLayer::new().with_server(target);
            let mut calls = Calls::new(channel(address).connect_lazy(), layer);
            calls.unary(Answer::Ok).await.unwrap();
        });
        spans
    };
    for (target, address, port) in [
        ("dns:///shop.example:50051", "shop.example", int(50051)),
        ("unix:///run/shop.sock", "/run/shop.sock", None),
        ("10.0.0.1:1,10.0.0.2:1", "10.0.0.1:1,10.0.0.2:1", None),
    ] {
        let spans = spans(target);
        let span = named(&spans, "test.Echo/Unary");
        is(span, "server.address", text(address));
        is(span, "server.port", port);
    }
}

#[test]
fn without_a_pipeline_nothing_happens() {
    let told = block_on(|| async {
        let mut calls = calls(serve().await).await;
        calls.unary(Answer::Context).await.unwrap()
    });
    assert_eq!(told, "none");
}
