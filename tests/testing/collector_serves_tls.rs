//! With certificates, the test collector serves `https` on both ports and may ask the client for
//! its own.

#![cfg(feature = "tls")]

use std::io;
use std::sync::Arc;

use crate::support::request;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tracing_otlp::testing::Collector;

/// An authority and what it signed: PEM documents.
struct Signed {
    authority: String,
    certificate: String,
    key: String,
}

fn sign() -> Signed {
    let authority_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&authority_key).unwrap().pem();
    let issuer = Issuer::new(params, authority_key);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    Signed {
        authority,
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    }
}

/// The status line that an export over HTTP/1.1 on TLS is answered with.
async fn export(endpoint: &str, trust: &str, identity: Option<&Signed>) -> io::Result<String> {
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_slice(trust.as_bytes()).unwrap();
    roots.add(authority).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match identity {
        None => config.with_no_client_auth(),
        Some(signed) => {
            let certificate = CertificateDer::from_pem_slice(signed.certificate.as_bytes());
            let key = PrivateKeyDer::from_pem_slice(signed.key.as_bytes());
            config
                .with_client_auth_cert(vec![certificate.unwrap()], key.unwrap())
                .unwrap()
        }
    };
    let stream = TcpStream::connect(crate::support::address(endpoint)).await?;
    let name = "127.0.0.1".try_into().unwrap();
    let mut stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await?;
    let body = request(&["a"]);
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
         content-type: application/x-protobuf\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&body).await?;
    let mut reply = String::new();
    // Closing without a farewell is the peer's right once it has answered.
    let read = stream.read_to_string(&mut reply).await;
    match reply.lines().next() {
        Some(line) => Ok(line.to_owned()),
        None => Err(read.err().unwrap_or(io::ErrorKind::UnexpectedEof.into())),
    }
}

#[tokio::test]
async fn the_server_proves_itself() {
    let signed = sign();
    let builder = Collector::builder().with_tls(&signed.certificate, &signed.key, None);
    let collector = builder.unwrap().start().unwrap();
    let endpoint = collector.http_endpoint();
    assert!(endpoint.starts_with("https://127.0.0.1:"), "{endpoint}");
    assert!(collector.grpc_endpoint().starts_with("https://"));
    let status = export(&endpoint, &signed.authority, None).await.unwrap();
    assert_eq!(status, "HTTP/1.1 200 OK");
    assert_eq!(collector.expect_spans(1)[0].name, "a");

    let stranger = sign();
    export(&endpoint, &stranger.authority, None)
        .await
        .unwrap_err();
    assert_eq!(collector.received_attempts(), 1);
}

#[tokio::test]
async fn the_client_proves_itself() {
    let (server, client, stranger) = (sign(), sign(), sign());
    let collector = Collector::builder()
        .with_tls(
            &server.certificate,
            &server.key,
            Some(client.authority.as_bytes()),
        )
        .unwrap()
        .start()
        .unwrap();
    let endpoint = collector.http_endpoint();
    for identity in [None, Some(&stranger)] {
        export(&endpoint, &server.authority, identity)
            .await
            .unwrap_err();
    }
    assert_eq!(collector.received_attempts(), 0);
    let status = export(&endpoint, &server.authority, Some(&client))
        .await
        .unwrap();
    assert_eq!(status, "HTTP/1.1 200 OK");
}

#[test]
fn what_is_no_certificate_is_an_error() {
    let signed = sign();
    let builder = Collector::builder;
    builder().with_tls("", &signed.key, None).unwrap_err();
    builder()
        .with_tls(&signed.certificate, "", None)
        .unwrap_err();
    builder()
        .with_tls(&signed.certificate, &sign().key, None)
        .unwrap_err();
    builder()
        .with_tls(&signed.certificate, &signed.key, Some(b""))
        .unwrap_err();
}
