//! Requests of any bytes through the middleware: they are served, and nothing of theirs is believed.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::LazyLock;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri};
use http_body::{Body as _, Frame, SizeHint};
use tower_layer::Layer as _;
use tower_service::Service;
use tracing_core::Dispatch;
use tracing_subscriber::layer::SubscriberExt as _;

use crate::export::{Batch, Exporter, Outcome};
use crate::guard::ShutdownGuard;
use crate::middleware::{ClientLayer, Resends, ServerLayer};

/// A method, a target, and headers, one a line; of a header the first byte says which. The answer has
/// the same headers, as trailers too.
pub fn requests(bytes: &[u8]) {
    let mut lines = bytes.split(|b| *b == b'\n');
    let method = lines.next().map(Method::from_bytes);
    let target = lines.next().map(Uri::try_from);
    let (Some(Ok(method)), Some(Ok(target))) = (method, target) else {
        return;
    };
    let mut headers = HeaderMap::new();
    for line in lines {
        let Some((which, value)) = line.split_first() else {
            continue;
        };
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(HEADERS[usize::from(*which) % HEADERS.len()], value);
        }
    }
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = target;
    *request.headers_mut() = headers.clone();
    request.extensions_mut().insert(Resends::new());

    let names = || {
        HEADERS
            .iter()
            .map(|name| http::HeaderName::from_static(name))
    };
    let peer = |_: &http::Extensions| Some(([127, 0, 0, 1], 1).into());
    let server = ServerLayer::new()
        .with_peer(peer)
        .with_trusted_proxies(|ip| ip.is_loopback())
        .with_request_headers(names())
        .with_response_headers(names())
        .with_server_timing(true)
        .on_end(|end, _| assert!(end.body_size() <= SENT.len() as u64));
    let client = ClientLayer::new().with_whole_body(true);
    let mut service = server.layer(client.layer(Echo));
    tracing::dispatcher::with_default(&PIPELINE.0, || {
        let cx = &mut Context::from_waker(Waker::noop());
        let future = pin!(service.call(request));
        let Poll::Ready(Ok(response)) = future.poll(cx) else {
            panic!("an answer that is ready is given")
        };
        let mut body = pin!(response.into_body());
        while let Poll::Ready(Some(frame)) = body.as_mut().poll_frame(cx) {
            assert!(frame.is_ok());
        }
    });
}

const SENT: &str = "well";

const HEADERS: &[&str] = &[
    "host",
    "user-agent",
    "content-type",
    "content-length",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "traceparent",
    "tracestate",
    "baggage",
    "grpc-timeout",
    "grpc-status",
    "grpc-message",
];

/// Answers with what it was sent.
struct Echo;

impl Service<Request<()>> for Echo {
    type Response = Response<EchoBody>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        let headers = request.headers();
        let mut response = Response::new(EchoBody {
            data: Some(Bytes::from_static(SENT.as_bytes())),
            trailers: Some(headers.clone()),
        });
        *response.headers_mut() = headers.clone();
        std::future::ready(Ok(response))
    }
}

struct EchoBody {
    data: Option<Bytes>,
    trailers: Option<HeaderMap>,
}

impl http_body::Body for EchoBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(data) = self.data.take() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        Poll::Ready(self.trailers.take().map(|all| Ok(Frame::trailers(all))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// A pipeline that acknowledges everything.
static PIPELINE: LazyLock<(Dispatch, ShutdownGuard)> = LazyLock::new(|| {
    let built = crate::builder::builder()
        .without_env()
        .with_exporter(Nowhere)
        .build();
    match built {
        Ok((layer, guard)) => {
            let registry = tracing_subscriber::registry().with(layer);
            (Dispatch::new(registry), guard)
        }
        Err(error) => panic!("{error}"),
    }
});

struct Nowhere;

impl Exporter for Nowhere {
    type Permit = ();

    async fn ready(&self) {}

    fn send(&self, (): (), batch: Batch) -> impl Future<Output = Outcome> + Send + 'static {
        std::future::ready(Outcome::delivered(batch.item_count() as u64))
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_request_is_served(
            method in "(GET|HEAD|POST|CONNECT|PURGE|[!-~]{1,9})",
            target in "(/[!-~]{0,30}|http://([a-z:@\\[\\]0-9.]{1,20})/[a-z=&?]{0,20}|\\*|/[a-zA-Z.]{1,9}/[A-Z]{1,5})",
            headers in vec((any::<u8>(), "(for=[a-z0-9\";:=,\\[\\].]{0,30}|[0-9.:,@ ]{0,20}|application/grpc|[0-9]{1,9}[HMSmun]|\\PC{0,20})"), 0..9),
        ) {
            let mut bytes = format!("{method}\n{target}").into_bytes();
            for (which, value) in headers {
                bytes.push(b'\n');
                bytes.push(which);
                bytes.extend_from_slice(value.as_bytes());
            }
            requests(&bytes);
        }

        #[test]
        fn any_bytes_as_a_request(bytes in vec(any::<u8>(), 0..200)) {
            requests(&bytes);
        }
    }
}
