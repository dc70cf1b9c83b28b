//! The sockets: accepting connections, serving them with hyper, breaking them on command.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::request::{CollectorConnection, Port, ServerCommand};
use super::tls;
use crate::config::Protocol;
use crate::sync::{Mutex, lock};

/// Accepts connections until `online` is cancelled; their tasks are tracked by `tasks`.
pub(super) async fn accept(
    listener: std::net::TcpListener,
    port: Arc<Port>,
    tls: Option<tls::Acceptor>,
    online: CancellationToken,
    tasks: TaskTracker,
) {
    // Needs the runtime's context, which the caller's thread may lack.
    let Ok(listener) = TcpListener::from_std(listener) else {
        return;
    };
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = online.cancelled() => return,
        };
        // An error here speaks of that one connection, or of a want of file descriptors that
        // the next connection to close will mend.
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let number = port.store.add_connection();
        let (port, tls, closed) = (port.clone(), tls.clone(), online.clone());
        tasks.spawn(async move {
            let serve = async {
                match tls {
                    None => serve(stream, port, number).await,
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            serve(stream, port, number).await;
                        }
                    }
                }
            };
            tokio::select! {
                () = serve => {}
                () = closed.cancelled() => {}
            }
        });
    }
}

/// Serves one connection until it ends or one of its requests breaks it.
async fn serve<T>(stream: T, port: Arc<Port>, number: u64)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut stream = SharedState(Arc::new(Mutex::new(stream)));
    let (commands, mut commanded) = mpsc::unbounded_channel();
    let mut server = auto::Builder::new(TokioExecutor::new());
    server
        .http2()
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW);
    if port.protocol == Protocol::Grpc {
        server = server.http2_only();
    }
    let connection = Arc::new(CollectorConnection {
        port,
        number,
        commands,
    });
    let command = {
        let service = service_fn(move |request| connection.clone().answer(request));
        let serving = server.serve_connection(TokioIo::new(stream.clone()), service);
        tokio::pin!(serving);
        tokio::select! {
            biased;
            Some(command) = commanded.recv() => {
                if command == ServerCommand::Freeze {
                    // Held and never polled again, until the collector stops.
                    std::future::pending::<()>().await;
                }
                Some(command)
            }
            _ = &mut serving => None,
        }
    };
    if command == Some(ServerCommand::GoAway) {
        // Closing with unread bytes would reset the connection, and the frame might be lost.
        let farewell = async {
            stream.write_all(&GO_AWAY).await?;
            stream.shutdown().await?;
            let mut rest = [0; 4096];
            while stream.read(&mut rest).await? > 0 {}
            io::Result::Ok(())
        };
        let _ = tokio::time::timeout(Duration::from_secs(1), farewell).await;
    }
}

/// A socket that outlives the hyper connection that uses it. Never contended: the connection is
/// dropped before anyone else touches the socket.
struct SharedState<T>(Arc<Mutex<T>>);

impl<T> Clone for SharedState<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for SharedState<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *lock(&self.0)).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for SharedState<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *lock(&self.0)).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *lock(&self.0)).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *lock(&self.0)).poll_shutdown(cx)
    }
}

/// Bytes a client may send before it waits for us.
const WINDOW: u32 = 4 << 20;

/// An HTTP/2 frame: 8 bytes of `GOAWAY` on stream 0, last stream 0, `NO_ERROR`.
const GO_AWAY: [u8; 17] = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
