//! The first word of an HTTP/2 endpoint: a connection that tells what it was.
//!
//! A client may send before the server has said anything, and hyper's does. So does one that talks to
//! a proxy with nothing behind it, and nobody could tell that the request was never read.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

use super::dial::Io;

/// How a connection begins. One that is closed before says nothing.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum First {
    /// A `SETTINGS` frame, as RFC 9113 has it (3.4).
    Settings,
    /// Something that is no HTTP/2.
    Other,
    Failed(String),
}

/// A connection, and who waits for its first word.
pub(super) struct Listening {
    io: Io,
    waits: Option<oneshot::Sender<First>>,
}

impl Listening {
    pub(super) fn new(io: Io) -> (Self, oneshot::Receiver<First>) {
        let (sender, first) = oneshot::channel();
        let waits = Some(sender);
        (Self { io, waits }, first)
    }
}

/// The fourth byte of a frame is its type. Fewer bytes are no reason for doubt.
fn first(bytes: &[u8]) -> First {
    const SETTINGS: u8 = 4;
    match bytes.get(3) {
        None | Some(&SETTINGS) => First::Settings,
        Some(_) => First::Other,
    }
}

impl AsyncRead for Listening {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = ready!(Pin::new(&mut self.io).poll_read(cx, buf));
        if let Some(waits) = self.waits.take() {
            let word = match (&read, buf.filled().get(before..)) {
                (Err(e), _) => First::Failed(e.to_string()),
                // Closed: dropping it says so.
                (Ok(()), None | Some([])) => return Poll::Ready(read),
                (Ok(()), Some(bytes)) => first(bytes),
            };
            // Nobody waits any more: that is their affair.
            let _ = waits.send(word);
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for Listening {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_of_settings_is_told_from_other_protocols() {
        assert_eq!(first(&[0, 0, 18, 4, 0, 0, 0, 0, 0]), First::Settings);
        assert_eq!(first(&[0, 0]), First::Settings);
        assert_eq!(first(b"HTTP/1.1 400 Bad Request"), First::Other);
        assert_eq!(first(&[21, 3, 3, 0, 2]), First::Other);
    }
}
