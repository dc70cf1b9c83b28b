//! A request's span ends with the last byte or trailer of its response, or when nobody waits for it
//! any more; never before, and never not (PAIN 39).

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use crate::capture::{Span, int, named, text, under, value};
use crate::web::{block_on, open, open_h2, pipeline, read, recorded, request, serve, until_closed};
use axum::Router;
use axum::body::Body;
use axum::routing::get;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tracing::{info, info_span};
use tracing_otlp::context;
use tracing_otlp::middleware::ServerLayer;

/// A body that a test fills frame by frame.
struct Fed(mpsc::UnboundedReceiver<Result<Frame<Bytes>, &'static str>>);

type Feeder = mpsc::UnboundedSender<Result<Frame<Bytes>, &'static str>>;

impl http_body::Body for Fed {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = std::task::ready!(self.0.poll_recv(cx));
        if frame.is_some() {
            info!("a frame is made");
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }
}

impl Drop for Fed {
    fn drop(&mut self) {
        info!("the body is let go");
    }
}

fn data(text: &'static str) -> Result<Frame<Bytes>, &'static str> {
    Ok(Frame::data(Bytes::from_static(text.as_bytes())))
}

/// One route whose body is fed from outside.
fn fed() -> (Router, Feeder) {
    let (feeder, receiver) = mpsc::unbounded_channel();
    let receiver = Arc::new(Mutex::new(Some(receiver)));
    let route = get(move || {
        let receiver = receiver.lock().unwrap().take().unwrap();
        async move { Body::new(Fed(receiver)) }
    });
    (
        Router::new().route("/fed", route).layer(ServerLayer::new()),
        feeder,
    )
}

#[track_caller]
fn fared(span: &Span, error: Option<&str>) {
    let kind = value(&span.attributes, "error.type");
    assert_eq!(kind, error.and_then(text).as_ref());
    let code = span.status.as_ref().map_or(0, |s| s.code);
    assert_eq!(code, if error.is_some() { 2 } else { 0 });
}

fn messages(span: &Span) -> Vec<&str> {
    span.events.iter().map(|e| e.name.as_str()).collect()
}

#[test]
fn with_the_last_frame_and_no_earlier_over_http_1_and_2() {
    for is_h2 in [false, true] {
        let (subscriber, capture) = pipeline();
        under(subscriber, || {
            block_on(|| async {
                let (app, feeder) = fed();
                let address = serve(app).await;
                let response = match is_h2 {
                    true => open_h2(address, request("GET", "/fed")).await.unwrap(),
                    false => open(address, request("GET", "/fed")).await.unwrap(),
                };
                feeder.send(data("one")).unwrap();
                let mut body = response.into_body();
                body.frame().await.unwrap().unwrap();
                assert_eq!(capture.stats().open, 1, "it is still being sent");
                feeder.send(data("two")).unwrap();
                drop(feeder);
                assert_eq!(body.collect().await.unwrap().to_bytes(), "two");
                until_closed(&capture, 1).await;
            });
        });
        let spans = capture.spans();
        fared(&spans[0], None);
        assert_eq!(
            value(&spans[0].attributes, "http.response.body.size"),
            int(6).as_ref()
        );
        let version = if is_h2 { "2" } else { "1.1" };
        let told = value(&spans[0].attributes, "network.protocol.version");
        assert_eq!(told, text(version).as_ref());
        // The body runs, and is dropped, within the span.
        let events = messages(&spans[0]);
        assert_eq!(events[..2], ["a frame is made"; 2], "{events:?}");
    }
}

#[test]
fn with_the_trailers() {
    let (subscriber, capture) = pipeline();
    under(subscriber, || {
        block_on(|| async {
            let (app, feeder) = fed();
            let address = serve(app).await;
            feeder.send(data("one")).unwrap();
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", HeaderValue::from_static("1"));
            feeder.send(Ok(Frame::trailers(trailers))).unwrap();
            let response = open_h2(address, request("GET", "/fed")).await.unwrap();
            let (body, trailers) = read(response).await;
            assert_eq!(
                (&body[..], &trailers["x-sum"]),
                (&b"one"[..], &HeaderValue::from_static("1"))
            );
            // The sender is still there: it was the trailers that ended it.
            until_closed(&capture, 1).await;
            drop(feeder);
        });
    });
    fared(&capture.spans()[0], None);
}

#[test]
fn when_a_slow_client_has_taken_what_its_connection_cannot_hold() {
    const SIZE: usize = 32 << 20;
    let (subscriber, capture) = pipeline();
    under(subscriber, || {
        block_on(|| async {
            let large = get(|| async { Body::from(vec![b'x'; SIZE]) });
            let chunked = get(|| async {
                let piece = || Ok::<_, Infallible>(Bytes::from(vec![b'x'; SIZE / 64]));
                Body::from_stream(tokio_stream::iter(std::iter::repeat_with(piece).take(64)))
            });
            let app = Router::new()
                .route("/large", large)
                .route("/chunked", chunked)
                .layer(ServerLayer::new());
            let address = serve(app).await;
            for (i, path) in ["/large", "/chunked"].into_iter().enumerate() {
                let response = open(address, request("GET", path)).await.unwrap();
                let mut body = response.into_body();
                let first = body.frame().await.unwrap().unwrap();
                let first = first.into_data().unwrap().len();
                // A body in one piece has been handed over; one in pieces waits for the client.
                if path == "/chunked" {
                    assert_eq!(capture.stats().open, 1);
                }
                let rest = body.collect().await.unwrap().to_bytes().len();
                assert_eq!(first + rest, SIZE);
                until_closed(&capture, i as u64 + 1).await;
            }
        });
    });
    for span in capture.spans() {
        fared(&span, None);
        let size = value(&span.attributes, "http.response.body.size");
        assert_eq!(size, int(SIZE as i64).as_ref());
    }
}

#[test]
fn a_request_that_never_arrives_whole_is_none() {
    let (spans, ()) = recorded(|| async {
        let app = Router::new()
            .route("/", get(async || ""))
            .layer(ServerLayer::new());
        let address = serve(app).await;
        for part in [
            "",
            "GET / HT",
            "GET / HTTP/1.1\r\nhost: sh",
            "\u{0}\r\n\r\n",
        ] {
            let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
            stream.write_all(part.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    });
    assert!(spans.is_empty(), "{spans:?}");
}

#[test]
fn when_the_client_goes_away_while_it_is_sent() {
    for is_h2 in [false, true] {
        let (subscriber, capture) = pipeline();
        under(subscriber, || {
            block_on(|| async {
                let (app, feeder) = fed();
                let address = serve(app).await;
                let response = match is_h2 {
                    true => open_h2(address, request("GET", "/fed")).await.unwrap(),
                    false => open(address, request("GET", "/fed")).await.unwrap(),
                };
                feeder.send(data("one")).unwrap();
                let mut body = response.into_body();
                body.frame().await.unwrap().unwrap();
                drop(body);
                until_closed(&capture, 1).await;
            });
        });
        let spans = capture.spans();
        fared(&spans[0], Some("cancelled"));
        assert_eq!(
            value(&spans[0].attributes, "http.response.status_code"),
            int(200).as_ref()
        );
        assert_eq!(messages(&spans[0]).last(), Some(&"the body is let go"));
    }
}

#[test]
fn when_the_client_goes_away_before_there_is_an_answer() {
    let (subscriber, capture) = pipeline();
    under(subscriber, || {
        block_on(|| async {
            struct Work;
            impl Drop for Work {
                fn drop(&mut self) {
                    info!("the work is let go");
                }
            }
            let (began, mut begun) = mpsc::unbounded_channel();
            let slow = get(move || async move {
                let _work = Work;
                began.send(()).unwrap();
                std::future::pending::<()>().await;
            });
            let app = Router::new().route("/slow", slow).layer(ServerLayer::new());
            let address = serve(app).await;
            let waiting = tokio::spawn(async move {
                let _ = open(address, request("GET", "/slow")).await;
            });
            begun.recv().await.unwrap();
            waiting.abort();
            // Its connection's task ends with the runtime otherwise.
            let _ = waiting.await;
            tokio::time::timeout(Duration::from_millis(1), std::future::pending::<()>())
                .await
                .unwrap_err();
        });
    });
    let spans = capture.spans();
    let span = named(&spans, "GET /slow");
    fared(span, Some("cancelled"));
    assert_eq!(value(&span.attributes, "http.response.status_code"), None);
    assert_eq!(messages(span), ["the work is let go"]);
}

#[test]
fn when_the_body_breaks() {
    let (subscriber, capture) = pipeline();
    under(subscriber, || {
        block_on(|| async {
            let (app, feeder) = fed();
            let address = serve(app).await;
            feeder.send(data("one")).unwrap();
            let response = open(address, request("GET", "/fed")).await.unwrap();
            feeder.send(Err("the disk is gone")).unwrap();
            response.into_body().collect().await.unwrap_err();
            until_closed(&capture, 1).await;
        });
    });
    let spans = capture.spans();
    fared(&spans[0], Some("axum_core::error::Error"));
    assert_eq!(
        spans[0].status.as_ref().unwrap().message,
        "the disk is gone"
    );
}

#[test]
fn when_the_handler_or_the_body_panics() {
    async fn handler() -> StatusCode {
        tokio::task::yield_now().await;
        panic!("no such luck")
    }
    struct Bomb;
    impl http_body::Body for Bomb {
        type Data = Bytes;
        type Error = Infallible;
        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            panic!("{} luck", "no such")
        }
    }
    let (spans, ()) = recorded(|| async {
        let app = Router::new()
            .route("/handler", get(handler))
            .route("/body", get(async || Response::new(Body::new(Bomb))))
            .layer(ServerLayer::new());
        let address = serve(app).await;
        for path in ["/handler", "/body"] {
            if let Ok(response) = open(address, request("GET", path)).await {
                response.into_body().collect().await.unwrap_err();
            }
        }
    });
    for name in ["GET /handler", "GET /body"] {
        let span = named(&spans, name);
        fared(span, Some("panic"));
        assert_eq!(span.status.as_ref().unwrap().message, "no such luck");
        assert_eq!(messages(span), ["exception"]);
        let exception = &span.events[0].attributes;
        assert_eq!(value(exception, "exception.type"), text("panic").as_ref());
        assert_eq!(
            value(exception, "exception.message"),
            text("no such luck").as_ref()
        );
    }
}

#[test]
fn what_runs_for_the_request_is_in_its_trace_also_where_it_has_no_span() {
    async fn handler() -> String {
        info_span!("work").in_scope(|| {});
        tokio::task::yield_now().await;
        let cx = context::current();
        format!("{} {}", cx.trace_id(), cx.flags().is_sampled())
    }
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let layers = [
        ServerLayer::new(),
        ServerLayer::new().with_level(tracing::Level::TRACE),
        ServerLayer::new().with_filter(|_| false),
    ];
    for (i, server) in layers.into_iter().enumerate() {
        for sampled in [true, false] {
            let server = server.clone();
            let (subscriber, capture) = pipeline();
            under(subscriber, || {
                block_on(|| async {
                    let app = Router::new().route("/", get(handler)).layer(server);
                    let mut request = request("GET", "/");
                    let flag = u8::from(sampled);
                    let traceparent = format!("00-{trace}-00f067aa0ba902b7-{flag:02}");
                    request
                        .headers_mut()
                        .insert("traceparent", traceparent.parse().unwrap());
                    let (_, body) = crate::web::send(serve(app).await, request).await;
                    assert_eq!(body, format!("{trace} {sampled}"));
                });
            });
            let spans = capture.spans();
            if !sampled {
                assert!(spans.is_empty());
                continue;
            }
            let work = named(&spans, "work");
            assert_eq!(work.trace_id[..2], [0x4b, 0xf9]);
            let parent = match i {
                0 => named(&spans, "GET /").span_id.clone(),
                _ => vec![0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7],
            };
            assert_eq!(work.parent_span_id, parent);
        }
    }
}
