//! What reqwest sends, through `reqwest-middleware`, becomes spans as what a tower client sends.

use std::future::{pending, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::capture::{Span, Value, int, layer, named, text, under, value};
use crate::web::{at_info, block_on, recorded_at_info, serve, until, until_closed};
use axum::Router;
use axum::routing::{any, get};
use http::{Extensions, HeaderMap, HeaderName, StatusCode};
use reqwest_middleware::reqwest::{self, Request, Response};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware, Error, Middleware, Next};
use tonic::async_trait;
use tracing::{Instrument as _, info_span};
use tracing_otlp::middleware::{ClientLayer, ServerLayer, UrlTemplate};
use tracing_subscriber::layer::SubscriberExt as _;

const SERVER: i32 = 2;
const CLIENT: i32 = 3;
const ERROR: i32 = 2;

fn plain() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

fn client(layer: ClientLayer) -> ClientWithMiddleware {
    ClientBuilder::new(plain()).with(layer).build()
}

fn routes() -> Router {
    let asked = Arc::new(AtomicU32::new(0));
    let busy = move || {
        ready(match asked.fetch_add(1, Ordering::SeqCst) {
            0 | 1 => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::OK,
        })
    };
    let context = |headers: HeaderMap| {
        let header = headers.get("traceparent");
        ready(header.map_or(String::new(), |h| h.to_str().unwrap().to_owned()))
    };
    Router::new()
        .route("/", any(|| ready("hello")))
        .route("/context", get(context))
        .route("/missing", get(|| ready(StatusCode::NOT_FOUND)))
        .route("/busy", get(busy))
        .route("/never", get(pending::<()>))
        .route(
            "/moved",
            get(|| ready((StatusCode::FOUND, [("location", "/")]))),
        )
}

#[track_caller]
fn is(span: &Span, key: &str, expected: Option<Value>) {
    assert_eq!(value(&span.attributes, key), expected.as_ref(), "{key}");
}

fn status(span: &Span) -> (i32, &str) {
    let status = span.status.as_ref();
    status.map_or((0, ""), |s| (s.code, s.message.as_str()))
}

#[test]
fn all_that_the_conventions_require_and_recommend_is_there_http_10() {
    let (spans, address) = recorded_at_info(|| async {
        let address = serve(routes().layer(ServerLayer::new())).await;
        let url = format!("http://{address}/?page=2&sig=secret#part");
        let send = client(ClientLayer::new()).get(url).send();
        let response = send.instrument(info_span!("caller")).await.unwrap();
        assert_eq!(response.text().await.unwrap(), "hello");
        address
    });
    let (sent, served) = (named(&spans, "GET"), named(&spans, "GET /"));
    assert_eq!((sent.kind, status(sent)), (CLIENT, (0, "")));
    let port = i64::from(address.port());
    let url = format!("http://{address}/?page=2&sig=REDACTED");
    is(sent, "http.request.method", text("GET"));
    is(sent, "url.full", text(&url));
    is(sent, "server.address", text("127.0.0.1"));
    is(sent, "server.port", int(port));
    is(sent, "network.peer.address", text("127.0.0.1"));
    is(sent, "network.peer.port", int(port));
    is(sent, "network.protocol.version", text("1.1"));
    is(sent, "http.response.status_code", int(200));
    let keys = sent.attributes.iter().map(|a| a.key.as_str());
    let is_ours = |key: &&str| !key.starts_with("thread.") && *key != "target";
    let others: Vec<_> = keys.filter(is_ours).collect();
    assert_eq!(others.len(), 8, "and nothing else: {others:?}");
    // One trace, from this very span (HTTP-9).
    assert_eq!(served.kind, SERVER);
    assert_eq!(served.parent_span_id, sent.span_id);
    assert_eq!(sent.parent_span_id, named(&spans, "caller").span_id);
    assert_eq!(served.trace_id, sent.trace_id);
}

#[test]
fn a_status_from_400_on_is_an_error_http_2() {
    let (spans, ()) = recorded_at_info(|| async {
        let url = format!("http://{}/missing", serve(routes()).await);
        client(ClientLayer::new()).get(url).send().await.unwrap();
    });
    assert_eq!(status(&spans[0]), (ERROR, ""));
    is(&spans[0], "error.type", text("404"));
}

#[test]
fn errors_are_named_by_their_kind_and_keep_secrets_http_3_http_5() {
    let failed = |edit: fn(reqwest::Request) -> reqwest::Request, path: &'static str| {
        let (spans, error) = recorded_at_info(|| async move {
            let address = serve(routes()).await;
            let url = format!("http://me:secret@{address}{path}?sig=secret");
            let request = Request::new(http::Method::GET, url.parse().unwrap());
            let client = client(ClientLayer::new());
            client.execute(edit(request)).await.unwrap_err()
        });
        assert_eq!(status(&spans[0]).0, ERROR, "{error:?}");
        assert!(!format!("{spans:?}").contains("secret"), "{spans:#?}");
        spans.into_iter().next().unwrap()
    };
    let late = |mut request: Request| {
        *request.timeout_mut() = Some(Duration::from_millis(20));
        request
    };
    let span = failed(late, "/never");
    is(&span, "error.type", text("timeout"));
    assert!(status(&span).1.contains("timed out"), "{span:?}");
    is(&span, "http.response.status_code", None);

    let refused = |mut request: Request| {
        // Nothing listens there.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        request.url_mut().set_port(Some(port)).unwrap();
        request
    };
    let span = failed(refused, "/");
    is(&span, "error.type", text("connect"));
    assert!(status(&span).1.contains("refused"), "{span:?}");

    // Longer than any URI may be.
    let huge = |mut request: Request| {
        request.url_mut().set_path(&"x".repeat(70_000));
        request
    };
    let span = failed(huge, "/");
    is(&span, "error.type", text("builder"));
    is(&span, "server.address", text("127.0.0.1"));
}

/// Sends again what was answered by a 5xx.
struct Again;

#[async_trait]
impl Middleware for Again {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> reqwest_middleware::Result<Response> {
        loop {
            let again = request.try_clone().unwrap();
            let response = next.clone().run(again, extensions).await?;
            if !response.status().is_server_error() {
                return Ok(response);
            }
        }
    }
}

#[test]
fn each_attempt_has_a_span_and_its_number_http_9() {
    let (spans, ()) = recorded_at_info(|| async {
        let address = serve(routes().layer(ServerLayer::new())).await;
        let client = ClientBuilder::new(plain())
            .with(Again)
            .with(ClientLayer::new())
            .build();
        let url = format!("http://{address}/busy");
        for _ in 0..2 {
            client.get(&url).send().await.unwrap();
        }
    });
    let sent: Vec<_> = spans.iter().filter(|s| s.kind == CLIENT).collect();
    let served: Vec<_> = spans.iter().filter(|s| s.kind == SERVER).collect();
    assert_eq!(sent.len(), 4);
    for (i, resends) in [None, int(1), int(2), None].into_iter().enumerate() {
        is(sent[i], "http.request.resend_count", resends);
        assert_eq!(served[i].parent_span_id, sent[i].span_id);
    }
}

#[test]
fn redirects_of_reqwest_s_own_are_part_of_the_span() {
    let (spans, ()) = recorded_at_info(|| async {
        let url = format!("http://{}/moved", serve(routes()).await);
        let response = client(ClientLayer::new()).get(url).send().await.unwrap();
        assert_eq!(response.url().path(), "/");
    });
    assert_eq!(spans.len(), 1);
    is(&spans[0], "http.response.status_code", int(200));
    is(&spans[0], "http.request.resend_count", None);
}

#[test]
fn a_span_lasts_until_the_body_has_ended_if_it_is_told_to_http_9() {
    let (layer, capture) = layer();
    under(at_info().with(layer), || {
        block_on(|| async {
            let url = format!("http://{}/?a=1", serve(routes()).await);
            let client = client(ClientLayer::new().with_whole_body(true));
            let response = client.get(&url).send().await.unwrap();
            assert_eq!(capture.spans().len(), 0);
            // It is the same response.
            assert_eq!(response.url().as_str(), url);
            assert_eq!(response.content_length(), Some(5));
            assert_eq!(response.headers()["content-length"], "5");
            assert!(response.remote_addr().is_some());
            assert_eq!(response.text().await.unwrap(), "hello");
            assert_eq!(capture.spans().len(), 1);
            // Dropped unread: its caller did not want it.
            drop(client.get(&url).send().await.unwrap());
            until_closed(&capture, 2).await;
        });
    });
    let spans = capture.spans();
    is(&spans[0], "http.response.body.size", int(5));
    is(&spans[1], "http.response.body.size", int(0));
    for span in &spans {
        assert_eq!(status(span), (0, ""));
    }
}

#[test]
fn a_caller_that_gives_up_is_no_error_http_2() {
    let (layer, capture) = layer();
    under(at_info().with(layer), || {
        block_on(|| async {
            let url = format!("http://{}/never", serve(routes()).await);
            let call = tokio::spawn(client(ClientLayer::new()).get(url).send());
            until(|| capture.stats().open == 1).await;
            call.abort();
            until_closed(&capture, 1).await;
        });
    });
    let spans = capture.spans();
    assert_eq!(status(&spans[0]), (0, ""));
    is(&spans[0], "error.type", None);
}

/// Never sends anything.
struct Refuses;

#[async_trait]
impl Middleware for Refuses {
    async fn handle(
        &self,
        _: Request,
        _: &mut Extensions,
        _: Next<'_>,
    ) -> reqwest_middleware::Result<Response> {
        Err(Error::middleware(std::io::Error::other("no token")))
    }
}

/// Breaks.
struct Panics;

#[async_trait]
impl Middleware for Panics {
    async fn handle(
        &self,
        _: Request,
        _: &mut Extensions,
        _: Next<'_>,
    ) -> reqwest_middleware::Result<Response> {
        panic!("of its own");
    }
}

#[test]
fn what_fails_below_is_an_error_http_3() {
    let (spans, ()) = recorded_at_info(|| async {
        let client = ClientBuilder::new(plain())
            .with(ClientLayer::new())
            .with(Refuses)
            .build();
        client.get("http://shop.example/").send().await.unwrap_err();
        let client = ClientBuilder::new(plain())
            .with(ClientLayer::new())
            .with(Panics)
            .build();
        let send = client.get("http://shop.example/").send();
        tokio::spawn(send).await.unwrap_err();
    });
    assert_eq!(status(&spans[0]), (ERROR, "no token"));
    is(&spans[0], "error.type", text("_OTHER"));
    assert_eq!(status(&spans[1]), (ERROR, "of its own"));
    is(&spans[1], "error.type", text("panic"));
}

#[test]
fn settings_are_those_of_the_layer() {
    let (spans, told) = recorded_at_info(|| async {
        let address = serve(routes()).await;
        let layer = ClientLayer::new()
            .with_filter(|request| request.uri().path() != "/context")
            .with_request_headers([HeaderName::from_static("x-tag")])
            .on_request(|request, span| {
                use tracing_otlp::SpanExt as _;
                span.set_attribute("path", request.uri().path().to_owned());
            });
        let client = client(layer);
        let told = async {
            let url = format!("http://{address}/context");
            let response = client.get(url).send().await.unwrap();
            response.text().await.unwrap()
        };
        let told = told.instrument(info_span!("caller")).await;
        let request = client
            .post(format!("http://{address}/"))
            .header("x-tag", "one")
            .with_extension(UrlTemplate::new("/{anything}"));
        request.send().await.unwrap();
        told
    });
    // What is left out tells the current context all the same.
    assert_eq!(spans.len(), 2);
    let caller: String = named(&spans, "caller")
        .span_id
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    assert!(told.contains(&caller), "{told}");
    let span = named(&spans, "POST /{anything}");
    is(span, "url.template", text("/{anything}"));
    is(span, "path", text("/"));
    assert!(value(&span.attributes, "http.request.header.x-tag").is_some());
}

#[test]
fn without_a_pipeline_nothing_happens() {
    let told = block_on(|| async {
        let url = format!("http://{}/context", serve(routes()).await);
        let response = client(ClientLayer::new()).get(url).send().await.unwrap();
        response.text().await.unwrap()
    });
    assert_eq!(told, "");
}
