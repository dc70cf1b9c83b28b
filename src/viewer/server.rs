//! The viewer's thread: its sockets, and the bounds of each connection.

use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::body::Body;
use super::connections::{Bounds, Connections, End, Place};
use super::patience::Patience;
use super::receiver::Receiver;
use super::routes::Site;
use crate::error::Error;
use crate::suppress;

/// Pages and scripts that listen to events at once.
pub(super) const LISTENERS: usize = 16;
/// Bytes of a request's head, and of what is read ahead.
pub(super) const HEAD: usize = 16 << 10;
/// Headers of a request.
pub(super) const HEADERS: usize = 64;
/// The longest that a peer may need for the head of its first request.
pub(super) const HEAD_TIME: Duration = Duration::from_secs(10);
/// Browsers and scripts: from one answer to the end of the next request's head there are
/// [`HEAD_TIME`], and an answer has to be read in a minute.
const PAGES: Bounds = Bounds {
    most: 64,
    first: HEAD_TIME,
    next: Duration::from_secs(60),
};
/// OTLP clients, at each port. They keep their connections from one export to the next.
const CLIENTS: Bounds = Bounds {
    most: 256,
    first: HEAD_TIME,
    next: Duration::from_secs(120),
};
/// What an idle connection has for its end.
const GOODBYE: Duration = Duration::from_secs(1);

/// A server that ends when this is dropped.
#[derive(Debug)]
pub(super) struct Server {
    _online: DropGuard,
}

impl Server {
    /// Serves the page at `listener` and takes spans at `receivers`, on a thread of its own, whose
    /// spans are nobody's.
    pub(super) fn start(
        listener: TcpListener,
        site: Arc<Site>,
        receivers: Vec<(TcpListener, Arc<Receiver>)>,
    ) -> Result<Self, Error> {
        let failed =
            |e: std::io::Error| Error::worker("the viewer could not be started").with_source(e);
        listener.set_nonblocking(true).map_err(failed)?;
        for (listener, _) in &receivers {
            listener.set_nonblocking(true).map_err(failed)?;
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(failed)?;
        let online = CancellationToken::new();
        let ended = online.clone();
        let serve = move || {
            suppress::mark_thread();
            runtime.block_on(async {
                for (listener, receiver) in receivers {
                    tokio::spawn(accept(listener, CLIENTS, move |stream, place| {
                        receive(stream, place, Arc::clone(&receiver))
                    }));
                }
                let pages = accept(listener, PAGES, move |stream, place| {
                    page(stream, place, Arc::clone(&site))
                });
                tokio::select! {
                    () = pages => {}
                    () = ended.cancelled() => {}
                }
            });
            runtime.shutdown_background();
        };
        std::thread::Builder::new()
            .name("otlp-viewer".to_owned())
            .spawn(serve)
            .map_err(failed)?;
        Ok(Self {
            _online: online.drop_guard(),
        })
    }
}

/// Serves connections within these bounds.
async fn accept<F>(
    listener: TcpListener,
    bounds: Bounds,
    serve: impl Fn(tokio::net::TcpStream, Place) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else {
        return;
    };
    let connections = Arc::new(Connections::new(bounds));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Of that one connection, or for want of descriptors, which others will give back.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        // All are busy: hung up on, so that it is not left waiting for an answer.
        let Some(place) = connections.admit() else {
            continue;
        };
        let _ = stream.set_nodelay(true);
        tokio::spawn(serve(stream, place));
    }
}

async fn page<T>(stream: T, place: Place, site: Arc<Site>)
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let peer = Arc::clone(&place.peer);
    let service = service_fn(move |request: Request<Incoming>| {
        let busy = peer.asks();
        // The body is not read: no request has to have one.
        let (head, _) = request.into_parts();
        let response = site.answer(&head);
        // Who listens to events is not idle.
        let response = response.map(|body| body.keeping(busy));
        async { Ok::<Response<Body>, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(Patience::new(stream)), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        // An error is the peer's.
        _ = connection.as_mut() => {}
        _ = place.end() => {}
    }
}

async fn receive<T>(stream: T, place: Place, receiver: Arc<Receiver>)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let peer = Arc::clone(&place.peer);
    let service = service_fn(move |request: Request<Incoming>| {
        let (receiver, busy) = (Arc::clone(&receiver), peer.asks());
        async move {
            let response = receiver.answer(request).await;
            drop(busy);
            Ok::<Response<Body>, Infallible>(response)
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // `place` has the time, whatever is spoken.
        .header_read_timeout(None)
        .max_headers(HEADERS)
        .max_buf_size(64 << 10);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(32)
        .keep_alive_interval(Duration::from_secs(30))
        .max_header_list_size(64 << 10);
    let connection = builder.serve_connection(TokioIo::new(Patience::new(stream)), service);
    let mut connection = std::pin::pin!(connection);
    let end = tokio::select! {
        _ = connection.as_mut() => return,
        end = place.end() => end,
    };
    if end == End::Idle {
        connection.as_mut().graceful_shutdown();
        let _ = tokio::time::timeout(GOODBYE, connection).await;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests;
