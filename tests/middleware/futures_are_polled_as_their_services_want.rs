//! The middleware's future and body, poll by poll: they wake nobody by themselves, pass on what the
//! inner ones say, and end the span however they end.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll};

use crate::capture::{Span, record, text, value};
use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::{Empty, Full};
use tokio::sync::oneshot;
use tokio_test::task::spawn;
use tokio_test::{assert_pending, assert_ready};
use tower::{Layer as _, Service, service_fn};
use tracing_otlp::SpanExt as _;
use tracing_otlp::Status;
use tracing_otlp::middleware::{ClientLayer, ServerLayer};

/// An error that is no `std::error::Error`, as tower allows.
#[derive(Debug)]
struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not today")
    }
}

fn request() -> Request<()> {
    Request::get("http://shop.example/").body(()).unwrap()
}

#[track_caller]
fn fared(spans: &[Span], code: i32, message: &str, error: Option<&str>) {
    assert_eq!(spans.len(), 1);
    let status = spans[0].status.clone().unwrap_or_default();
    assert_eq!((status.code, status.message.as_str()), (code, message));
    let kind = value(&spans[0].attributes, "error.type");
    assert_eq!(kind, error.and_then(text).as_ref());
}

#[test]
fn a_pending_future_waits_and_wakes_nobody() {
    let spans = record(|| {
        let (answer, waiting) = oneshot::channel::<Response<Full<Bytes>>>();
        let mut waiting = Some(waiting);
        let inner = service_fn(move |_: Request<()>| {
            let waiting = waiting.take().unwrap();
            async move { waiting.await.map_err(|_| Refused) }
        });
        let mut service = ServerLayer::new().layer(inner);
        let mut call = spawn(service.call(request()));
        for _ in 0..3 {
            assert_pending!(call.poll());
            assert!(!call.is_woken());
        }
        answer.send(Response::new(Full::from("well"))).unwrap();
        assert!(call.is_woken());
        let response = assert_ready!(call.poll()).unwrap();

        let body = response.into_body();
        assert_eq!(body.size_hint().exact(), Some(4));
        assert!(!body.is_end_stream());
        let mut body = spawn(body);
        let frame = assert_ready!(body.enter(|cx, body| body.poll_frame(cx)));
        assert_eq!(frame.unwrap().unwrap().into_data().unwrap(), "well");
        assert!(body.is_end_stream());
        assert!(!body.is_woken());
        assert!(assert_ready!(body.enter(|cx, body| body.poll_frame(cx))).is_none());
    });
    fared(&spans, 0, "", None);
}

#[test]
fn a_future_that_is_dropped_is_cancelled_for_a_server_only_http_2() {
    for is_server in [true, false] {
        let spans = record(|| {
            let inner = service_fn(|_: Request<()>| {
                std::future::pending::<Result<Response<Empty<Bytes>>, Refused>>()
            });
            if is_server {
                let mut call = spawn(ServerLayer::new().layer(inner).call(request()));
                assert_pending!(call.poll());
            } else {
                let mut call = spawn(ClientLayer::new().layer(inner).call(request()));
                assert_pending!(call.poll());
            }
        });
        match is_server {
            true => fared(&spans, 2, "", Some("cancelled")),
            false => fared(&spans, 0, "", None),
        }
    }
}

#[test]
fn a_service_that_fails_says_why_http_3() {
    let spans = record(|| {
        let inner = service_fn(async |_: Request<()>| Err::<Response<Empty<Bytes>>, _>(Refused));
        let mut call = spawn(ServerLayer::new().layer(inner).call(request()));
        assert_ready!(call.poll()).unwrap_err();
    });
    let kind = concat!(module_path!(), "::Refused");
    fared(&spans, 2, "not today", Some(kind));
}

#[test]
fn a_service_that_panics_when_it_is_called_is_told() {
    let spans = record(|| {
        let inner = service_fn(
            |_: Request<()>| -> std::future::Ready<Result<Response<Empty<Bytes>>, Refused>> {
                panic!("no service today")
            },
        );
        let mut service = ServerLayer::new().layer(inner);
        let call = AssertUnwindSafe(|| drop(service.call(request())));
        let payload = catch_unwind(call).unwrap_err();
        assert_eq!(payload.downcast_ref(), Some(&"no service today"));
    });
    fared(&spans, 2, "no service today", Some("panic"));
}

#[test]
fn a_body_that_announces_more_than_it_sends_was_cut() {
    for (sent, error) in [("well", None), ("we", Some("cancelled"))] {
        let spans = record(|| {
            struct Piece(Option<&'static str>);
            impl http_body::Body for Piece {
                type Data = Bytes;
                type Error = Refused;
                fn poll_frame(
                    mut self: std::pin::Pin<&mut Self>,
                    _: &mut Context<'_>,
                ) -> Poll<Option<Result<Frame<Bytes>, Refused>>> {
                    let piece = self.0.take().map(Bytes::from);
                    Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
                }
                fn size_hint(&self) -> SizeHint {
                    SizeHint::with_exact(4)
                }
            }
            let inner = service_fn(async |_: Request<()>| {
                let response = Response::builder().header("content-length", "4");
                Ok::<_, Refused>(response.body(Piece(Some(sent))).unwrap())
            });
            let mut call = spawn(ServerLayer::new().layer(inner).call(request()));
            let response = assert_ready!(call.poll()).unwrap();
            // As a server does: it takes what it announced, and lets the body go.
            let mut body = spawn(response.into_body());
            assert!(assert_ready!(body.enter(|cx, body| body.poll_frame(cx))).is_some());
        });
        fared(&spans, if error.is_some() { 2 } else { 0 }, "", error);
    }
}

#[test]
fn a_hook_may_forgive_how_a_call_ended() {
    let spans = record(|| {
        let inner = service_fn(|_: Request<()>| {
            std::future::pending::<Result<Response<Empty<Bytes>>, Refused>>()
        });
        let layer = ServerLayer::new().on_end(|end, span| {
            assert_eq!(end.error_type(), Some("cancelled"));
            span.set_status(Status::Ok);
        });
        drop(spawn(layer.layer(inner).call(request())));
    });
    fared(&spans, 1, "", Some("cancelled"));
}
