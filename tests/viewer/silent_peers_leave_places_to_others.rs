//! Peers of the viewer that say nothing, or stop in the middle, keep no place that another needs.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use tracing_otlp::viewer::ViewerExporter;

/// The longest that an answer may take: less than a body may take.
const SOON: Duration = Duration::from_secs(20);
const PATIENCE: Duration = Duration::from_secs(60);
/// More than the viewer has places at any port.
const CROWD: usize = 300;

fn start() -> (ViewerExporter, SocketAddr, SocketAddr) {
    let viewer = tracing_otlp::viewer().with_port(0).with_announcement(false);
    let viewer = viewer.with_otlp_address("127.0.0.1:0".parse().unwrap());
    let viewer = viewer.build().unwrap();
    let (page, otlp) = (viewer.address().unwrap(), viewer.otlp_addresses()[0]);
    (viewer, page, otlp)
}

fn post(to: SocketAddr, length: usize) -> String {
    format!(
        "POST /v1/traces HTTP/1.1\r\nHost: {to}\r\nContent-Type: application/x-protobuf\r\n\
         Content-Length: {length}\r\n\r\n"
    )
}

/// The first line of the answer to a request on a new connection; empty where there is none.
fn ask(to: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let mut line = [0; 12];
    let _ = stream.write_all(request.as_bytes());
    match stream.read_exact(&mut line) {
        Ok(()) => String::from_utf8_lossy(&line).into_owned(),
        Err(_) => String::new(),
    }
}

/// Connections that each begin in this way and then say nothing.
fn crowd(to: SocketAddr, beginning: &[u8]) -> Vec<TcpStream> {
    let silent = |_| {
        let mut stream = TcpStream::connect(to).unwrap();
        let _ = stream.write_all(beginning);
        stream
    };
    (0..CROWD).map(silent).collect()
}

/// Until the viewer has taken all connections so far: it takes them in order.
fn settle() {
    std::thread::sleep(Duration::from_millis(300));
}

#[test]
fn connections_that_say_nothing_give_way() {
    let (_viewer, page, otlp) = start();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    for beginning in [&b""[..], b"POST /v1/traces HT", b"PRI * HT", preface] {
        let silent = crowd(otlp, beginning);
        settle();
        let answer = ask(otlp, &post(otlp, 0));
        assert_eq!(answer, "HTTP/1.1 200", "{beginning:?} at the OTLP port");
        drop(silent);
    }
    for beginning in [&b""[..], b"GET /hea"] {
        let silent = crowd(page, beginning);
        settle();
        let get = format!("GET /health HTTP/1.1\r\nHost: {page}\r\n\r\n");
        assert_eq!(ask(page, &get), "HTTP/1.1 200", "{beginning:?} at the page");
        drop(silent);
    }
}

#[test]
fn a_body_that_stands_still_holds_up_no_other() {
    let (_viewer, _, otlp) = start();
    let begun = format!("{}{}", post(otlp, 1 << 20), "\n\0".repeat(1000));
    let _slow: Vec<_> = (0..32)
        .map(|_| {
            let mut stream = TcpStream::connect(otlp).unwrap();
            stream.write_all(begun.as_bytes()).unwrap();
            stream
        })
        .collect();
    settle();
    assert_eq!(ask(otlp, &post(otlp, 0)), "HTTP/1.1 200");
}

#[test]
fn a_peer_that_says_nothing_is_hung_up_on() {
    let (_viewer, page, otlp) = start();
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u{4}\0\0\0\0\0".to_owned();
    let body = format!("{}xyz", post(otlp, 1000));
    let peers: Vec<_> = [
        (otlp, String::new()),
        (otlp, "POST".to_owned()),
        (otlp, preface),
        (otlp, body),
        (page, String::new()),
        (page, "GET".to_owned()),
    ]
    .into_iter()
    .map(|(to, beginning)| {
        let mut stream = TcpStream::connect(to).unwrap();
        stream.write_all(beginning.as_bytes()).unwrap();
        (stream, beginning)
    })
    .collect();
    let deadline = Instant::now() + PATIENCE;
    for (mut stream, beginning) in peers {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = left.max(Duration::from_millis(1));
        stream.set_read_timeout(Some(left)).unwrap();
        let end = stream.read_to_end(&mut Vec::new());
        let is_over = match end {
            Ok(_) => true,
            Err(e) => e.kind() == std::io::ErrorKind::ConnectionReset,
        };
        assert!(is_over, "{beginning:?} is still waited for");
    }
}
