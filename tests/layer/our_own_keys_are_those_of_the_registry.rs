//! What this crate writes by itself has names of OpenTelemetry's registry of attributes, as its checker
//! (`weaver registry live-check`) asks; what has not can be switched off.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "../support/capture.rs"]
mod capture;
#[path = "../support/web.rs"]
mod web;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::io;

use axum::body::Body;
use http::{HeaderMap, HeaderName, Request, Response};
use http_body_util::{BodyExt as _, Full};
use tower::{Layer as _, ServiceExt as _, service_fn};
use tracing::{error, info, info_span};
use tracing_otlp::middleware::{ClientLayer, ServerLayer};
use tracing_otlp::{OtlpBuilder, Resource, SpanExt as _};
use web::recorded_with;

/// The names of the registry (conventions 1.45) that we write.
const REGISTRY: &[&str] = &[
    "client.address",
    "code.file.path",
    "code.line.number",
    "error.type",
    "exception.message",
    "exception.stacktrace",
    "exception.type",
    "host.arch",
    "host.id",
    "host.name",
    "http.request.body.size",
    "http.request.header.x-asked",
    "http.request.method",
    "http.request.method_original",
    "http.request.resend_count",
    "http.response.body.size",
    "http.response.header.x-answer",
    "http.response.status_code",
    "http.route",
    "network.peer.address",
    "network.peer.port",
    "network.protocol.version",
    "os.type",
    "process.command_args",
    "process.executable.name",
    "process.executable.path",
    "process.pid",
    "rpc.method",
    "rpc.method_original",
    "rpc.request.metadata.x-asked",
    "rpc.response.metadata.x-answer",
    "rpc.status_code",
    "rpc.system.name",
    "server.address",
    "server.port",
    "service.instance.id",
    "service.name",
    "telemetry.sdk.language",
    "telemetry.sdk.name",
    "telemetry.sdk.version",
    "thread.id",
    "thread.name",
    "url.full",
    "url.path",
    "url.query",
    "url.scheme",
    "url.template",
    "user_agent.original",
];

async fn answer(request: Request<Full<bytes::Bytes>>) -> io::Result<Response<Body>> {
    let path = request.uri().path().to_owned();
    if path == "/fails" {
        return Err(io::ErrorKind::BrokenPipe.into());
    }
    let failure = io::Error::other("broken");
    let failure: &(dyn std::error::Error + 'static) = &failure;
    error!("an event of the application");
    tracing::Span::current().record_error(failure);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    let body = Full::new(bytes::Bytes::from_static(b"body"));
    let body = body.with_trailers(async { Some(Ok::<_, Infallible>(trailers)) });
    let response = Response::builder()
        .header("x-answer", "1")
        .header("content-type", "application/grpc");
    Ok(response.body(Body::new(body)).unwrap())
}

/// The keys of all spans and events of requests of each kind, from both sides.
fn keys(edit: impl FnOnce(OtlpBuilder) -> OtlpBuilder, has_first_byte: bool) -> BTreeSet<String> {
    let (spans, ()) = recorded_with(edit, || async {
        info_span!("span").in_scope(|| info!("event"));
        for (method, path, is_grpc) in [
            ("GET", "/plain?a=b", false),
            ("PURGE", "/plain", false),
            ("GET", "/fails", false),
            ("POST", "/a.B/C", true),
            ("POST", "/nonsense", true),
        ] {
            let request = || {
                let mut request = Request::builder()
                    .method(method)
                    .uri(format!("http://user:secret@h.example:1{path}"))
                    .header("x-asked", "1")
                    .header("user-agent", "test/1")
                    .header("content-length", "4");
                if is_grpc {
                    request = request.header("content-type", "application/grpc");
                }
                request.body(Full::new(bytes::Bytes::from_static(b"body")))
            };
            let (asked, told) = (HeaderName::from_static("x-asked"), "x-answer");
            let told = HeaderName::from_static(told);
            let peer = |_: &http::Extensions| "10.0.0.1:1".parse().ok();
            let server = ServerLayer::new()
                .with_route(|_| Some("/route".into()))
                .with_peer(peer)
                .with_request_body_size(true)
                .with_response_body_size(true)
                .with_time_to_first_byte(has_first_byte)
                .with_request_headers([asked.clone()])
                .with_response_headers([told.clone()]);
            let client = ClientLayer::new()
                .with_peer(peer)
                .with_whole_body(true)
                .with_request_body_size(true)
                .with_time_to_first_byte(has_first_byte)
                .with_request_headers([asked])
                .with_response_headers([told]);
            let service = server.layer(service_fn(answer));
            if let Ok(response) = service.oneshot(request().unwrap()).await {
                response.into_body().collect().await.unwrap();
            }
            let service = client.layer(service_fn(answer));
            if let Ok(response) = service.oneshot(request().unwrap()).await {
                response.into_body().collect().await.unwrap();
            }
        }
    });
    assert!(spans.len() > 10);
    let attributes = spans.iter().flat_map(|span| {
        let of_events = span.events.iter().flat_map(|event| &event.attributes);
        span.attributes.iter().chain(of_events)
    });
    attributes.map(|attribute| attribute.key.clone()).collect()
}

fn strange(keys: &BTreeSet<String>) -> Vec<&str> {
    let keys = keys.iter().map(String::as_str);
    keys.filter(|key| !REGISTRY.contains(key)).collect()
}

#[test]
fn what_is_written_by_default_is_in_the_registry_but_for_target_and_level() {
    assert_eq!(strange(&keys(|b| b, false)), ["level", "target"]);
}

#[test]
fn what_is_not_in_the_registry_can_be_switched_off() {
    let clean = |b: OtlpBuilder| b.with_target(false).with_event_level(false);
    let all = keys(|b| clean(b).with_threads(true), false);
    assert_eq!(strange(&all), [""; 0]);
    assert!(all.contains("rpc.status_code") && all.contains("url.query"));
}

#[test]
fn all_switches_add_only_what_they_say() {
    let all = keys(
        |b| {
            b.with_level(true)
                .with_threads(true)
                .with_tracked_inactivity(true)
        },
        true,
    );
    let expected = [
        "busy_ns",
        "idle_ns",
        "level",
        "target",
        "tracing_otlp.time_to_first_byte",
    ];
    assert_eq!(strange(&all), expected);
}

#[test]
fn the_middleware_s_spans_can_do_without_a_target() {
    let (spans, ()) = recorded_with(
        |b| b.with_middleware_target(false),
        || async {
            info_span!("span").in_scope(|| {});
            let service = ServerLayer::new().layer(service_fn(answer));
            let request = Request::get("/").body(Full::default()).unwrap();
            let response = service.oneshot(request).await.unwrap();
            response.into_body().collect().await.unwrap();
        },
    );
    let has_target = |name: &str| {
        let span = capture::named(&spans, name);
        capture::value(&span.attributes, "target").is_some()
    };
    assert!(has_target("span") && !has_target("GET"));
}

#[test]
fn the_resource_is_in_the_registry() {
    let mut config = tracing_otlp::config::ResourceConfig::default();
    config.command_args = true;
    config.executable_path = true;
    let resource = Resource::resolve(&config);
    let keys: BTreeSet<_> = resource.iter().map(|(key, _)| key.to_owned()).collect();
    assert_eq!(strange(&keys), [""; 0]);
    assert!(keys.contains("process.command_args"));
}
