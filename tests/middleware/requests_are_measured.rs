//! Requests are measured as the HTTP and RPC conventions have it, sampled or not, however they end
//! (RPC-8).

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::capture::{text, value};
use crate::meters::{Meters, are, find, is_monotonic};
use crate::web::{block_on, recorded, recorded_with, request, send, serve, until};
use axum::Router;
use axum::body::Body;
use axum::routing::{any, get};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, Empty, Full};
use tower::{Layer as _, ServiceExt as _, service_fn};
use tracing_otlp::middleware::{ClientLayer, Resends, ServerLayer};
use tracing_otlp::sampler::AlwaysOff;

const DURATION: &str = "http.server.request.duration";
const ACTIVE: &str = "http.server.active_requests";
const CALL: &str = "rpc.server.call.duration";

fn routes() -> Router {
    Router::new()
        .route("/", any(|| async { "home" }))
        .route("/users/{id}", get(|| async { "a user" }))
        .route("/broken", get(|| async { StatusCode::BAD_GATEWAY }))
        .route("/gone", get(|| async { StatusCode::GONE }))
        .route("/never", get(pending::<&'static str>))
        .route("/panics", get(panics))
        .route("/endless", get(async || Body::new(Endless::default())))
}

async fn panics() -> &'static str {
    panic!("on purpose")
}

/// A body with one frame and no end.
#[derive(Default)]
struct Endless {
    is_begun: bool,
}

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match std::mem::replace(&mut self.is_begun, true) {
            false => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"frame"))))),
            true => Poll::Pending,
        }
    }
}

fn server(meters: &Meters) -> ServerLayer {
    ServerLayer::new().with_meter_provider(&meters.provider)
}

/// One request to a real server, outside of any pipeline.
fn serve_one(layer: ServerLayer, request: Request<Empty<Bytes>>) {
    block_on(|| async {
        let address = serve(routes().layer(layer)).await;
        send(address, request).await;
    });
}

/// Nothing is left of what was counted up.
#[track_caller]
fn none_is_active(meters: &Meters) {
    let active = meters.sum(ACTIVE);
    assert!(!active.is_empty(), "some were counted");
    assert!(active.iter().all(|(_, count)| *count == 0), "{active:?}");
}

#[test]
fn a_request_takes_as_long_as_its_span() {
    let apart = || {
        let meters = Meters::new();
        let layer = server(&meters);
        let (spans, ()) = recorded(|| async {
            let address = serve(routes().layer(layer)).await;
            send(address, request("GET", "/users/4711")).await;
        });
        let (_, point) = meters.one(DURATION);
        let span = &spans[0];
        let of_span = (span.end_time_unix_nano - span.start_time_unix_nano) as f64 / 1e9;
        (point.sum.unwrap() - of_span).abs()
    };
    // Two clocks, and between their readings a thread may lose its core: not each time.
    assert!((0..20).any(|_| apart() < 0.05));
}

#[test]
fn a_served_request_is_told_as_the_conventions_have_it() {
    let meters = Meters::new();
    let layer = server(&meters);
    serve_one(layer, request("GET", "/users/4711?page=2"));
    let scopes = meters.scopes();
    assert_eq!(scopes.len(), 1);
    let scope = scopes[0].scope.as_ref().unwrap();
    assert_eq!(scope.name, "tracing-otlp");
    assert_eq!(scope.version, env!("CARGO_PKG_VERSION"));
    assert_eq!(
        scopes[0].schema_url,
        "https://opentelemetry.io/schemas/1.45.0"
    );
    let metrics = &scopes[0].metrics;
    let duration = find(metrics, DURATION).unwrap();
    assert_eq!(duration.unit, "s");
    let (attributes, point) = meters.one(DURATION);
    let expected = are([
        ("http.request.method", "GET"),
        ("url.scheme", "http"),
        ("http.response.status_code", "200"),
        ("http.route", "/users/{id}"),
        ("network.protocol.version", "1.1"),
    ]);
    assert_eq!(attributes, expected);
    assert_eq!(
        point.explicit_bounds,
        [
            0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0
        ]
    );
    assert_eq!(point.count, 1);

    let active = find(metrics, ACTIVE).unwrap();
    assert_eq!(active.unit, "{request}");
    assert!(!is_monotonic(active));
    let method_and_scheme = are([("http.request.method", "GET"), ("url.scheme", "http")]);
    assert_eq!(meters.sum(ACTIVE), [(method_and_scheme, 0)]);

    // The size of a response is recorded unless it is switched off.
    let (attributes, size) = meters.one("http.server.response.body.size");
    assert_eq!(attributes, expected);
    assert_eq!((size.count, size.sum), (1, Some(6.0)));
    let names = [ACTIVE, DURATION, "http.server.response.body.size"];
    assert_eq!(meters.names(), names);
}

#[test]
fn sizes_follow_the_switch_of_the_span_s_attributes() {
    let sized = |request_size, response_size| {
        let meters = Meters::new();
        let layer = server(&meters)
            .with_request_body_size(request_size)
            .with_response_body_size(response_size);
        let mut request = request("POST", "/");
        let headers = request.headers_mut();
        headers.insert("content-length", "0".parse().unwrap());
        serve_one(layer, request);
        let names = meters.names().into_iter();
        let names: Vec<_> = names.filter(|name| name.ends_with("body.size")).collect();
        if request_size {
            let (_, point) = meters.one("http.server.request.body.size");
            assert_eq!((point.count, point.sum), (1, Some(0.0)));
            let metrics = meters.collect();
            let metric = find(&metrics, "http.server.request.body.size").unwrap();
            assert_eq!(metric.unit, "By");
        }
        names
    };
    assert!(sized(false, false).is_empty());
    assert_eq!(sized(true, false), ["http.server.request.body.size"]);
    assert_eq!(sized(false, true), ["http.server.response.body.size"]);
}

#[test]
fn every_request_counts_though_none_has_a_span() {
    let three = |meters: &Meters| {
        let layer = server(meters);
        async move || {
            let address = serve(routes().layer(layer)).await;
            for _ in 0..3 {
                send(address, request("GET", "/users/1")).await;
            }
        }
    };
    // Unsampled.
    let meters = Meters::new();
    let (spans, ()) = recorded_with(|b| b.with_sampler(AlwaysOff), three(&meters));
    assert!(spans.is_empty());
    assert_eq!(meters.one(DURATION).1.count, 3);
    none_is_active(&meters);
    // Of a level that is off, as without any subscriber.
    let meters = Meters::new();
    block_on(three(&meters));
    assert_eq!(meters.one(DURATION).1.count, 3);
    none_is_active(&meters);
}

#[test]
fn what_the_filter_leaves_out_is_not_measured() {
    let meters = Meters::new();
    let layer = server(&meters).with_filter(|request| request.uri().path() != "/");
    serve_one(layer, request("GET", "/"));
    assert!(meters.names().is_empty(), "{:?}", meters.names());
}

#[test]
fn strangers_methods_and_paths_make_no_series_http_4() {
    let meters = Meters::new();
    let layer = server(&meters);
    block_on(|| async {
        let address = serve(routes().layer(layer)).await;
        for method in ["PURGE", "GRAB", "get"] {
            send(address, request(method, "/")).await;
        }
        for path in ["/a", "/b", "/c?d"] {
            send(address, request("GET", path)).await;
        }
    });
    let points = meters.histogram(DURATION);
    let key = |key: &str, point: usize| points[point].0.get(key).cloned();
    assert_eq!(points.len(), 2, "{points:#?}");
    let other = usize::from(key("http.request.method", 0).unwrap() == "GET");
    assert_eq!(key("http.request.method", other).unwrap(), "_OTHER");
    assert_eq!(points[other].1.count, 3);
    // What the fallback serves has no route.
    assert_eq!(key("http.route", 1 - other), None);
    assert_eq!(points[1 - other].1.count, 3);
}

#[test]
fn an_error_is_the_same_on_span_and_measure_http_3() {
    for (path, status, error) in [("/broken", "502", Some("502")), ("/gone", "410", None)] {
        let meters = Meters::new();
        let layer = server(&meters);
        let (spans, ()) = recorded(|| async {
            let address = serve(routes().layer(layer)).await;
            send(address, request("GET", path)).await;
        });
        let (attributes, _) = meters.one(DURATION);
        assert_eq!(attributes["http.response.status_code"], status);
        let measured = attributes.get("error.type").map(String::as_str);
        assert_eq!(measured, error);
        let on_span = value(&spans[0].attributes, "error.type");
        assert_eq!(on_span, error.and_then(text).as_ref());
    }
}

#[test]
fn a_request_is_active_until_its_body_is_read() {
    let meters = Meters::new();
    let layer = server(&meters);
    block_on(|| async {
        let service = routes().layer(layer);
        let response = service.oneshot(request("GET", "/")).await.unwrap();
        assert_eq!(meters.sum(ACTIVE)[0].1, 1);
        assert!(meters.histogram(DURATION).is_empty());
        response.into_body().collect().await.unwrap();
    });
    none_is_active(&meters);
    assert_eq!(meters.one(DURATION).1.count, 1);
}

#[test]
fn a_request_that_is_given_up_is_over() {
    let meters = Meters::new();
    let layer = server(&meters);
    let (spans, ()) = recorded(|| async {
        let mut answer = Box::pin(routes().layer(layer).oneshot(request("GET", "/never")));
        let waited = std::future::poll_fn(|cx| Poll::Ready(answer.as_mut().poll(cx))).await;
        assert!(waited.is_pending());
        assert_eq!(meters.sum(ACTIVE)[0].1, 1);
    });
    none_is_active(&meters);
    let (attributes, point) = meters.one(DURATION);
    let expected = are([
        ("http.request.method", "GET"),
        ("url.scheme", "http"),
        ("http.route", "/never"),
        ("network.protocol.version", "1.1"),
        ("error.type", "cancelled"),
    ]);
    assert_eq!((attributes, point.count), (expected, 1));
    let on_span = value(&spans[0].attributes, "error.type");
    assert_eq!(on_span, text("cancelled").as_ref());
}

#[test]
fn a_request_whose_client_has_gone_is_over() {
    let meters = Meters::new();
    let layer = server(&meters);
    block_on(|| async {
        let address = serve(routes().layer(layer)).await;
        let mut response = crate::web::open(address, request("GET", "/endless"))
            .await
            .unwrap();
        let frame = response.body_mut().frame().await.unwrap().unwrap();
        assert_eq!(frame.data_ref().unwrap().len(), 5);
        assert_eq!(meters.sum(ACTIVE)[0].1, 1);
        drop(response);
        until(|| meters.sum(ACTIVE)[0].1 == 0).await;
    });
    let (attributes, point) = meters.one(DURATION);
    assert_eq!(attributes["error.type"], "cancelled");
    assert_eq!(attributes["http.response.status_code"], "200");
    assert_eq!(point.count, 1);
}

#[test]
fn a_request_that_panics_is_over() {
    let meters = Meters::new();
    let layer = server(&meters);
    block_on(|| async {
        let service = routes().layer(layer);
        let mut answer = Box::pin(service.oneshot(request("GET", "/panics")));
        let panic = std::future::poll_fn(|cx| {
            let polled = catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(cx).map(drop)));
            Poll::Ready(polled)
        });
        assert!(panic.await.is_err());
    });
    none_is_active(&meters);
    let (attributes, point) = meters.one(DURATION);
    assert_eq!(attributes["error.type"], "panic");
    assert_eq!(point.count, 1);
}

/// A gRPC server that answers with a status in its trailers, and in the headers where it has no such
/// method.
async fn call(request: Request<Empty<Bytes>>) -> Result<Response<Body>, Infallible> {
    let code = match request.uri().path() {
        "/shop.Cart/Add" => "0",
        "/shop.Cart/Break" => "13",
        "/shop.Cart/Half" => "12",
        _ => {
            let response = Response::builder().header("grpc-status", "12");
            return Ok(response.body(Body::empty()).unwrap());
        }
    };
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", code.parse().unwrap());
    let body = Full::new(Bytes::from_static(b"\0\0\0\0\0"));
    let body = body.with_trailers(std::future::ready(Some(Ok(trailers))));
    let response = Response::builder().header("content-type", "application/grpc");
    Ok(response.body(Body::new(body)).unwrap())
}

fn grpc_request(path: &str) -> Request<Empty<Bytes>> {
    let mut request = request("POST", path);
    let headers = request.headers_mut();
    headers.insert("content-type", "application/grpc".parse().unwrap());
    request
}

#[test]
fn a_grpc_call_is_a_call_and_no_http_request_rpc_8() {
    let meters = Meters::new();
    let layer = server(&meters);
    block_on(|| async {
        let [add, fail, half] = ["Add", "Break", "Half"].map(|name| format!("/shop.Cart/{name}"));
        for path in [&add, &add, &add, &fail, &fail, &half] {
            let service = layer.layer(service_fn(call));
            let response = service.oneshot(grpc_request(path)).await.unwrap();
            response.into_body().collect().await.unwrap();
        }
    });
    assert_eq!(meters.names(), [CALL], "and nothing of HTTP");
    let metrics = meters.collect();
    assert_eq!(find(&metrics, CALL).unwrap().unit, "s");
    let mut points = meters.histogram(CALL);
    points.sort_by_key(|(_, point)| std::cmp::Reverse(point.count));
    let (attributes, point) = &points[0];
    let good = are([
        ("rpc.system.name", "grpc"),
        ("rpc.method", "shop.Cart/Add"),
        ("rpc.status_code", "OK"),
    ]);
    assert_eq!((attributes, point.count), (&good, 3));
    assert_eq!(point.explicit_bounds.len(), 14);
    let (attributes, point) = &points[1];
    let broken = are([
        ("rpc.system.name", "grpc"),
        ("rpc.method", "shop.Cart/Break"),
        ("rpc.status_code", "INTERNAL"),
        ("error.type", "INTERNAL"),
    ]);
    assert_eq!((attributes, point.count), (&broken, 2));
    // What has answered something is there, though a part of it may not be.
    let (attributes, _) = &points[2];
    assert_eq!(attributes["rpc.method"], "shop.Cart/Half");
}

#[test]
fn methods_that_nobody_serves_make_no_series_rpc_2() {
    let meters = Meters::new();
    let layer = server(&meters);
    let (spans, ()) = recorded(|| async {
        for path in ["/a.B/C", "/d.E/F", "/nonsense"] {
            let service = layer.clone().layer(service_fn(call));
            let response = service.oneshot(grpc_request(path)).await.unwrap();
            response.into_body().collect().await.unwrap();
        }
        // Nor those of a server that speaks no gRPC at all.
        for path in ["/g.H/I", "/j.K/L"] {
            let service = routes().layer(layer.clone());
            let response = service.oneshot(grpc_request(path)).await.unwrap();
            response.into_body().collect().await.unwrap();
        }
    });
    let mut points = meters.histogram(CALL);
    points.sort_by_key(|(_, point)| std::cmp::Reverse(point.count));
    assert_eq!(
        (points.len(), points[0].1.count, points[1].1.count),
        (2, 3, 2)
    );
    for (attributes, _) in &points {
        assert_eq!(attributes["rpc.method"], "_OTHER");
        assert_eq!(attributes["rpc.status_code"], "UNIMPLEMENTED");
    }
    // Of those the client alone is to blame.
    assert!(!points[1].0.contains_key("error.type"));
    for span in &spans {
        assert_eq!(span.name, "grpc");
        let method = value(&span.attributes, "rpc.method");
        assert_eq!(method, text("_OTHER").as_ref());
    }
}

/// What may stand before a service, and answer for paths that nobody serves.
#[derive(Debug, Clone, Copy)]
enum Before {
    Authentication,
    Limiter,
    /// One of plain HTTP.
    Proxy,
    /// HTML for everything.
    Website,
    Failure,
    Timeout,
    Panic,
}

async fn before(kind: Before, _: Request<Empty<Bytes>>) -> io::Result<Response<Full<Bytes>>> {
    let (status, code, body) = match kind {
        Before::Authentication => (200, Some("16"), ""),
        Before::Limiter => (200, Some("8"), ""),
        Before::Proxy => (429, None, "slow down"),
        Before::Website => (200, None, "<html>"),
        Before::Failure => return Err(io::ErrorKind::BrokenPipe.into()),
        Before::Timeout => return pending().await,
        Before::Panic => panic!("on purpose"),
    };
    let mut response = Response::builder().status(status);
    if let Some(code) = code {
        response = response.header("content-type", "application/grpc");
        response = response.header("grpc-status", code);
    }
    Ok(response
        .body(Full::new(Bytes::from_static(body.as_bytes())))
        .unwrap())
}

#[test]
fn callers_choose_no_label_and_no_name_whoever_answers_them_rpc_2() {
    for kind in [
        Before::Authentication,
        Before::Limiter,
        Before::Proxy,
        Before::Website,
        Before::Failure,
        Before::Timeout,
        Before::Panic,
    ] {
        let meters = Meters::new();
        let layer = server(&meters);
        let count = 3_000;
        let (spans, ()) = recorded_with(
            |b| b.with_max_queue_size(65_536),
            || async {
                for i in 0..count {
                    let service = layer.clone().layer(service_fn(move |r| before(kind, r)));
                    let request = grpc_request(&format!("/random.Service{i}/Method{i}"));
                    let mut answer = Box::pin(service.oneshot(request));
                    let polled = catch_unwind(AssertUnwindSafe(|| {
                        let mut cx = Context::from_waker(std::task::Waker::noop());
                        answer.as_mut().poll(&mut cx)
                    }));
                    if let Ok(Poll::Ready(Ok(response))) = polled {
                        response.into_body().collect().await.unwrap();
                    }
                }
            },
        );
        let points = meters.histogram(CALL);
        assert_eq!(points.len(), 1, "{kind:?}");
        let (attributes, point) = &points[0];
        assert_eq!(attributes["rpc.method"], "_OTHER", "{kind:?}");
        assert_eq!(point.count, count);
        assert_eq!(spans.len() as u64, count);
        for span in &spans {
            assert_eq!(span.name, "grpc", "{kind:?}");
            let original = value(&span.attributes, "rpc.method_original").unwrap();
            assert!(format!("{original:?}").contains("random.Service"));
        }
    }
}

#[test]
fn a_method_that_was_learnt_keeps_its_label_whoever_answers_rpc_2() {
    let meters = Meters::new();
    let layer = server(&meters);
    block_on(|| async {
        let good = layer.clone().layer(service_fn(call));
        let response = good.oneshot(grpc_request("/shop.Cart/Add")).await.unwrap();
        response.into_body().collect().await.unwrap();
        for path in ["/shop.Cart/Add", "/shop.Cart/Random"] {
            let refused = layer.clone();
            let refused = refused.layer(service_fn(|r| before(Before::Authentication, r)));
            let response = refused.oneshot(grpc_request(path)).await.unwrap();
            response.into_body().collect().await.unwrap();
        }
    });
    let points = meters.histogram(CALL);
    let mut all: Vec<_> = points
        .iter()
        .map(|(a, _)| (a["rpc.method"].as_str(), a["rpc.status_code"].as_str()))
        .collect();
    all.sort_unstable();
    let expected = [
        ("_OTHER", "UNAUTHENTICATED"),
        ("shop.Cart/Add", "OK"),
        ("shop.Cart/Add", "UNAUTHENTICATED"),
    ];
    assert_eq!(all, expected);
}

#[test]
fn a_service_that_answers_anything_fills_no_backend() {
    let meters = Meters::new();
    let layer = server(&meters);
    block_on(|| async {
        for i in 0..3_000 {
            let any = service_fn(|_: Request<Empty<Bytes>>| async {
                let response = Response::builder().header("grpc-status", "0");
                Ok::<_, Infallible>(response.body(Body::empty()).unwrap())
            });
            let service = layer.clone().layer(any);
            let request = grpc_request(&format!("/a.B/Method{i}"));
            service.oneshot(request).await.unwrap();
        }
    });
    let points = meters.histogram(CALL);
    assert_eq!(points.len(), 513);
    let other = points.iter().find(|(a, _)| a["rpc.method"] == "_OTHER");
    assert_eq!(other.unwrap().1.count, 3_000 - 512);
}

#[test]
fn a_peer_chooses_no_label_of_a_client() {
    const DURATION: &str = "http.client.request.duration";
    // Hosts: an application that asks whom others name, then one that was redirected.
    let meters = Meters::new();
    let layer = client(&meters);
    ask(layer.clone(), "http://shop.example/");
    let resends = Resends::new();
    block_on(|| async {
        for i in 0..3_000 {
            let url = format!("http://random{i}.example:{}/", 1_000 + i);
            let mut request = Request::get(url).body(Empty::new()).unwrap();
            request.extensions_mut().insert(resends.clone());
            let service = layer.clone().layer(service_fn(answer));
            service.oneshot(request).await.unwrap();
        }
    });
    let hosts: Vec<_> = meters
        .histogram(DURATION)
        .iter()
        .map(|(a, _)| (a["server.address"].clone(), a.contains_key("server.port")))
        .collect();
    // The first of them is the request itself.
    assert_eq!(hosts.len(), 3, "{hosts:?}");
    assert!(hosts.contains(&("_OTHER".to_owned(), false)));
    assert!(hosts.contains(&("shop.example".to_owned(), true)));
    for i in 0..1_000 {
        ask(layer.clone(), &format!("http://other{i}.example/"));
    }
    assert!(meters.histogram(DURATION).len() <= 514);
    // Methods of a proxy that passes on what its callers ask.
    let meters = Meters::new();
    let layer = client(&meters).with_server("http://upstream:50051");
    block_on(|| async {
        for i in 0..3_000 {
            let service = layer
                .clone()
                .layer(service_fn(|r| before(Before::Authentication, r)));
            let request = grpc_request(&format!("/a.B/Method{i}"));
            let response = service.oneshot(request).await.unwrap();
            response.into_body().collect().await.unwrap();
        }
    });
    assert_eq!(meters.histogram("rpc.client.call.duration").len(), 513);
    // Statuses.
    let meters = Meters::new();
    let layer = client(&meters);
    block_on(|| async {
        for status in 100..1_000 {
            let service = layer.clone().layer(service_fn(move |_| async move {
                let response = Response::builder().status(status);
                Ok::<_, Infallible>(response.body(Full::new(Bytes::new())).unwrap())
            }));
            let request = request("GET", "http://a/");
            service.oneshot(request).await.unwrap();
        }
    });
    let points = meters.histogram(DURATION);
    assert_eq!(points.len(), 501);
    let strange = points
        .iter()
        .find(|(a, _)| a.get("error.type").is_some_and(|e| e == "_OTHER"));
    assert_eq!(strange.unwrap().1.count, 400);
}

fn client(meters: &Meters) -> ClientLayer {
    ClientLayer::new().with_meter_provider(&meters.provider)
}

/// A server without a socket.
async fn answer(request: Request<Empty<Bytes>>) -> io::Result<Response<Full<Bytes>>> {
    let status = match request.uri().path() {
        "/" => 200,
        "/refused" => return Err(io::ErrorKind::ConnectionRefused.into()),
        "/never" => return pending().await,
        _ => 404,
    };
    let response = Response::builder().status(status);
    let body = Full::new(Bytes::from_static(b"four"));
    Ok(response.body(body).unwrap())
}

fn ask(layer: ClientLayer, url: &str) {
    let request = Request::get(url).body(Empty::new()).unwrap();
    block_on(|| async {
        let mut answer = Box::pin(layer.layer(service_fn(answer)).oneshot(request));
        let polled = std::future::poll_fn(|cx| Poll::Ready(answer.as_mut().poll(cx))).await;
        if let Poll::Ready(Ok(response)) = polled {
            response.into_body().collect().await.unwrap();
        }
    });
}

#[test]
fn a_request_that_was_made_is_told_as_the_conventions_have_it() {
    const DURATION: &str = "http.client.request.duration";
    let server = [
        ("http.request.method", "GET"),
        ("server.address", "shop.example"),
        ("server.port", "443"),
    ];
    let answered = |status, error: Option<&'static str>| {
        let mut all = are(server);
        all.insert("http.response.status_code".to_owned(), String::from(status));
        all.insert("network.protocol.version".to_owned(), "1.1".to_owned());
        all.extend(error.map(|e| ("error.type".to_owned(), e.to_owned())));
        all
    };
    let mut failed = are(server);
    failed.insert("error.type".to_owned(), "std::io::error::Error".to_owned());
    for (path, expected) in [
        ("/", answered("200", None)),
        ("/nowhere", answered("404", Some("404"))),
        ("/refused", failed),
        // Its caller knows why.
        ("/never", are(server)),
    ] {
        let meters = Meters::new();
        let url = format!("https://user:secret@shop.example{path}?q=1");
        ask(client(&meters), &url);
        let (mut attributes, point) = meters.one(DURATION);
        if let Some(kind) = attributes.get_mut("error.type")
            && kind.ends_with("io::error::Error")
        {
            *kind = "std::io::error::Error".to_owned();
        }
        assert_eq!((attributes, point.count), (expected, 1), "{path}");
        assert_eq!(point.explicit_bounds.len(), 14);
        let names = meters.names();
        assert_eq!(names, [DURATION], "clients count nothing else unasked");
    }
}

#[test]
fn a_client_that_awaits_the_body_measures_it() {
    let meters = Meters::new();
    ask(client(&meters).with_whole_body(true), "http://a/");
    let (_, size) = meters.one("http.client.response.body.size");
    assert_eq!((size.count, size.sum), (1, Some(4.0)));
}

#[test]
fn a_call_that_was_made_names_its_server_rpc_8() {
    let meters = Meters::new();
    let layer = client(&meters).with_server("http://[::1]:50051");
    block_on(|| async {
        let service = layer.layer(service_fn(call));
        let response = service.oneshot(grpc_request("/x.Y/Z")).await.unwrap();
        response.into_body().collect().await.unwrap();
    });
    assert_eq!(meters.names(), ["rpc.client.call.duration"]);
    let (attributes, _) = meters.one("rpc.client.call.duration");
    let expected = are([
        ("rpc.system.name", "grpc"),
        // A client knows what it asks for.
        ("rpc.method", "x.Y/Z"),
        ("rpc.status_code", "UNIMPLEMENTED"),
        ("error.type", "UNIMPLEMENTED"),
        ("server.address", "::1"),
        ("server.port", "50051"),
    ]);
    assert_eq!(attributes, expected);
}
