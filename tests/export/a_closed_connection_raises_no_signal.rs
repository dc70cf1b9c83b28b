//! A process in which SIGPIPE has its default action outlives an endpoint that cuts connections.
#![cfg(all(unix, feature = "tls"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may fail loudly"
)]

#[path = "../support/child.rs"]
mod child;
#[path = "../support/pace.rs"]
mod pace;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use pace::fit;
use rcgen::{CertificateParams, KeyPair};
use socket2::SockRef;
use tracing_otlp::Protocol;
use tracing_otlp::config::Pem;
use tracing_otlp::testing::Collector;
use tracing_subscriber::prelude::*;

/// How a connection ends.
#[derive(Debug, Clone, Copy)]
enum Cut {
    /// At once, by a reset.
    AtOnce,
    /// By a reset, once the client has sent something.
    Asked,
    /// By a reset, once the client was answered: with TLS in the middle of the handshake.
    Answered,
    /// In order, once the client was answered a few times.
    Closed,
}

const CUTS: [Cut; 4] = [Cut::AtOnce, Cut::Asked, Cut::Answered, Cut::Closed];

/// Stands before `target` and cuts every connection, in one way after the other. Returns its
/// address, and how many connections there were.
fn cutter(target: SocketAddr) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    thread::spawn(move || {
        for client in listener.incoming() {
            let cut = CUTS[counted.fetch_add(1, Ordering::SeqCst) % CUTS.len()];
            thread::spawn(move || pass(client.unwrap(), target, cut));
        }
    });
    (address, count)
}

fn pass(mut client: TcpStream, target: SocketAddr, cut: Cut) {
    let reset = |client: &TcpStream| {
        let _ = SockRef::from(client).set_linger(Some(Duration::ZERO));
    };
    if let Cut::AtOnce = cut {
        return reset(&client);
    }
    let mut server = TcpStream::connect(target).unwrap();
    let mut back = server.try_clone().unwrap();
    let mut client_back = client.try_clone().unwrap();
    let asks = thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(n @ 1..) = client.read(&mut bytes) {
            if let Cut::Asked = cut {
                break;
            }
            if server.write_all(&bytes[..n]).is_err() {
                break;
            }
        }
        if let Cut::Asked = cut {
            let _ = server.shutdown(Shutdown::Both);
            reset(&client);
        }
    });
    let mut bytes = [0; 4096];
    let mut answers = 0;
    while let Ok(n @ 1..) = back.read(&mut bytes) {
        if client_back.write_all(&bytes[..n]).is_err() {
            break;
        }
        answers += 1;
        match cut {
            Cut::Answered => {
                reset(&client_back);
                break;
            }
            Cut::Closed if answers == 4 => break,
            _ => {}
        }
    }
    let _ = back.shutdown(Shutdown::Both);
    if let Cut::Closed = cut {
        let _ = client_back.shutdown(Shutdown::Both);
    }
    if let Cut::Answered = cut {
        // A reset, although the other thread has the socket too.
        let _ = client_back.shutdown(Shutdown::Read);
    }
    drop(client_back);
    let _ = asks.join();
}

#[allow(
    unsafe_code,
    reason = "Rust's runtime ignores SIGPIPE before `main`, and nothing safe undoes it"
)]
fn default_sigpipe() {
    // SAFETY: sets an action that runs no code of ours.
    let old = unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    assert_ne!(old, libc::SIG_ERR);
}

#[allow(unsafe_code, reason = "as above")]
fn has_default_sigpipe() -> bool {
    // SAFETY: as above; the action is read by setting the same one.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) == libc::SIG_DFL }
}

/// Exports through connections that are cut, in a process that a signal would end.
fn export_through_cuts() {
    // Before a signal could end this process: another collector is in it for a moment.
    let patience = fit(Duration::from_millis(200));
    default_sigpipe();
    let variable = |name| std::env::var(name).unwrap();
    let protocol = match variable("CUT_PROTOCOL").as_str() {
        "grpc" => Protocol::Grpc,
        _ => Protocol::HttpProtobuf,
    };
    let (layer, guard) = tracing_otlp::builder()
        .without_env()
        .with_protocol(protocol)
        .with_endpoint(variable("CUT_ENDPOINT"))
        .with_certificate(Pem::Bytes(variable("CUT_AUTHORITY").into_bytes()))
        .with_schedule_delay(Duration::from_secs(60))
        .configure(|config| {
            let retry = &mut config.connection.retry;
            retry.initial_backoff = Duration::from_millis(1);
            retry.max_backoff = Duration::from_millis(5);
        })
        .build()
        .unwrap();
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::with_default(subscriber, || {
        for round in 0..24 {
            for _ in 0..50 {
                drop(tracing::info_span!("work", round, text = "x".repeat(2000)));
            }
            let _ = guard.force_flush_blocking(patience);
        }
    });
    let _ = guard.shutdown_blocking(Duration::from_millis(500));
    assert!(has_default_sigpipe(), "the action is the application's");
}

fn survives(test: &str, protocol: Protocol, with_tls: bool) {
    if child::role().is_some() {
        return export_through_cuts();
    }
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap().pem();
    let mut collector = Collector::builder();
    if with_tls {
        collector = collector
            .with_tls(&certificate, key.serialize_pem(), None::<&[u8]>)
            .unwrap();
    }
    let collector = collector.start().unwrap();
    let endpoint = collector.endpoint(protocol);
    let target = endpoint.rsplit('/').next().unwrap().parse().unwrap();
    let (address, connections) = cutter(target);
    let scheme = if with_tls { "https" } else { "http" };
    let protocol = match protocol {
        Protocol::Grpc => "grpc",
        _ => "http",
    };
    let ended = child::run_with(
        test,
        "export",
        &[
            ("CUT_ENDPOINT", &format!("{scheme}://{address}")),
            ("CUT_PROTOCOL", protocol),
            ("CUT_AUTHORITY", &certificate),
        ],
    );
    ended.well();
    assert!(connections.load(Ordering::SeqCst) >= 2 * CUTS.len());
}

/// A socket of the system whose connections are closed as soon as something was said, or before.
fn over_a_socket(test: &str, protocol: &str) {
    if child::role().is_some() {
        return export_through_cuts();
    }
    let name = format!("tracing-otlp-{test}-{}.sock", std::process::id());
    let path = std::env::temp_dir().join(name);
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    thread::spawn(move || {
        for mut client in listener.incoming().map_while(Result::ok) {
            if counted.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) {
                // Of HTTP/2, settings, so that a request is sent.
                let _ = client.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]);
                let _ = client.read(&mut [0; 64]);
            }
        }
    });
    let endpoint = format!("unix:{}", path.display());
    let variables = [
        ("CUT_ENDPOINT", endpoint.as_str()),
        ("CUT_PROTOCOL", protocol),
        ("CUT_AUTHORITY", ""),
    ];
    child::run_with(test, "export", &variables).well();
    std::fs::remove_file(&path).unwrap();
    assert!(connections.load(Ordering::SeqCst) >= 10);
}

#[test]
fn grpc_over_a_socket() {
    over_a_socket("grpc_over_a_socket", "grpc");
}

#[test]
fn http_over_a_socket() {
    over_a_socket("http_over_a_socket", "http");
}

#[test]
fn grpc_without_tls() {
    survives("grpc_without_tls", Protocol::Grpc, false);
}

#[test]
fn grpc_with_tls() {
    survives("grpc_with_tls", Protocol::Grpc, true);
}

#[test]
fn http_without_tls() {
    survives("http_without_tls", Protocol::HttpProtobuf, false);
}

#[test]
fn http_with_tls() {
    survives("http_with_tls", Protocol::HttpProtobuf, true);
}
