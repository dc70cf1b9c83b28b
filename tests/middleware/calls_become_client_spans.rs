//! What a tower client sends becomes spans as the HTTP conventions have it, and its server's are
//! their children.

use std::future::{Ready, pending, ready};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use crate::capture::{Span, Value, int, layer, named, text, under, value};
use crate::web::{block_on, recorded, recorded_with, serve, until, until_closed};
use axum::Router;
use axum::body::Body as AxumBody;
use axum::routing::{any, get};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::{HttpConnector, HttpInfo};
use hyper_util::rt::TokioExecutor;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::WatchStream;
use tower::retry::Policy;
use tower::{Service, ServiceBuilder, ServiceExt as _};
use tower_http::follow_redirect::FollowRedirectLayer;
use tower_http::follow_redirect::policy::{Action, Attempt, Policy as RedirectPolicy, Standard};
use tracing::{Instrument as _, info_span};
use tracing_otlp::TraceContext;
use tracing_otlp::context::{self, FutureExt as _};
use tracing_otlp::middleware::{
    ClientLayer, ClientService, Resends, ResendsLayer, ServerLayer, UrlTemplate,
};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};

const SERVER: i32 = 2;
const CLIENT: i32 = 3;
const ERROR: i32 = 2;
const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

type Hyper = HyperClient<HttpConnector, Full<Bytes>>;

fn hyper() -> Hyper {
    HyperClient::builder(TokioExecutor::new()).build_http()
}

fn client(layer: ClientLayer) -> ClientService<Hyper> {
    ServiceBuilder::new().layer(layer).service(hyper())
}

fn to(address: SocketAddr, method: &str, path: &str) -> Request<Full<Bytes>> {
    let uri = format!("http://{address}{path}");
    let request = Request::builder().method(method).uri(uri);
    request.body(Full::default()).unwrap()
}

/// The headers that the last request brought.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<HeaderMap>>);

impl Seen {
    fn text(&self, name: &str) -> Option<String> {
        let headers = self.0.lock().unwrap();
        Some(headers.get(name)?.to_str().unwrap().to_owned())
    }
}

fn routes(seen: Seen) -> Router {
    let echo = move |headers: HeaderMap| {
        *seen.0.lock().unwrap() = headers;
        ready("hello")
    };
    let busy = Arc::new(AtomicU32::new(0));
    let busy = move || {
        let times = busy.fetch_add(1, Ordering::SeqCst);
        ready(match times {
            0 | 1 => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::OK,
        })
    };
    let moved = |to: &'static str| move || ready((StatusCode::FOUND, [("location", to)]));
    Router::new()
        .route("/", any(echo))
        .route("/users/{id}", get(|| ready("a user")))
        .route("/missing", get(|| ready(StatusCode::NOT_FOUND)))
        .route("/broken", get(|| ready(StatusCode::BAD_GATEWAY)))
        .route("/busy", any(busy))
        .route("/moved", any(moved("/moved/again")))
        .route("/moved/again", any(moved("/")))
        .route("/never", get(pending::<()>))
        .route("/endless", get(|| ready(endless())))
}

/// One frame, and then nothing.
fn endless() -> AxumBody {
    let first = Ok::<_, std::io::Error>(Bytes::from_static(b"first"));
    AxumBody::from_stream(tokio_stream::once(first).chain(tokio_stream::pending()))
}

#[track_caller]
fn is(span: &Span, key: &str, expected: Option<Value>) {
    assert_eq!(value(&span.attributes, key), expected.as_ref(), "{key}");
}

fn status(span: &Span) -> (i32, &str) {
    let status = span.status.as_ref();
    status.map_or((0, ""), |s| (s.code, s.message.as_str()))
}

fn hex(id: &[u8]) -> String {
    id.iter().map(|b| format!("{b:02x}")).collect()
}

/// One request by `layer`, answered and read; its span.
fn one(
    layer: ClientLayer,
    edit: impl FnOnce(Request<Full<Bytes>>) -> Request<Full<Bytes>>,
    path: &str,
) -> Span {
    let (spans, ()) = recorded(|| async {
        let address = serve(routes(Seen::default())).await;
        let request = edit(to(address, "GET", path));
        let response = client(layer).oneshot(request).await.unwrap();
        response.into_body().collect().await.unwrap();
    });
    assert_eq!(spans.len(), 1, "{spans:#?}");
    spans.into_iter().next().unwrap()
}

fn get_of(layer: ClientLayer, path: &str) -> Span {
    one(layer, |request| request, path)
}

#[test]
fn all_that_the_conventions_require_and_recommend_is_there_http_10() {
    let (spans, address) = recorded(|| async {
        let address = serve(routes(Seen::default())).await;
        let layer = ClientLayer::new().with_peer(|e| e.get().map(HttpInfo::remote_addr));
        let request = to(address, "GET", "/users/4711?page=2&sig=secret");
        client(layer).oneshot(request).await.unwrap();
        address
    });
    let span = named(&spans, "GET");
    assert_eq!((span.kind, status(span)), (CLIENT, (0, "")));
    let port = i64::from(address.port());
    let url = format!("http://{address}/users/4711?page=2&sig=REDACTED");
    is(span, "http.request.method", text("GET"));
    is(span, "url.full", text(&url));
    is(span, "server.address", text("127.0.0.1"));
    is(span, "server.port", int(port));
    is(span, "network.peer.address", text("127.0.0.1"));
    is(span, "network.peer.port", int(port));
    is(span, "network.protocol.version", text("1.1"));
    is(span, "http.response.status_code", int(200));
    let keys = span.attributes.iter().map(|a| a.key.as_str());
    let is_ours = |key: &&str| !key.starts_with("thread.") && *key != "target";
    let others: Vec<_> = keys.filter(is_ours).collect();
    assert_eq!(others.len(), 8, "and nothing else: {others:?}");
}

#[test]
fn client_and_server_are_one_trace_http_9() {
    let seen = Seen::default();
    let (spans, ()) = recorded(|| async {
        let app = routes(seen.clone()).layer(ServerLayer::new());
        let address = serve(app).await;
        async {
            let response = client(ClientLayer::new())
                .oneshot(to(address, "GET", "/"))
                .await
                .unwrap();
            response.into_body().collect().await.unwrap();
        }
        .instrument(info_span!("caller"))
        .await;
    });
    let caller = named(&spans, "caller");
    let sent = named(&spans, "GET");
    let served = named(&spans, "GET /");
    assert_eq!((sent.kind, served.kind), (CLIENT, SERVER));
    assert_eq!(sent.parent_span_id, caller.span_id);
    assert_eq!(served.parent_span_id, sent.span_id);
    assert!(spans.iter().all(|span| span.trace_id == caller.trace_id));
    let header = format!("00-{}-{}-03", hex(&sent.trace_id), hex(&sent.span_id));
    assert_eq!(seen.text("traceparent"), Some(header));
}

#[test]
fn credentials_stay_here_http_5() {
    let (spans, ()) = recorded(|| async {
        let inner = tower::service_fn(|_: Request<()>| async {
            Ok::<_, std::io::Error>(Response::new(Full::<Bytes>::default()))
        });
        let service = ServiceBuilder::new()
            .layer(ClientLayer::new().with_redacted_query_keys(["token"]))
            .service(inner);
        let url = "https://me:secret@shop.example/a?token=secret&sig=kept";
        let request = Request::get(url).body(()).unwrap();
        service.oneshot(request).await.unwrap();
    });
    let url = "https://REDACTED:REDACTED@shop.example/a?token=REDACTED&sig=kept";
    is(&spans[0], "url.full", text(url));
    is(&spans[0], "server.address", text("shop.example"));
    is(&spans[0], "server.port", int(443));
    assert!(!format!("{spans:?}").contains("secret"));
}

#[test]
fn every_status_from_400_on_is_an_error_http_2_http_3() {
    for (path, code) in [("/missing", "404"), ("/broken", "502")] {
        let span = get_of(ClientLayer::new(), path);
        assert_eq!(status(&span), (ERROR, ""), "{path}");
        is(&span, "error.type", text(code));
        is(
            &span,
            "http.response.status_code",
            int(code.parse().unwrap()),
        );
    }
    let span = get_of(ClientLayer::new(), "/moved");
    assert_eq!(status(&span), (0, ""));
    is(&span, "error.type", None);
}

#[test]
fn a_connection_refused_is_an_error_with_its_reason_http_2() {
    let (spans, ()) = recorded(|| async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let request = to(address, "GET", "/");
        client(ClientLayer::new())
            .oneshot(request)
            .await
            .unwrap_err();
    });
    let span = named(&spans, "GET");
    let (code, message) = status(span);
    assert_eq!(code, ERROR);
    assert!(message.contains("Connect"), "{message}");
    is(
        span,
        "error.type",
        text("hyper_util::client::legacy::client::Error"),
    );
    is(span, "http.response.status_code", None);
}

#[test]
fn an_error_in_a_box_is_told_with_its_causes_http_3() {
    let (spans, ()) = recorded(|| async {
        let inner = tower::service_fn(|_: Request<()>| async {
            let cause = std::io::Error::other("no more ports");
            let error = std::io::Error::other(Box::new(Outer(cause)));
            Err::<Response<Full<Bytes>>, _>(tower::BoxError::from(error))
        });
        let service = ServiceBuilder::new()
            .layer(ClientLayer::new())
            .service(inner);
        let request = Request::get("http://shop.example/").body(()).unwrap();
        service.oneshot(request).await.unwrap_err();
    });
    let message = "can't connect: no more ports";
    assert_eq!(status(&spans[0]), (ERROR, message));
    is(&spans[0], "error.type", text("_OTHER"));
}

/// What happened on top of an error.
#[derive(Debug)]
struct Outer(std::io::Error);

impl std::fmt::Display for Outer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("can't connect")
    }
}

impl std::error::Error for Outer {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

#[test]
fn a_body_that_breaks_is_an_error_if_it_is_waited_for_http_2() {
    let span = |layer: ClientLayer| {
        let (spans, ()) = recorded(|| async {
            let (cut, is_cut) = tokio::sync::watch::channel(false);
            let frames = async move || {
                let first = tokio_stream::once(Ok(Bytes::from_static(b"first")));
                let broken = WatchStream::from_changes(is_cut).map(|_| Err("cut"));
                AxumBody::from_stream(first.chain(broken))
            };
            let address = serve(Router::new().route("/", get(frames))).await;
            let request = to(address, "GET", "/");
            let response = client(layer).oneshot(request).await.unwrap();
            cut.send(true).unwrap();
            response.into_body().collect().await.unwrap_err();
        });
        named(&spans, "GET").clone()
    };
    let whole = span(ClientLayer::new().with_whole_body(true));
    assert_eq!(status(&whole).0, ERROR);
    is(&whole, "error.type", text("hyper::error::Error"));
    is(&whole, "http.response.body.size", int(5));
    let head = span(ClientLayer::new());
    assert_eq!(status(&head), (0, ""), "it was over before");
}

#[test]
fn a_caller_that_gives_up_is_no_error_http_2() {
    let (layer, capture) = layer();
    under(tracing_subscriber::registry().with(layer), || {
        block_on(|| async {
            let began = Arc::new(AtomicU32::new(0));
            let reached = began.clone();
            let app = Router::new().route(
                "/never",
                get(move || {
                    reached.fetch_add(1, Ordering::SeqCst);
                    pending::<()>()
                }),
            );
            let address = serve(app).await;
            let request = to(address, "GET", "/never");
            let call = tokio::spawn(client(ClientLayer::new()).oneshot(request));
            until(|| began.load(Ordering::SeqCst) == 1).await;
            call.abort();
            until_closed(&capture, 1).await;
        });
    });
    let spans = capture.spans();
    let span = named(&spans, "GET");
    assert_eq!(status(span), (0, ""));
    is(span, "error.type", None);
    is(span, "http.response.status_code", None);
}

#[test]
fn a_caller_that_panics_has_given_up_http_2() {
    let (spans, ()) = recorded(|| async {
        let address = serve(routes(Seen::default())).await;
        let caller = async move {
            let layer = ClientLayer::new().with_whole_body(true);
            let request = to(address, "GET", "/endless");
            let _response = client(layer).oneshot(request).await.unwrap();
            panic!("of the caller's own");
        };
        tokio::spawn(caller).await.unwrap_err();
    });
    let span = named(&spans, "GET");
    assert_eq!(status(span), (0, ""));
    is(span, "error.type", None);
}

#[test]
fn a_service_that_panics_is_an_error_and_panics_on() {
    let (spans, ()) = recorded(|| async {
        let inner = tower::service_fn(|_: Request<()>| async {
            assert!(!context::current().is_valid(), "a connector broke");
            Ok::<_, std::io::Error>(Response::new(Full::<Bytes>::default()))
        });
        let service = ServiceBuilder::new()
            .layer(ClientLayer::new())
            .service(inner);
        let request = Request::get("http://shop.example/").body(()).unwrap();
        tokio::spawn(service.oneshot(request)).await.unwrap_err();
    });
    assert_eq!(status(&spans[0]), (ERROR, "a connector broke"));
    is(&spans[0], "error.type", text("panic"));
}

#[test]
fn a_span_ends_with_the_headers_or_with_the_body_http_9() {
    for is_whole in [false, true] {
        let (layer, capture) = layer();
        under(tracing_subscriber::registry().with(layer), || {
            block_on(|| async {
                let address = serve(routes(Seen::default())).await;
                let layer = ClientLayer::new().with_whole_body(is_whole);
                let request = to(address, "GET", "/users/1");
                let response = client(layer).oneshot(request).await.unwrap();
                let ended = u64::from(!is_whole);
                assert_eq!(capture.spans().len() as u64, ended);
                response.into_body().collect().await.unwrap();
                assert_eq!(capture.spans().len(), 1);
            });
        });
        let spans = capture.spans();
        let size = is_whole.then(|| int(6)).flatten();
        is(&spans[0], "http.response.body.size", size);
        assert_eq!(status(&spans[0]), (0, ""));
    }
}

#[test]
fn a_template_names_the_span_http_1() {
    let template = |mut request: Request<Full<Bytes>>| {
        request
            .extensions_mut()
            .insert(UrlTemplate::new("/users/{id}"));
        request
    };
    let span = one(ClientLayer::new(), template, "/users/4711");
    assert_eq!(span.name, "GET /users/{id}");
    is(&span, "url.template", text("/users/{id}"));
    let span = get_of(ClientLayer::new(), "/users/4711");
    assert_eq!(span.name, "GET", "never the path");
}

#[test]
fn unknown_methods_are_other_http_4() {
    let purge = |mut request: Request<Full<Bytes>>| {
        *request.method_mut() = "PURGE".parse().unwrap();
        request
    };
    let span = one(ClientLayer::new(), purge, "/");
    assert_eq!(span.name, "HTTP");
    is(&span, "http.request.method", text("_OTHER"));
    is(&span, "http.request.method_original", text("PURGE"));
    let span = one(ClientLayer::new().with_known_methods(["PURGE"]), purge, "/");
    assert_eq!(span.name, "PURGE");
    is(&span, "http.request.method_original", None);
}

#[test]
fn headers_and_sizes_are_recorded_if_they_are_asked_for_http_6() {
    let layer = ClientLayer::new()
        .with_request_headers([HeaderName::from_static("x-tag")])
        .with_response_headers([http::header::CONTENT_TYPE])
        .with_request_body_size(true)
        .with_time_to_first_byte(true)
        .on_request(|request, _| assert!(!request.headers().contains_key("traceparent")));
    let edit = |request: Request<Full<Bytes>>| {
        let (mut parts, _) = request.into_parts();
        parts.method = http::Method::POST;
        parts.headers.append("x-tag", "one".parse().unwrap());
        parts.headers.insert("content-length", "3".parse().unwrap());
        Request::from_parts(parts, Full::from("abc"))
    };
    let span = one(layer, edit, "/");
    let list = |key: &str| match value(&span.attributes, key) {
        Some(Value::ArrayValue(list)) => list.values.iter().map(|v| v.value.clone()).collect(),
        other => panic!("{key}: {other:?}"),
    };
    let tags: Vec<_> = list("http.request.header.x-tag");
    assert_eq!(tags, [text("one")]);
    let types: Vec<_> = list("http.response.header.content-type");
    assert_eq!(types, [text("text/plain; charset=utf-8")]);
    is(&span, "http.request.body.size", int(3));
    assert!(matches!(
        value(&span.attributes, "tracing_otlp.time_to_first_byte"),
        Some(Value::DoubleValue(seconds)) if *seconds > 0.0
    ));
}

/// Sends again what was answered by a 5xx.
#[derive(Clone)]
struct Again;

impl<R, E> Policy<Request<Full<Bytes>>, Response<R>, E> for Again {
    type Future = Ready<()>;

    fn retry(
        &mut self,
        _: &mut Request<Full<Bytes>>,
        result: &mut Result<Response<R>, E>,
    ) -> Option<Ready<()>> {
        let response = result.as_ref().ok()?;
        response.status().is_server_error().then(|| ready(()))
    }

    fn clone_request(&mut self, request: &Request<Full<Bytes>>) -> Option<Request<Full<Bytes>>> {
        Some(request.clone())
    }
}

#[test]
fn each_attempt_has_a_span_and_its_number_http_9() {
    let (spans, ()) = recorded(|| async {
        let app = routes(Seen::default()).layer(ServerLayer::new());
        let address = serve(app).await;
        let service = ServiceBuilder::new()
            .layer(ResendsLayer::new())
            .retry(Again)
            .layer(ClientLayer::new())
            .service(hyper());
        let response = service
            .clone()
            .oneshot(to(address, "GET", "/busy"))
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        // Another request is counted anew.
        service.oneshot(to(address, "POST", "/busy")).await.unwrap();
    });
    let sent: Vec<_> = spans.iter().filter(|s| s.kind == CLIENT).collect();
    let served: Vec<_> = spans.iter().filter(|s| s.kind == SERVER).collect();
    assert_eq!(sent.len(), 4);
    for (i, resends) in [None, int(1), int(2), None].into_iter().enumerate() {
        is(sent[i], "http.request.resend_count", resends);
        let code = if i < 2 { 503 } else { 200 };
        is(sent[i], "http.response.status_code", int(code));
        // Each tells of itself, not of the attempt before.
        assert_eq!(served[i].parent_span_id, sent[i].span_id);
    }
}

/// A policy that takes the count along: redirects begin with extensions of their own.
#[derive(Clone, Default)]
struct Counting(Option<Resends>, Standard);

impl<B, E> RedirectPolicy<B, E> for Counting {
    fn redirect(&mut self, attempt: &Attempt<'_>) -> Result<Action, E> {
        RedirectPolicy::<B, E>::redirect(&mut self.1, attempt)
    }

    fn on_request(&mut self, request: &mut Request<B>) {
        let own = self.0.get_or_insert_with(|| {
            let given = request.extensions().get::<Resends>();
            given.cloned().unwrap_or_default()
        });
        request.extensions_mut().insert(own.clone());
    }
}

#[test]
fn redirects_are_attempts_and_are_counted_if_the_policy_takes_the_count_along_http_9() {
    let resends = |policy: Option<Counting>| {
        let (spans, ()) = recorded(|| async {
            let address = serve(routes(Seen::default())).await;
            let inner = client(ClientLayer::new());
            let request = to(address, "GET", "/moved");
            let response = match policy {
                Some(policy) => {
                    let layer = FollowRedirectLayer::with_policy(policy);
                    let service = ServiceBuilder::new().layer(layer).service(inner);
                    service.oneshot(request).await.unwrap()
                }
                None => {
                    let layers = ServiceBuilder::new()
                        .layer(ResendsLayer::new())
                        .layer(FollowRedirectLayer::new());
                    layers.service(inner).oneshot(request).await.unwrap()
                }
            };
            assert_eq!(response.status(), StatusCode::OK);
        });
        let count = |span: &Span| value(&span.attributes, "http.request.resend_count").cloned();
        let paths: Vec<_> = spans
            .iter()
            .map(|span| match value(&span.attributes, "url.full") {
                Some(Value::StringValue(url)) => url.splitn(4, '/').last().unwrap().to_owned(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(paths, ["moved", "moved/again", ""]);
        spans.iter().map(count).collect::<Vec<_>>()
    };
    assert_eq!(resends(Some(Counting::default())), [None, int(1), int(2)]);
    // Without it they are requests like others.
    assert_eq!(resends(None), [None, None, None]);
}

#[test]
fn what_is_left_out_still_tells_the_current_context_http_9() {
    let seen = Seen::default();
    let layers = [
        ClientLayer::new().with_filter(|request| request.uri().path() != "/"),
        ClientLayer::new().with_level(tracing::Level::TRACE),
    ];
    for layer in layers {
        let (pipeline, capture) = crate::capture::layer();
        let subscriber = tracing_subscriber::registry()
            .with(tracing_subscriber::filter::LevelFilter::INFO)
            .with(pipeline);
        under(subscriber, || {
            block_on(|| async {
                let address = serve(routes(seen.clone())).await;
                let send = client(layer).oneshot(to(address, "GET", "/"));
                send.instrument(info_span!("caller")).await.unwrap();
            });
        });
        let spans = capture.spans();
        assert_eq!(spans.len(), 1);
        let caller = named(&spans, "caller");
        let header = format!("00-{}-{}-03", hex(&caller.trace_id), hex(&caller.span_id));
        assert_eq!(seen.text("traceparent"), Some(header));
    }
}

#[test]
fn a_span_that_the_layer_may_not_see_tells_what_is_current_http_9() {
    let seen = Seen::default();
    let (pipeline, capture) = crate::capture::layer();
    let hides = filter_fn(|metadata| !metadata.target().starts_with("tracing_otlp::"));
    let subscriber = tracing_subscriber::registry()
        .with(pipeline.with_filter(hides))
        .with(tracing_subscriber::fmt::layer().with_writer(std::io::sink));
    under(subscriber, || {
        block_on(|| async {
            let address = serve(routes(seen.clone())).await;
            // No span of ours around it: the caller's context came from elsewhere.
            let remote = TraceContext::from_traceparent(CALLER).unwrap();
            let send = client(ClientLayer::new()).oneshot(to(address, "GET", "/"));
            send.with_trace_context(remote).await.unwrap();
        });
    });
    assert_eq!(capture.spans().len(), 0);
    assert_eq!(seen.text("traceparent").as_deref(), Some(CALLER));
}

#[test]
fn an_unsampled_trace_is_told_to_be_unsampled() {
    let seen = Seen::default();
    let never =
        |builder: tracing_otlp::OtlpBuilder| builder.with_sampler(tracing_otlp::sampler::AlwaysOff);
    let (spans, ()) = recorded_with(never, || async {
        let address = serve(routes(seen.clone()).layer(ServerLayer::new())).await;
        let request = to(address, "GET", "/");
        client(ClientLayer::new()).oneshot(request).await.unwrap();
    });
    assert_eq!(spans.len(), 0);
    let header = seen.text("traceparent").unwrap();
    let flags = u8::from_str_radix(header.rsplit_once('-').unwrap().1, 16).unwrap();
    assert_eq!(flags & 1, 0, "{header}");
}

#[test]
fn without_a_pipeline_nothing_happens() {
    let seen = Seen::default();
    let body = block_on(|| async {
        let address = serve(routes(seen.clone())).await;
        let request = to(address, "GET", "/");
        let response = client(ClientLayer::new()).oneshot(request).await.unwrap();
        response.into_body().collect().await.unwrap().to_bytes()
    });
    assert_eq!(&body[..], b"hello");
    assert_eq!(seen.text("traceparent"), None);
}

#[test]
fn a_client_is_ready_when_its_service_is() {
    let (spans, ()) = recorded(|| async {
        let address = serve(routes(Seen::default())).await;
        let mut client = client(ClientLayer::new());
        for _ in 0..3 {
            let ready = client.ready().await.unwrap();
            let response = ready.call(to(address, "HEAD", "/")).await.unwrap();
            assert_eq!(response.status(), StatusCode::OK);
        }
    });
    let names: Vec<_> = spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, ["HEAD"; 3]);
}

/// A call is over with the headers; who reads the body for an hour keeps no span open by that.
#[test]
fn a_body_that_is_kept_keeps_no_span_open_http_9() {
    let (layer, capture) = layer();
    under(crate::web::at_info().with(layer), || {
        block_on(|| async {
            let address = serve(routes(Seen::default())).await;
            let client = client(ClientLayer::new());
            let fetch = async { client.oneshot(to(address, "GET", "/")).await.unwrap() };
            let response = fetch.instrument(info_span!("fetch")).await;
            until_closed(&capture, 2).await;
            let within = info_span!("reads").in_scope(|| response.into_body().collect());
            within.await.unwrap();
        });
    });
    let spans = capture.spans();
    assert_eq!(
        named(&spans, "GET").parent_span_id,
        named(&spans, "fetch").span_id
    );
}
