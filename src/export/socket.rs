//! [`Socket`]: a connection that can still be read after a failed write.
//!
//! An endpoint that refuses a request by its head answers and closes the connection with the body unread;
//! its system then resets the connection. The next write fails, while the answer can still be read. So a
//! failed write ends only the writing.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::no_sigpipe::NoSigpipe;

#[derive(Debug)]
pub(super) struct Socket {
    stream: NoSigpipe,
    /// The error of the failed write. Later writes are discarded.
    broken: Option<io::ErrorKind>,
}

impl Socket {
    pub(super) fn new(stream: impl Into<NoSigpipe>) -> Self {
        Self {
            stream: stream.into(),
            broken: None,
        }
    }

    /// The result of a write of `len` bytes.
    fn written(&mut self, result: io::Result<usize>, len: usize) -> io::Result<usize> {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
        match result {
            Err(e) if matches!(e.kind(), BrokenPipe | ConnectionReset | ConnectionAborted) => {
                self.broken = Some(e.kind());
                Ok(len)
            }
            result => result,
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, buf));
        Poll::Ready(match (read, self.broken) {
            // The reset was taken by the write: the end is not as orderly as it looks.
            (Ok(()), Some(kind)) if buf.filled().len() == before && buf.remaining() > 0 => {
                Err(kind.into())
            }
            (read, _) => read,
        })
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.broken.is_some() {
            return Poll::Ready(Ok(buf.len()));
        }
        let result = ready!(Pin::new(&mut self.stream).poll_write(cx, buf));
        Poll::Ready(self.written(result, buf.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let len = bufs.iter().map(|buf| buf.len()).sum();
        if self.broken.is_some() {
            return Poll::Ready(Ok(len));
        }
        let result = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, bufs));
        Poll::Ready(self.written(result, len))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.broken.is_some() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
