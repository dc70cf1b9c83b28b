//! Finds a viewer that runs already.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::routes::PRODUCT;

/// The longest that looking may take.
const PATIENCE: Duration = Duration::from_millis(500);
/// Bytes of an answer that are read.
const MOST: usize = 4096;

/// The OTLP endpoint of the viewer at `address`, where one of ours answers and takes spans.
///
/// Nothing secret is sent, and an endpoint counts only if it is of this machine's loopback: what poses
/// as a viewer at a port of ours is a process of this machine.
pub(super) fn find(address: SocketAddr) -> Option<String> {
    let deadline = Instant::now() + PATIENCE;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
    stream.set_write_timeout(Some(PATIENCE)).ok()?;
    let request = format!("GET /health HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    let mut part = [0; 1024];
    while answer.len() < MOST {
        let left = deadline.checked_duration_since(Instant::now())?;
        stream
            .set_read_timeout(Some(left.max(Duration::from_millis(1))))
            .ok()?;
        match stream.read(&mut part).ok()? {
            0 => break,
            n => answer.extend_from_slice(part.get(..n)?),
        }
    }
    endpoint(std::str::from_utf8(&answer).ok()?)
}

fn endpoint(answer: &str) -> Option<String> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    if !head.starts_with("HTTP/1.1 200 ") {
        return None;
    }
    let health: serde_json::Value = serde_json::from_str(body).ok()?;
    let endpoint = health.get("otlp_http")?.as_str()?;
    let address: SocketAddr = endpoint.strip_prefix("http://")?.parse().ok()?;
    let is_ours = health.get("product")?.as_str() == Some(PRODUCT);
    // A viewer that takes spans at every address is reached by the loopback's.
    let ip = match address.ip() {
        ip if ip.is_unspecified() => std::net::Ipv4Addr::LOCALHOST.into(),
        ip => ip,
    };
    (is_ours && ip.is_loopback()).then(|| format!("http://{}", SocketAddr::new(ip, address.port())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_viewer_of_this_machine_is_one() {
        let answer = |body: &str| endpoint(&format!("HTTP/1.1 200 OK\r\na: b\r\n\r\n{body}"));
        let ours = r#"{"product":"tracing-otlp-viewer","otlp_http":"http://127.0.0.1:4318"}"#;
        assert_eq!(answer(ours).as_deref(), Some("http://127.0.0.1:4318"));
        let any = ours.replace("127.0.0.1", "0.0.0.0");
        assert_eq!(answer(&any).as_deref(), Some("http://127.0.0.1:4318"));
        for other in [
            &*ours.replace("tracing-otlp-viewer", "nginx"),
            &ours.replace("127.0.0.1", "192.0.2.1"),
            &ours.replace("127.0.0.1", "evil.example"),
            r#"{"product":"tracing-otlp-viewer","otlp_http":null}"#,
            "hello",
            "",
        ] {
            assert_eq!(answer(other), None, "{other}");
        }
        assert_eq!(endpoint("HTTP/1.1 404 Not Found\r\n\r\n{}"), None);
    }
}
