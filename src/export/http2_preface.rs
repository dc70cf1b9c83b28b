//! [`SettingsProbe`]: a connection that reports the protocol of the endpoint's first bytes.
//!
//! The first bytes show the endpoint's protocol, even if the parser of another protocol only fails. Over
//! HTTP/2 they also prove that a server is behind the connection: hyper's client sends a request before the
//! server's first frame, and behind a proxy without a server that request is never read.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

use super::cause::Cause;
use super::stream::Io;
use super::tls::wants_a_certificate;

/// The protocol of a connection's first bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Preface {
    /// A `SETTINGS` frame, as RFC 9113 has it (3.4), or another with which HTTP/2 may end.
    Http2,
    Http1,
    /// A record of TLS, or a text by which a server says that it speaks HTTPS.
    Tls,
    /// Something else.
    Other,
    Failed {
        why: String,
        /// The endpoint requires a client certificate.
        wants_certificate: bool,
    },
}

impl Preface {
    /// The cause why requests cannot be sent to this endpoint; `None` if the protocol is `expected`.
    pub(super) fn cause(&self, expected: &Self) -> Option<Cause> {
        if self == expected {
            return None;
        }
        Some(match self {
            Self::Http2 => Cause::SpeaksHttp2,
            Self::Http1 => Cause::SpeaksHttp1,
            Self::Tls => Cause::SpeaksTls,
            Self::Other => Cause::OtherProtocol,
            Self::Failed {
                wants_certificate, ..
            } => match wants_certificate {
                true => Cause::ClientCertificate,
                false => Cause::ClosedAtOnce,
            },
        })
    }
}

/// A connection, and the receiver of its first bytes' protocol.
pub(super) struct SettingsProbe {
    io: Io,
    waits: Option<oneshot::Sender<Preface>>,
}

impl SettingsProbe {
    pub(super) fn new(io: Io) -> (Self, oneshot::Receiver<Preface>) {
        let (sender, first) = oneshot::channel();
        let waits = Some(sender);
        (Self { io, waits }, first)
    }
}

/// The fourth byte of an HTTP/2 frame is its type. Fewer bytes also count as HTTP/2.
fn first(bytes: &[u8]) -> Preface {
    const SETTINGS: u8 = 4;
    const GO_AWAY: u8 = 7;
    match bytes {
        [b'H', b'T', b'T', b'P', ..] if says_https(bytes) => Preface::Tls,
        [b'H', b'T', b'T', b'P', ..] => Preface::Http1,
        // An alert or a handshake of any version.
        [21 | 22, 3, _, ..] => Preface::Tls,
        [_, _, _, SETTINGS | GO_AWAY, ..] | [_] | [_, _] | [_, _, _] => Preface::Http2,
        _ => Preface::Other,
    }
}

/// Servers of HTTPS answer so to plain HTTP: "Client sent an HTTP request to an HTTPS server" (Go),
/// "The plain HTTP request was sent to HTTPS port" (nginx).
pub(super) fn says_https(bytes: &[u8]) -> bool {
    let holds = |words: &[u8]| bytes.windows(words.len()).any(|window| window == words);
    holds(b"HTTPS server") || holds(b"HTTPS port")
}

impl AsyncRead for SettingsProbe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = ready!(Pin::new(&mut self.io).poll_read(cx, buf));
        if let Some(waits) = self.waits.take() {
            let word = match (&read, buf.filled().get(before..)) {
                (Err(e), _) => Preface::Failed {
                    why: e.to_string(),
                    wants_certificate: wants_a_certificate(e),
                },
                // Closed: the drop of the sender reports it.
                (Ok(()), None | Some([])) => return Poll::Ready(read),
                (Ok(()), Some(bytes)) => first(bytes),
            };
            // The receiver may be gone.
            let _ = waits.send(word);
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for SettingsProbe {
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
    fn protocols_are_told_apart_by_their_first_bytes() {
        for (bytes, expected) in [
            (&[0, 0, 18, 4, 0, 0, 0, 0, 0][..], Preface::Http2),
            (&[0, 0, 8, 7, 0, 0, 0, 0, 0], Preface::Http2),
            (&[0, 0], Preface::Http2),
            (b"HTTP/1.1 400 Bad Request\r\n", Preface::Http1),
            (&[21, 3, 3, 0, 2], Preface::Tls),
            (
                b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n",
                Preface::Tls,
            ),
            (b"SSH-2.0-OpenSSH", Preface::Other),
        ] {
            assert_eq!(first(bytes), expected, "{bytes:?}");
        }
    }
}
