#![allow(clippy::unwrap_used, reason = "a test may panic")]

use super::*;
use tokio::net::TcpListener;

use std::sync::mpsc;

use crate::export::endpoint::ExportSignal;
use crate::sync::{Mutex, lock};

fn dialer(url: &str, timeout: Duration, resolver: Resolver) -> Dialer {
    let config = ConnectionConfig {
        endpoint: Some(url.to_owned()),
        connect_timeout: timeout,
        ..ConnectionConfig::default()
    };
    let endpoint = Endpoint::resolve(&config, ExportSignal::Traces).unwrap();
    Dialer::new(Arc::new(config), endpoint, resolver).unwrap()
}

/// A name with these addresses.
fn name_of(addresses: &[&str]) -> Resolver {
    let addresses: Vec<SocketAddr> = addresses
        .iter()
        .map(|address| SocketAddr::new(address.parse().unwrap(), 0))
        .collect();
    Resolver::new(move |_| Ok(addresses.clone()))
}

/// A listener whose backlog is full: its system swallows what asks for one more connection.
async fn swallows(address: &str) -> (socket2::Socket, Vec<TcpStream>) {
    use socket2::{Domain, Socket, Type};
    let address: SocketAddr = address.parse().unwrap();
    let listener = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    listener.bind(&address.into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let mut held = Vec::new();
    let second = Duration::from_secs(1);
    while let Ok(taken) = tokio::time::timeout(second, TcpStream::connect(address)).await {
        held.push(taken.unwrap());
    }
    (listener, held)
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_name_is_reached_through_its_other_addresses() {
    let (silent, _held) = swallows("127.0.0.2:0").await;
    let port = silent.local_addr().unwrap().as_socket().unwrap().port();
    let live = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let url = format!("http://dead.test:{port}");
    let timeout = Duration::from_secs(60);
    // `::1` refuses; the second swallows; the third is there.
    let resolver = name_of(&["127.0.0.2", "::1", "127.0.0.1"]);
    let began = Instant::now();
    dialer(&url, timeout, resolver).dial().await.unwrap();
    assert!(began.elapsed() < timeout / 2);
    drop(live);
    let timeout = Duration::from_millis(400);
    let resolver = name_of(&["127.0.0.2", "127.0.0.1"]);
    let error = dialer(&url, timeout, resolver).dial().await.err().unwrap();
    for part in [
        &format!("cannot connect to dead.test:{port} within 400ms: ")[..],
        &format!("127.0.0.2:{port}: no answer"),
        &format!("127.0.0.1:{port}: Connection refused"),
        "; check OTEL_EXPORTER_OTLP_ENDPOINT",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
}

#[tokio::test]
async fn a_name_that_is_looked_up_slowly_is_reached_in_the_end() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let resolver = Resolver::new(move |_| {
        lock(&wait).recv().map_err(io::Error::other)?;
        Ok(vec!["127.0.0.1:0".parse().map_err(io::Error::other)?])
    });
    let url = format!("http://slow.test:{port}");
    let short = dialer(&url, Duration::from_millis(30), resolver.clone());
    for _ in 0..3 {
        let error = short.dial().await.err().unwrap();
        let words = "slow.test:PORT within 30ms: its name is still looked up; ";
        let words = words.replace("PORT", &port.to_string());
        assert!(error.contains(&words) && error.contains("DNS"), "{error}");
    }
    // One word is enough for all of them: it is one look-up.
    go.send(()).unwrap();
    let long = dialer(&url, Duration::from_secs(60), resolver);
    long.dial().await.unwrap();
}

#[test]
fn each_address_has_its_cause() {
    let told = |host: &str, failures: Vec<(&str, io::ErrorKind)>| {
        let url = format!("http://{host}:9");
        let dialer = dialer(&url, Duration::from_secs(5), Resolver::system());
        let of = |(address, kind): (&str, io::ErrorKind)| {
            (SocketAddr::new(address.parse().unwrap(), 9), kind.into())
        };
        let failures = Failures(failures.into_iter().map(of).collect());
        dialer.none_connected(&failures, host.parse::<IpAddr>().is_ok())
    };
    use io::ErrorKind::{ConnectionRefused, NetworkUnreachable, TimedOut};
    let (cause, why) = told("10.0.0.1", vec![("10.0.0.1", TimedOut)]);
    assert_eq!((cause, &why[..]), (Cause::ConnectTimeout, " within 5s"));
    let (cause, why) = told("10.0.0.1", vec![("10.0.0.1", ConnectionRefused)]);
    let expected = (Cause::ConnectionRefused, ": connection refused");
    assert_eq!((cause, &why[..]), expected);
    let failures = vec![("::1", ConnectionRefused), ("10.0.0.1", ConnectionRefused)];
    let (cause, why) = told("host", failures);
    let both = ": [::1]:9: connection refused, 10.0.0.1:9: connection refused";
    assert_eq!((cause, &why[..]), (Cause::ConnectionRefused, both));
    let failures = vec![("::1", NetworkUnreachable), ("10.0.0.1", TimedOut)];
    let (cause, why) = told("host", failures);
    let both = " within 5s: [::1]:9: network unreachable, 10.0.0.1:9: no answer";
    assert_eq!((cause, &why[..]), (Cause::Unconnected, both));
}

#[tokio::test]
async fn an_idle_connection_says_that_it_is_there() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tcp = TcpStream::connect(address).await.unwrap();
    tune(&tcp).unwrap();
    assert!(tcp.nodelay().unwrap());
    assert!(SockRef::from(&tcp).keepalive().unwrap());
}
