//! A request to an axum server becomes a span as the HTTP conventions have it.

use crate::capture::{Span, Value, int, named, text, value};
use crate::web::{block_on, recorded, request, send, serve};
use axum::Router;
use axum::routing::{any, get};
use http::StatusCode;
use tracing_otlp::middleware::ServerLayer;

const SERVER: i32 = 2;
const ERROR: i32 = 2;

fn routes() -> Router {
    let users = Router::new()
        .route("/{id}", get(|| async { "a user" }))
        .route("/{id}/orders", get(|| async { "orders" }));
    Router::new()
        .route("/", any(|| async { "home" }))
        .route("/broken", get(|| async { StatusCode::BAD_GATEWAY }))
        .route("/gone", get(|| async { StatusCode::GONE }))
        .nest("/api/users", users)
        .fallback(|| async { (StatusCode::NOT_FOUND, "nothing here") })
}

#[track_caller]
fn is(span: &Span, key: &str, expected: Option<Value>) {
    assert_eq!(value(&span.attributes, key), expected.as_ref(), "{key}");
}

fn status(span: &Span) -> (i32, &str) {
    let status = span.status.as_ref();
    status.map_or((0, ""), |s| (s.code, s.message.as_str()))
}

/// One request; its span.
fn one(layer: ServerLayer, request: http::Request<http_body_util::Empty<bytes::Bytes>>) -> Span {
    let (spans, ()) = recorded(|| async {
        let address = serve(routes().layer(layer)).await;
        send(address, request).await;
    });
    assert_eq!(spans.len(), 1, "{spans:#?}");
    spans.into_iter().next().unwrap()
}

#[test]
fn all_that_the_conventions_require_and_recommend_is_there_http_10() {
    let mut request = request("GET", "/api/users/4711/orders?page=2&sig=secret");
    let headers = request.headers_mut();
    headers.insert("user-agent", "test/1".parse().unwrap());
    // Nobody said that the peer is a proxy.
    headers.insert("x-forwarded-for", "6.6.6.6".parse().unwrap());
    let span = one(ServerLayer::new(), request);
    assert_eq!(
        (span.name.as_str(), span.kind),
        ("GET /api/users/{id}/orders", SERVER)
    );
    assert_eq!(status(&span), (0, ""));
    is(&span, "http.request.method", text("GET"));
    is(&span, "http.route", text("/api/users/{id}/orders"));
    is(&span, "url.scheme", text("http"));
    is(&span, "url.path", text("/api/users/4711/orders"));
    is(&span, "url.query", text("page=2&sig=REDACTED"));
    is(&span, "server.address", text("shop.example"));
    is(&span, "server.port", int(8080));
    is(&span, "client.address", text("127.0.0.1"));
    is(&span, "network.peer.address", text("127.0.0.1"));
    assert!(value(&span.attributes, "network.peer.port").is_some());
    is(&span, "network.protocol.version", text("1.1"));
    is(&span, "user_agent.original", text("test/1"));
    is(&span, "http.response.status_code", int(200));
    is(&span, "http.response.body.size", int(6));
    let keys = span.attributes.iter().map(|a| a.key.as_str());
    let others: Vec<_> = keys.filter(|key| !key.starts_with("thread.")).collect();
    assert_eq!(others.len(), 15, "and nothing else: {others:?}");
}

#[test]
fn routes_are_the_router_s_and_never_the_path_http_1_http_7() {
    for (path, name) in [
        ("/", "GET /"),
        ("/api/users/1", "GET /api/users/{id}"),
        ("/api/users/1/2/3", "GET"),
        ("/nowhere", "GET"),
    ] {
        let span = one(ServerLayer::new(), request("GET", path));
        assert_eq!(span.name, name, "{path}");
    }
    let layer = ServerLayer::new().with_route(|request| {
        let path = request.uri().path();
        Some(path.rsplit_once('/')?.0.to_owned().into())
    });
    let span = one(layer, request("GET", "/nowhere/4711"));
    assert_eq!(span.name, "GET /nowhere");
    is(&span, "http.route", text("/nowhere"));
}

#[test]
fn a_layer_of_a_nested_router_knows_the_whole_path_http_7() {
    let (spans, ()) = recorded(|| async {
        let inner = Router::new().route("/{id}", get(|| async { "" }));
        let app = Router::new().nest("/api", inner.layer(ServerLayer::new()));
        crate::web::get(serve(app).await, "/api/1").await;
    });
    is(named(&spans, "GET /api/{id}"), "url.path", text("/api/1"));
}

#[test]
fn only_what_is_the_server_s_fault_is_an_error_http_2_http_3() {
    let span = one(ServerLayer::new(), request("GET", "/broken"));
    assert_eq!(status(&span), (ERROR, ""));
    is(&span, "error.type", text("502"));
    is(&span, "http.response.status_code", int(502));
    for path in ["/gone", "/nowhere"] {
        let span = one(ServerLayer::new(), request("GET", path));
        assert_eq!(status(&span), (0, ""));
        is(&span, "error.type", None);
    }
}

#[test]
fn unknown_methods_are_other_http_4() {
    let span = one(ServerLayer::new(), request("PURGE", "/"));
    assert_eq!(span.name, "HTTP /");
    is(&span, "http.request.method", text("_OTHER"));
    is(&span, "http.request.method_original", text("PURGE"));
    let layer = ServerLayer::new().with_known_methods(["PURGE"]);
    let span = one(layer, request("PURGE", "/"));
    assert_eq!(span.name, "PURGE /");
    is(&span, "http.request.method_original", None);
    for method in ["HEAD", "OPTIONS"] {
        let span = one(ServerLayer::new(), request(method, "/"));
        assert_eq!(span.name, format!("{method} /"));
        assert_eq!(status(&span), (0, ""), "complete without a body");
    }
}

#[test]
fn a_trusted_proxy_is_believed_http_8() {
    let mut request = request("GET", "/");
    let headers = request.headers_mut();
    headers.insert("x-forwarded-for", "6.6.6.6, 1.2.3.4".parse().unwrap());
    headers.insert("x-forwarded-proto", "https".parse().unwrap());
    headers.insert("x-forwarded-host", "shop.example".parse().unwrap());
    let layer = ServerLayer::new().with_trusted_proxies(|ip| ip.is_loopback());
    let span = one(layer, request);
    is(&span, "client.address", text("1.2.3.4"));
    is(&span, "network.peer.address", text("127.0.0.1"));
    is(&span, "url.scheme", text("https"));
    is(&span, "server.address", text("shop.example"));
    is(&span, "server.port", int(443));
}

#[test]
fn headers_are_recorded_if_they_are_asked_for_http_6() {
    let mut request = request("GET", "/");
    let headers = request.headers_mut();
    headers.append("x-tag", "one".parse().unwrap());
    headers.append("x-tag", http::HeaderValue::from_bytes(b"tw\xff").unwrap());
    headers.append("authorization", "secret".parse().unwrap());
    let layer = ServerLayer::new()
        .with_request_headers([http::HeaderName::from_static("x-tag")])
        .with_response_headers([http::header::CONTENT_TYPE]);
    let span = one(layer, request);
    let list = |key: &str| match value(&span.attributes, key) {
        Some(Value::ArrayValue(list)) => list.values.iter().map(|v| v.value.clone()).collect(),
        other => panic!("{other:?}"),
    };
    let tags: Vec<_> = list("http.request.header.x-tag");
    assert_eq!(tags, [text("one"), text("tw\u{fffd}")]);
    let types: Vec<_> = list("http.response.header.content-type");
    assert_eq!(types, [text("text/plain; charset=utf-8")]);
    assert!(!format!("{span:?}").contains("secret"));
}

#[test]
fn hostile_requests_are_served_and_kept_small() {
    let mut request = request(
        "GET",
        &format!("/{}?{}", "ä".repeat(3000), "q".repeat(9000)),
    );
    let headers = request.headers_mut();
    headers.insert(
        "user-agent",
        http::HeaderValue::from_bytes(&[0xff; 9000]).unwrap(),
    );
    headers.insert("host", http::HeaderValue::from_bytes(&[0xfe; 90]).unwrap());
    headers.insert(
        "traceparent",
        http::HeaderValue::from_bytes(&[0xfd; 90]).unwrap(),
    );
    headers.insert("content-length", "0".parse().unwrap());
    let span = one(ServerLayer::new(), request);
    for key in ["url.path", "url.query", "user_agent.original"] {
        match value(&span.attributes, key) {
            Some(Value::StringValue(text)) => assert!(text.len() <= 3 * 4096, "{}", text.len()),
            other => panic!("{key}: {other:?}"),
        }
    }
    is(&span, "server.address", None);
}

#[test]
fn the_caller_s_trace_goes_on_pain_36() {
    let mut request = request("GET", "/");
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    request
        .headers_mut()
        .insert("traceparent", traceparent.parse().unwrap());
    let span = one(ServerLayer::new(), request.clone());
    assert_eq!(span.trace_id[..2], [0x4b, 0xf9]);
    assert_eq!(span.parent_span_id[..2], [0x00, 0xf0]);
    // Strangers get a link instead (W3C-10).
    let span = one(ServerLayer::new().with_public_endpoint(true), request);
    assert_ne!(span.trace_id[..2], [0x4b, 0xf9]);
    assert!(span.parent_span_id.is_empty());
    assert_eq!(span.links[0].trace_id[..2], [0x4b, 0xf9]);
}

#[test]
fn a_layer_within_another_continues_what_that_began() {
    let (spans, ()) = recorded(|| async {
        let inner = Router::new().route("/inner", get(|| async { "" }));
        let app = Router::new().nest("/outer", inner.layer(ServerLayer::new()));
        let app = app.layer(ServerLayer::new());
        let mut request = request("GET", "/outer/inner");
        let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let headers = request.headers_mut();
        headers.insert("traceparent", traceparent.parse().unwrap());
        send(serve(app).await, request).await;
    });
    let [inner, outer] = &spans[..] else {
        panic!("{spans:#?}")
    };
    assert_eq!(outer.parent_span_id[..2], [0x00, 0xf0]);
    assert_eq!(inner.parent_span_id, outer.span_id);
}

#[test]
fn baggage_without_a_trace_does_not_part_layers() {
    let (spans, ()) = recorded(|| async {
        let inner = Router::new().route("/inner", get(|| async { "" }));
        let app = Router::new().nest("/outer", inner.layer(ServerLayer::new()));
        let mut request = request("GET", "/outer/inner");
        let headers = request.headers_mut();
        headers.insert("baggage", "key=value".parse().unwrap());
        send(serve(app.layer(ServerLayer::new())).await, request).await;
    });
    let [inner, outer] = &spans[..] else {
        panic!("{spans:#?}")
    };
    assert!(outer.parent_span_id.is_empty());
    assert_eq!(inner.parent_span_id, outer.span_id);
}

/// A span around the layer, such as one of a connection, takes no baggage from the requests.
#[test]
fn baggage_without_a_trace_arrives_within_a_span_of_ones_own() {
    use tower::{ServiceBuilder, ServiceExt as _};
    use tracing::Instrument as _;
    for is_wanted in [true, false] {
        let (spans, baggage) = recorded(|| async {
            let layer = ServerLayer::new().with_filter(move |_| is_wanted);
            let service = ServiceBuilder::new().layer(layer).service_fn(|_| async {
                let baggage = tracing_otlp::context::current().baggage().clone();
                Ok::<_, std::convert::Infallible>(http::Response::new(format!("{baggage:?}")))
            });
            let mut request = http::Request::new(());
            let headers = request.headers_mut();
            headers.insert("baggage", "key=value".parse().unwrap());
            let call = async { service.oneshot(request).await.unwrap() };
            let response = call.instrument(tracing::info_span!("connection")).await;
            http_body_util::BodyExt::collect(response.into_body())
                .await
                .unwrap()
                .to_bytes()
        });
        let baggage = String::from_utf8_lossy(&baggage);
        assert!(baggage.contains("value"), "{baggage}");
        if is_wanted {
            assert_eq!(spans[0].parent_span_id, spans[1].span_id);
        }
    }
}

/// Anyone can say so; what is said makes no name and no fault of the server's.
#[test]
fn a_handler_of_plain_http_is_none_of_grpc_whatever_its_client_says_rpc_2_http_2() {
    for (path, name, is_grpc) in [
        ("/api/users/4711", "POST /api/users/{id}", false),
        ("/a.B/C", "grpc", true),
    ] {
        let mut request = request("POST", path);
        let headers = request.headers_mut();
        headers.insert("content-type", "application/grpc".parse().unwrap());
        let span = one(ServerLayer::new(), request);
        assert_eq!(span.name, name);
        assert_eq!(status(&span), (0, ""));
        is(&span, "error.type", None);
        let method = is_grpc.then(|| text("_OTHER")).flatten();
        is(&span, "rpc.method", method);
        let status = (!is_grpc).then(|| int(405)).flatten();
        is(&span, "http.response.status_code", status);
    }
}

#[test]
fn the_client_can_be_told_its_trace() {
    let name = http::HeaderName::from_static("traceresponse");
    let layer = ServerLayer::new()
        .with_trace_header(name)
        .with_server_timing(true);
    let (spans, headers) = recorded(|| async {
        let address = serve(routes().layer(layer)).await;
        crate::web::get(address, "/").await.0.headers
    });
    let hex = |id: &[u8]| id.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let span = &spans[0];
    // The random flag is set with ours (W3C Level 2).
    let expected = format!("00-{}-{}-03", hex(&span.trace_id), hex(&span.span_id));
    assert_eq!(headers["traceresponse"], expected);
    assert_eq!(
        headers["server-timing"],
        format!("traceparent;desc=\"{expected}\"")
    );
}

#[test]
fn hooks_see_the_request_the_response_and_the_end() {
    use tracing_otlp::SpanExt as _;
    let layer = ServerLayer::new()
        .with_filter(|request| request.uri().path() != "/health")
        .with_time_to_first_byte(true)
        .on_request(|request, span| {
            span.set_attribute("path.length", request.uri().path().len() as i64);
        })
        .on_response(|response, span| {
            span.set_attribute("is.success", response.status().is_success());
        })
        .on_end(|end, span| {
            assert!(end.time_to_first_byte().unwrap() <= end.duration());
            span.set_attribute("was.complete", end.is_complete());
            span.set_attribute("bytes", end.body_size());
        });
    let (spans, ()) = recorded(|| async {
        let address = serve(routes().layer(layer)).await;
        crate::web::get(address, "/health").await;
        crate::web::get(address, "/api/users/1").await;
    });
    assert_eq!(spans.len(), 1);
    is(&spans[0], "path.length", int(12));
    is(&spans[0], "is.success", Some(Value::BoolValue(true)));
    is(&spans[0], "was.complete", Some(Value::BoolValue(true)));
    is(&spans[0], "bytes", int(6));
    assert!(matches!(
        value(&spans[0].attributes, "tracing_otlp.time_to_first_byte"),
        Some(Value::DoubleValue(seconds)) if *seconds > 0.0
    ));
}

#[test]
fn without_a_pipeline_nothing_happens() {
    let (parts, body) = block_on(|| async {
        let address = serve(routes().layer(ServerLayer::new())).await;
        crate::web::get(address, "/api/users/1").await
    });
    assert_eq!((parts.status.as_u16(), &body[..]), (200, &b"a user"[..]));
}
