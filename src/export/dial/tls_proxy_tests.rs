//! A proxy whose own URL is `https://`.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::Dialer;
use crate::config::{ConnectionConfig, Pem, Protocol, ProxyConfig};
use crate::crypto;
use crate::export::endpoint::{Endpoint, ExportSignal};
use crate::export::resolve::Resolver;
use crate::sync::Arc;

struct Server {
    certificate: String,
    acceptor: TlsAcceptor,
}

/// A certificate of its own for the proxy and for the endpoint behind it.
fn server() -> Server {
    let key = rcgen::KeyPair::generate().unwrap();
    let names = vec!["127.0.0.1".to_owned(), "far.test".to_owned()];
    let params = rcgen::CertificateParams::new(names).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(crypto::provider().unwrap())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from(certificate.der().to_vec())],
            PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap(),
        )
        .unwrap();
    Server {
        certificate: certificate.pem(),
        acceptor: TlsAcceptor::from(std::sync::Arc::new(config)),
    }
}

async fn head_of(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// Sends back what comes.
async fn echo(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut bytes = [0; 4];
    while stream.read_exact(&mut bytes).await.is_ok() {
        stream.write_all(&bytes).await.unwrap();
        stream.flush().await.unwrap();
    }
}

fn dialer(url: &str, protocol: Protocol, proxy: u16, authority: &str) -> Dialer {
    let config = ConnectionConfig {
        endpoint: Some(url.to_owned()),
        protocol: Some(protocol),
        proxy: ProxyConfig::all(format!("https://user:pass@127.0.0.1:{proxy}")),
        certificate: Some(Pem::Bytes(authority.as_bytes().to_vec())),
        connect_timeout: Duration::from_secs(60),
        ..ConnectionConfig::default()
    };
    let endpoint = Endpoint::resolve(&config, ExportSignal::Traces).unwrap();
    Dialer::new(Arc::new(config), endpoint, Resolver::system()).unwrap()
}

/// The proxy knows the way to `far`; gives the head of each tunnel's request.
async fn proxy_to(far: u16, acceptor: TlsAcceptor) -> (u16, tokio::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, heads) = tokio::sync::mpsc::channel(8);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut near) = acceptor.accept(stream).await else {
                continue;
            };
            tell.send(head_of(&mut near).await).await.unwrap();
            near.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            near.flush().await.unwrap();
            let mut far = TcpStream::connect(("127.0.0.1", far)).await.unwrap();
            tokio::spawn(async move { copy_bidirectional(&mut near, &mut far).await });
        }
    });
    (port, heads)
}

#[tokio::test]
async fn the_tunnel_of_an_https_proxy_is_within_its_tls() {
    let server = server();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let far = listener.local_addr().unwrap().port();
    let acceptor = server.acceptor.clone();
    tokio::spawn(async move {
        // Plaintext first, as the test dials; then TLS within the tunnel.
        let (plain, _) = listener.accept().await.unwrap();
        tokio::spawn(echo(plain));
        let (stream, _) = listener.accept().await.unwrap();
        echo(acceptor.accept(stream).await.unwrap()).await;
    });
    let (proxy, mut heads) = proxy_to(far, server.acceptor.clone()).await;
    for (url, protocol, to) in [
        ("http://far.test:4317", Protocol::Grpc, "far.test:4317"),
        ("https://far.test", Protocol::HttpProtobuf, "far.test:443"),
    ] {
        let dialer = dialer(url, protocol, proxy, &server.certificate);
        let mut io = dialer.dial().await.unwrap();
        let head = heads.recv().await.unwrap();
        assert!(
            head.starts_with(&format!("CONNECT {to} HTTP/1.1\r\n")),
            "{head}"
        );
        assert!(head.contains("proxy-authorization: Basic "), "{head}");
        io.write_all(b"ping").await.unwrap();
        io.flush().await.unwrap();
        let mut back = [0; 4];
        io.read_exact(&mut back).await.unwrap();
        assert_eq!(&back, b"ping", "{url}");
    }
}

#[tokio::test]
async fn an_https_proxy_that_is_not_trusted_gets_nothing() {
    let (untrusted, trusted) = (server(), server());
    let (proxy, mut heads) = proxy_to(9, untrusted.acceptor).await;
    let url = "http://far.test:4317";
    let dialer = dialer(url, Protocol::Grpc, proxy, &trusted.certificate);
    let error = dialer.dial().await.err().unwrap();
    assert!(
        error.contains(&format!("through the proxy 127.0.0.1:{proxy}")),
        "{error}"
    );
    assert!(error.contains("certificate"), "{error}");
    assert!(heads.try_recv().is_err());
}
