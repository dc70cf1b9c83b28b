//! [`Io`]: a connection of any kind: TCP, Unix, TLS, a tunnel.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::yield_now;

use super::cause::Cause;

/// A stream of any kind, as one type.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// The bytes that one poll of a task may read. Some parsers read on while there is anything to read: hyper
/// passes over any number of interim responses (1xx) in one poll. With a peer that never pauses, such a poll
/// would keep the worker's thread from its deadlines and from all other requests.
const TURN: usize = 64 << 10;

pub(crate) struct Io {
    stream: Box<dyn Stream>,
    /// Bytes that may be read before the reader has to yield.
    left: usize,
}

impl Io {
    pub(crate) fn new(stream: impl Stream + 'static) -> Self {
        Self {
            stream: Box::new(stream),
            left: TURN,
        }
    }
}

/// The error of an attempt to connect; the text continues the sentence "cannot connect to …".
pub(crate) type DialError = (Cause, String);

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left == 0 {
            self.left = TURN;
            // Unlike a wake-up from here, it lets timers and sockets have their turn first.
            ready!(pin!(yield_now()).poll(cx));
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.left = match read {
            Poll::Pending => TURN,
            Poll::Ready(_) => self.left.saturating_sub(buf.filled().len() - before),
        };
        read
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};

    use super::*;

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A peer that never pauses, and a reader that never has enough.
    #[test]
    fn a_reader_yields_now_and_then_whatever_there_is_to_read() {
        let mut io = Io::new(tokio::io::join(tokio::io::repeat(b'x'), tokio::io::sink()));
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(Arc::clone(&wakes));
        let mut cx = Context::from_waker(&waker);
        let mut bytes = [0; 1000];
        for turn in 1..=3 {
            let mut taken = 0;
            loop {
                let mut buf = ReadBuf::new(&mut bytes);
                match Pin::new(&mut io).poll_read(&mut cx, &mut buf) {
                    Poll::Ready(read) => read.unwrap(),
                    Poll::Pending => break,
                }
                taken += buf.filled().len();
                assert!(taken < 2 * TURN, "turn {turn}: {taken} bytes at a stretch");
            }
            assert!(taken >= TURN, "turn {turn}: {taken} bytes");
            assert_eq!(wakes.0.load(Ordering::Relaxed), turn, "woken once a turn");
        }
    }
}
