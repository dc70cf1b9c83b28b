//! A connection to the endpoint: TCP, and TLS where the endpoint wants it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::cause::{Cause, tell};
use super::endpoint::Endpoint;
use super::resolve::resolve;
use super::socket::Socket;
use super::tls::Tls;

/// So often a connection that is idle says that it is there: load balancers and gateways forget those
/// that say nothing for some minutes, and tell nobody.
const KEEP_ALIVE: Duration = Duration::from_secs(45);

#[derive(Debug, Clone)]
pub(crate) struct Dialer {
    pub(crate) endpoint: Endpoint,
    pub(crate) tls: Option<Tls>,
    pub(crate) timeout: Duration,
    /// How long a request may be without an answer.
    #[cfg_attr(not(feature = "grpc"), expect(dead_code, reason = "for pings"))]
    pub(crate) answer_within: Option<Duration>,
}

/// Either kind of stream, as one type.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

pub(crate) struct Io(Box<dyn Stream>);

impl Dialer {
    /// A new connection. Whoever fails here has sent nothing.
    pub(crate) async fn dial(&self) -> Result<Io, String> {
        let address = self.endpoint.address();
        match timeout(self.timeout, self.connect()).await {
            Ok(Ok(io)) => Ok(io),
            Ok(Err((cause, e))) => {
                let what = format!("cannot connect to {address}: {e}");
                Err(tell(&what, cause))
            }
            Err(_) => {
                let what = format!("cannot connect to {address} within {:?}", self.timeout);
                Err(tell(&what, Cause::ConnectTimeout))
            }
        }
    }

    async fn connect(&self) -> Result<Io, (Cause, io::Error)> {
        let endpoint = &self.endpoint;
        let addresses = resolve(&endpoint.host, endpoint.port)
            .await
            .map_err(|e| (Cause::UnknownHost, e))?;
        let of_connecting = |e: io::Error| (Cause::of_connecting(&e), e);
        let tcp = TcpStream::connect(&addresses[..])
            .await
            .map_err(of_connecting)?;
        tune(&tcp).map_err(of_connecting)?;
        let socket = Socket::new(tcp);
        Ok(Io(match &self.tls {
            Some(tls) => Box::new(tls.connect(socket).await?),
            None => Box::new(socket),
        }))
    }
}

fn tune(tcp: &TcpStream) -> io::Result<()> {
    // A system that cannot does without.
    let keep_alive = TcpKeepalive::new().with_time(KEEP_ALIVE);
    let _ = SockRef::from(tcp).set_tcp_keepalive(&keep_alive);
    // A request is written whole: nothing is gained by waiting for more.
    tcp.set_nodelay(true)
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn an_idle_connection_says_that_it_is_there() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tcp = TcpStream::connect(address).await.unwrap();
        tune(&tcp).unwrap();
        assert!(tcp.nodelay().unwrap());
        assert!(SockRef::from(&tcp).keepalive().unwrap());
    }
}
