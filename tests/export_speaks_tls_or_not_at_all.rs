//! `https` with a private authority, with client certificates, and never plaintext (PAIN 33).
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tracing::info_span;
use tracing_otlp::testing::{Collector, CollectorBuilder};
use tracing_otlp::{OtlpBuilder, OtlpClient, Pem, Protocol, Stats};
use tracing_subscriber::layer::SubscriberExt as _;

const BOTH: [Protocol; 2] = [Protocol::Grpc, Protocol::HttpProtobuf];

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// A certificate for this machine, and its key.
    fn issue(&self) -> (String, String) {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(names).unwrap();
        (
            params.signed_by(&key, &self.issuer).unwrap().pem(),
            key.serialize_pem(),
        )
    }

    fn collector(&self, clients: Option<&Self>) -> Collector {
        let (certificate, key) = self.issue();
        let builder: CollectorBuilder = Collector::builder();
        builder
            .tls(
                certificate.as_bytes(),
                key.as_bytes(),
                clients.map(|c| c.pem.as_bytes()),
            )
            .unwrap()
            .start()
            .unwrap()
    }

    fn trusted(&self) -> Pem {
        Pem::Text(self.pem.clone().into_bytes())
    }
}

fn send(
    collector: &Collector,
    protocol: Protocol,
    edit: impl FnOnce(OtlpBuilder) -> OtlpBuilder,
) -> Stats {
    let endpoint = collector.endpoint(protocol);
    assert!(endpoint.starts_with("https://"), "{endpoint}");
    let builder = tracing_otlp::builder()
        .without_env()
        .with_endpoint(endpoint)
        .with_protocol(protocol)
        .with_shutdown_timeout(Duration::from_millis(200));
    let (layer, guard) = edit(builder).build().unwrap();
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
        drop(info_span!("sealed"));
    });
    let _ = guard.force_flush_blocking(Duration::from_millis(1000));
    guard.stats()
}

#[test]
fn a_private_authority_is_trusted_alone() {
    let ours = Authority::new();
    for protocol in BOTH {
        let collector = ours.collector(None);
        let stats = send(&collector, protocol, |b| b.with_certificate(ours.trusted()));
        assert_eq!(
            (stats.delivered, collector.span_count()),
            (1, 1),
            "{protocol:?}: {stats}"
        );

        let other = Authority::new();
        let stats = send(&collector, protocol, |b| {
            b.with_certificate(other.trusted())
        });
        assert_eq!(
            (stats.delivered, collector.span_count()),
            (0, 1),
            "{protocol:?}: {stats}"
        );
        let stats = send(&collector, protocol, |b| b);
        assert_eq!(
            (stats.delivered, collector.span_count()),
            (0, 1),
            "{protocol:?}: {stats}"
        );
    }
}

#[test]
fn the_client_shows_its_certificate_where_it_is_asked_for() {
    let (servers, clients) = (Authority::new(), Authority::new());
    for protocol in BOTH {
        let collector = servers.collector(Some(&clients));
        let (certificate, key) = clients.issue();
        let stats = send(&collector, protocol, |b| {
            b.with_certificate(servers.trusted()).with_client_identity(
                Pem::Text(certificate.into_bytes()),
                Pem::Text(key.into_bytes()),
            )
        });
        assert_eq!(
            stats.delivered, 1,
            "{protocol:?}: {stats} {:?}",
            stats.last_error
        );
        let stats = send(&collector, protocol, |b| {
            b.with_certificate(servers.trusted())
        });
        assert_eq!(
            (stats.delivered, collector.span_count()),
            (0, 1),
            "{protocol:?}: {stats}"
        );
    }
}

#[test]
fn a_certificate_that_is_not_trusted_is_named_as_the_cause() {
    let (ours, other) = (Authority::new(), Authority::new());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    for protocol in BOTH {
        let collector = ours.collector(None);
        let mut config = tracing_otlp::ExporterConfig::default();
        config.endpoint = Some(collector.endpoint(protocol));
        config.protocol = Some(protocol);
        config.certificate = Some(other.trusted());
        let client = OtlpClient::new(config.clone()).unwrap();
        let error = runtime
            .block_on(client.initialize())
            .unwrap_err()
            .to_string();
        assert!(error.contains("certificate"), "{error}");

        config.certificate = Some(ours.trusted());
        let client = OtlpClient::new(config).unwrap();
        runtime.block_on(client.initialize()).unwrap();
        client.shutdown(Duration::from_secs(1)).unwrap();
    }
}

#[test]
fn a_plaintext_endpoint_is_not_spoken_to_under_https() {
    for protocol in BOTH {
        let collector = Collector::start();
        let endpoint = collector.endpoint(protocol).replace("http://", "https://");
        let (layer, guard) = tracing_otlp::builder()
            .without_env()
            .with_endpoint(endpoint)
            .with_protocol(protocol)
            .build()
            .unwrap();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            drop(info_span!("sealed"));
        });
        let _ = guard.shutdown_blocking(Duration::from_millis(500));
        assert_eq!(
            (guard.stats().delivered, collector.received_attempts()),
            (0, 0)
        );
    }
}

#[test]
fn pem_that_cannot_be_used_is_an_error_with_the_cure() {
    let build = |edit: fn(OtlpBuilder) -> OtlpBuilder| {
        let builder = tracing_otlp::builder()
            .without_env()
            .with_endpoint("https://localhost:4317");
        edit(builder).build().map(drop).unwrap_err()
    };
    for (error, words) in [
        (
            build(|b| b.with_certificate(Pem::File("/nowhere/ca.pem".into()))),
            ["certificate", "/nowhere/ca.pem"],
        ),
        (
            build(|b| b.with_certificate(Pem::Text(b"not pem".to_vec()))),
            ["certificate", "PEM"],
        ),
    ] {
        assert!(error.is_config(), "{error}");
        for word in words {
            assert!(error.to_string().contains(word), "{error}");
        }
    }
}
