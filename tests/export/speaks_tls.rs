//! `https` is encrypted and verified, or an error that says why; never plaintext (PAIN 33).
#![cfg(feature = "tls")]

use std::io::Read as _;
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::pipeline::{BOTH, Pipeline, balanced, builder, distinct, last_error, told};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tracing_otlp::config::{ConnectionConfig, Pem};
use tracing_otlp::export::OtlpClient;
use tracing_otlp::testing::Collector;
use tracing_otlp::{DropReason, Protocol};

const MS: Duration = Duration::from_millis(1);

/// An authority and what it signed, in PEM.
struct Signed {
    authority: String,
    certificate: String,
    key: String,
}

fn sign_for(name: &str) -> Signed {
    let authority_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    // Two of the same name would be told apart only by their signatures.
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let name_of_authority = format!("authority {}", NEXT.fetch_add(1, Ordering::Relaxed));
    params
        .distinguished_name
        .push(DnType::CommonName, name_of_authority);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&authority_key).unwrap().pem();
    let issuer = Issuer::new(params, authority_key);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    Signed {
        authority,
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    }
}

fn sign() -> Signed {
    sign_for("127.0.0.1")
}

fn serve(server: &Signed, client_authority: Option<&Signed>) -> Collector {
    let authority = client_authority.map(|signed| signed.authority.as_bytes());
    Collector::builder()
        .with_tls(&server.certificate, &server.key, authority)
        .unwrap()
        .start()
        .unwrap()
}

fn pem(text: &str) -> Pem {
    Pem::Bytes(text.as_bytes().to_vec())
}

fn config(protocol: Protocol, endpoint: &str, authority: &str) -> ConnectionConfig {
    let mut config = ConnectionConfig::default();
    config.protocol = Some(protocol);
    config.endpoint = Some(endpoint.to_owned());
    config.certificate = Some(pem(authority));
    config
}

fn initialize(config: ConnectionConfig) -> Result<(), tracing_otlp::Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(OtlpClient::new(config)?.initialize())
}

#[test]
fn a_private_authority_is_trusted_when_it_is_given_pain_33() {
    for protocol in BOTH {
        let server = sign();
        let collector = serve(&server, None);
        let endpoint = collector.endpoint(protocol);
        assert!(endpoint.starts_with("https://"));
        let pipeline =
            Pipeline::start(builder(protocol, &endpoint).with_certificate(pem(&server.authority)));
        pipeline.spans(20, 1000);
        pipeline.flush().unwrap();
        let stats = pipeline.settle(distinct(&collector));
        assert_eq!(stats.delivered, 20, "{}", told(&stats));
    }
}

#[test]
fn grpc_without_a_scheme_is_encrypted_unless_told_otherwise() {
    let server = sign();
    let collector = serve(&server, None);
    let address = crate::support::address(&collector.grpc_endpoint()).to_string();
    initialize(config(Protocol::Grpc, &address, &server.authority)).unwrap();
    let plain = Collector::start();
    let address = crate::support::address(&plain.grpc_endpoint()).to_string();
    initialize(config(Protocol::Grpc, &address, &server.authority)).unwrap_err();
    let mut insecure = config(Protocol::Grpc, &address, &server.authority);
    insecure.insecure = true;
    initialize(insecure).unwrap();
}

#[test]
fn a_stranger_s_certificate_is_a_clear_error_and_nothing_is_sent() {
    let (server, stranger) = (sign(), sign());
    let elsewhere = sign_for("collector.example");
    for protocol in BOTH {
        for (server, trusted, said) in [
            (&server, &stranger.authority, "UnknownIssuer"),
            (&elsewhere, &elsewhere.authority, "not valid for name"),
        ] {
            let collector = serve(server, None);
            let endpoint = collector.endpoint(protocol);
            let error = initialize(config(protocol, &endpoint, trusted)).unwrap_err();
            let text = error.to_string();
            assert!(
                text.contains("certificate") && text.contains(said),
                "{text}"
            );
            assert!(error.is_export() && text.contains("127.0.0.1:"), "{text}");

            let pipeline =
                Pipeline::start(builder(protocol, &endpoint).with_certificate(pem(trusted)));
            pipeline.spans(600, 10);
            let stats = pipeline.until(|s| s.last_error.is_some());
            assert!(last_error(&stats).contains(said), "{}", told(&stats));
            let error = pipeline.guard.shutdown_blocking(200 * MS).unwrap_err();
            drop(error);
            let stats = pipeline.stats();
            balanced(&stats, 0);
            assert!(last_error(&stats).contains(said), "{}", told(&stats));
            assert_eq!(stats.dropped(DropReason::Unconfirmed), 0);
            assert_eq!(collector.received_attempts(), 0);
        }
    }
}

#[test]
fn the_client_proves_itself_where_it_is_asked_to() {
    let (server, client, stranger) = (sign(), sign(), sign());
    for protocol in BOTH {
        let collector = serve(&server, Some(&client));
        let endpoint = collector.endpoint(protocol);
        let with = |identity: Option<&Signed>| {
            let builder = builder(protocol, &endpoint)
                .with_certificate(pem(&server.authority))
                .configure(|c| c.connection.retry.max_attempts = 2);
            Pipeline::start(match identity {
                Some(it) => builder.with_client_identity(pem(&it.certificate), pem(&it.key)),
                None => builder,
            })
        };
        let pipeline = with(Some(&client));
        pipeline.spans(5, 10);
        pipeline.flush().unwrap();
        let stats = pipeline.settle(distinct(&collector));
        assert_eq!(stats.delivered, 5, "{}", told(&stats));
        collector.clear();
        for identity in [None, Some(&stranger)] {
            let pipeline = with(identity);
            pipeline.spans(5, 10);
            pipeline.guard.shutdown_blocking(300 * MS).unwrap_err();
            assert_eq!(collector.received_attempts(), 0);
            let stats = pipeline.settle(0);
            assert_eq!(stats.delivered, 0, "{}", told(&stats));
        }
        // HTTP/2 hears of it before anything is sent.
        if protocol == Protocol::Grpc {
            let error = initialize(config(protocol, &endpoint, &server.authority)).unwrap_err();
            // Its reason may be lost when it resets the connection.
            let text = error.to_string();
            assert!(text.contains("no HTTP/2 with 127.0.0.1:"), "{text}");
            assert_eq!(collector.received_attempts(), 0);
        }
    }
}

#[test]
fn https_to_a_port_without_tls_says_so() {
    let server = sign();
    let collector = Collector::start();
    for protocol in BOTH {
        let endpoint = collector.endpoint(protocol).replace("http:", "https:");
        let error = initialize(config(protocol, &endpoint, &server.authority)).unwrap_err();
        assert!(error.is_export(), "{error}");
        assert!(error.to_string().contains("TLS"), "{error}");
    }
    assert_eq!(collector.received_attempts(), 0);
}

#[test]
fn http_to_a_port_with_tls_does_not_count_as_delivered() {
    let server = sign();
    for protocol in BOTH {
        let collector = serve(&server, None);
        let endpoint = collector.endpoint(protocol).replace("https:", "http:");
        if protocol == Protocol::Grpc {
            initialize(config(protocol, &endpoint, &server.authority)).unwrap_err();
        }
        let pipeline = Pipeline::start(builder(protocol, &endpoint));
        pipeline.spans(3, 10);
        pipeline.guard.shutdown_blocking(300 * MS).unwrap_err();
        assert_eq!(pipeline.settle(0).delivered, 0);
    }
}

#[test]
fn what_is_sent_is_not_readable_on_the_way() {
    // Whatever comes to an https endpoint begins with a handshake.
    for protocol in BOTH {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("https://{}", listener.local_addr().unwrap());
        let pipeline =
            Pipeline::start(builder(protocol, &endpoint).with_header("authorization", "secret"));
        pipeline.spans(600, 10);
        let (mut connection, _) = listener.accept().unwrap();
        let mut bytes = [0; 3];
        connection.read_exact(&mut bytes).unwrap();
        assert_eq!(bytes, [0x16, 3, 1], "a TLS record of a handshake");
        drop((connection, listener));
        pipeline.guard.shutdown_blocking(50 * MS).unwrap_err();
        let stats = pipeline.settle(0);
        assert!(!told(&stats).contains("secret"), "{}", told(&stats));
    }
}

#[test]
fn files_that_are_no_certificates_are_errors_of_the_build() {
    let signed = sign();
    let endpoint = "https://127.0.0.1:4317";
    let fails = |edit: &dyn Fn(&mut ConnectionConfig), setting: &str| {
        let mut config = config(Protocol::Grpc, endpoint, &signed.authority);
        edit(&mut config);
        let error = OtlpClient::new(config).unwrap_err();
        let text = error.to_string();
        assert!(error.is_config() && text.contains(setting), "{text}");
        assert!(!text.contains("BEGIN"), "{text}");
    };
    fails(&|c| c.certificate = Some(pem("nonsense")), "certificate");
    fails(&|c| c.certificate = Some(pem("")), "certificate");
    fails(
        &|c| c.certificate = Some(Pem::File("/nowhere/ca.pem".into())),
        "/nowhere/ca.pem",
    );
    fails(&|c| c.client_key = Some(pem(&signed.key)), "client_");
    fails(
        &|c| {
            c.client_key = Some(pem(&sign().key));
            c.client_certificate = Some(pem(&signed.certificate));
        },
        "client_key",
    );
}

/// The certificate is for the name, and each address of the name is asked for it.
#[test]
fn the_addresses_of_a_name_are_verified_by_the_name() {
    for protocol in BOTH {
        let server = sign_for("localhost");
        let collector = serve(&server, None);
        let endpoint = collector.endpoint(protocol);
        let endpoint = endpoint.replace("https://127.0.0.1", "dns+https://localhost");
        let pipeline =
            Pipeline::start(builder(protocol, &endpoint).with_certificate(pem(&server.authority)));
        pipeline.spans(20, 1000);
        pipeline.flush().unwrap();
        let stats = pipeline.settle(distinct(&collector));
        assert_eq!(stats.delivered, 20, "{}", told(&stats));
    }
}
