//! [`NoSigpipe`]: a stream whose writes never raise SIGPIPE.
//!
//! A process in which SIGPIPE has its default action (as a command-line tool sets it, to end with the
//! pipe that it writes to) dies of a `writev` on a connection that the endpoint has closed. The
//! standard library sends a single buffer over TCP with `MSG_NOSIGNAL`, but several with `writev`, and
//! those of a frame or of a TLS record are several; over a Unix socket older ones send each buffer
//! without. The signal's action belongs to the application, so each write has to ask for an error
//! instead of a signal.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

#[derive(Debug)]
pub(crate) enum NoSigpipe {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

/// Does the same with either.
macro_rules! either {
    ($self:expr, $stream:ident => $do:expr) => {
        match $self {
            NoSigpipe::Tcp($stream) => $do,
            #[cfg(unix)]
            NoSigpipe::Unix($stream) => $do,
        }
    };
}

impl From<TcpStream> for NoSigpipe {
    fn from(stream: TcpStream) -> Self {
        Self::Tcp(stream)
    }
}

#[cfg(unix)]
impl From<UnixStream> for NoSigpipe {
    fn from(stream: UnixStream) -> Self {
        Self::Unix(stream)
    }
}

impl AsyncRead for NoSigpipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(&mut *self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for NoSigpipe {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    /// These systems have an option of the socket for it, and the standard library sets it.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        either!(&mut *self, stream => Pin::new(stream).poll_write(cx, buf))
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        /// `MSG_NOSIGNAL`, the same on every architecture.
        const NO_SIGNAL: i32 = 0x4000;
        loop {
            let sent = either!(&*self, stream => {
                std::task::ready!(stream.poll_write_ready(cx))?;
                stream.try_io(tokio::io::Interest::WRITABLE, || {
                    socket2::SockRef::from(stream).send_vectored_with_flags(bufs, NO_SIGNAL)
                })
            });
            match sent {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                sent => return Poll::Ready(sent),
            }
        }
    }

    /// Elsewhere several buffers are written one by one: what the standard library does for one
    /// raises no signal.
    fn is_write_vectored(&self) -> bool {
        cfg!(any(target_os = "linux", target_os = "android"))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(&mut *self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(&mut *self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    /// More than any socket's buffer takes at once, so that it waits for the other side.
    #[tokio::test]
    async fn several_buffers_arrive_in_order_whatever_the_socket_takes() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut stream = NoSigpipe::from(TcpStream::connect(address).await.unwrap());
        let (mut other, _) = listener.accept().await.unwrap();
        let sent: Vec<u8> = (0..16u32 << 20).map(|n| (n % 251) as u8).collect();
        let expected = sent.clone();
        let reader = tokio::spawn(async move {
            let mut got = Vec::new();
            other.read_to_end(&mut got).await.unwrap();
            got
        });
        let mut rest = &sent[..];
        while !rest.is_empty() {
            let (first, second) = rest.split_at(rest.len() / 3);
            let n = stream
                .write_vectored(&[IoSlice::new(first), IoSlice::new(second)])
                .await
                .unwrap();
            rest = &rest[n..];
        }
        stream.shutdown().await.unwrap();
        assert!(reader.await.unwrap() == expected);
    }
}
