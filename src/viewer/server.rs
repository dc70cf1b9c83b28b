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
use tokio::sync::Semaphore;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::body::Body;
use super::patience::Patience;
use super::receiver::Receiver;
use super::routes::Site;
use crate::error::Error;
use crate::suppress;

/// Connections of browsers and scripts at once; one more is closed at once.
pub(super) const CONNECTIONS: usize = 64;
/// Pages and scripts that listen to events at once.
pub(super) const LISTENERS: usize = 16;
/// Bytes of a request's head, and of what is read ahead.
pub(super) const HEAD: usize = 16 << 10;
/// Headers of a request.
pub(super) const HEADERS: usize = 64;
/// The longest from one answer to the end of the next request's head.
pub(super) const HEAD_TIME: Duration = Duration::from_secs(10);
/// Connections of OTLP clients at once, at each port.
const CLIENTS: usize = 256;

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
                    tokio::spawn(accept(listener, CLIENTS, move |stream| {
                        receive(stream, Arc::clone(&receiver))
                    }));
                }
                let pages = accept(listener, CONNECTIONS, move |stream| {
                    page(stream, Arc::clone(&site))
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

/// Serves connections, at most `most` at once.
async fn accept<F>(listener: TcpListener, most: usize, serve: impl Fn(tokio::net::TcpStream) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else {
        return;
    };
    let connections = Arc::new(Semaphore::new(most));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Of that one connection, or for want of descriptors, which others will give back.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        // Too many: hung up on, so that it is not left waiting for an answer.
        let Ok(permit) = Arc::clone(&connections).try_acquire_owned() else {
            continue;
        };
        let _ = stream.set_nodelay(true);
        let serving = serve(stream);
        tokio::spawn(async move {
            serving.await;
            drop(permit);
        });
    }
}

async fn page(stream: tokio::net::TcpStream, site: Arc<Site>) {
    let service = service_fn(move |request: Request<Incoming>| {
        // The body is not read: no request has to have one.
        let (head, _) = request.into_parts();
        let response = site.answer(&head);
        async { Ok::<Response<Body>, Infallible>(response) }
    });
    // An error is the peer's.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(Patience::new(stream)), service)
        .await;
}

async fn receive(stream: tokio::net::TcpStream, receiver: Arc<Receiver>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let receiver = Arc::clone(&receiver);
        async move { Ok::<Response<Body>, Infallible>(receiver.answer(request).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .max_headers(HEADERS)
        .max_buf_size(64 << 10);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(32)
        .keep_alive_interval(Duration::from_secs(30))
        .max_header_list_size(64 << 10);
    let _ = builder
        .serve_connection(TokioIo::new(Patience::new(stream)), service)
        .await;
}
