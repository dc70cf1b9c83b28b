//! Proxies, sockets, redirects and credentials on the way to an endpoint; and an answer that stands once
//! its head was read (OTLP-5).

use std::io::{self, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use crate::support::pace::fit;
use crate::support::pipeline::{BOTH, Pipeline, builder, told};
use tracing_otlp::config::{Compression, ProvidedHeaders, ProxyConfig};
use tracing_otlp::testing::Collector;
use tracing_otlp::{DropReason, Events, OtlpConfig, Protocol};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
const HTTP: Protocol = Protocol::HttpProtobuf;

/// A request's head, and the length of its body.
type Seen = Arc<Mutex<Vec<(String, usize)>>>;

/// A server of HTTP/1.1 that answers each head with these bytes.
struct Server {
    address: SocketAddr,
    seen: Seen,
}

impl Server {
    fn start(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, answer) = (Seen::default(), Arc::new(answer));
        let all = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (seen, answer) = (Arc::clone(&all), Arc::clone(&answer));
                std::thread::spawn(move || -> io::Result<()> {
                    let mut reader = BufReader::new(stream.try_clone()?);
                    loop {
                        let (head, len) = read_head(&mut reader)?;
                        io::copy(&mut (&mut reader).take(len as u64), &mut io::sink())?;
                        seen.lock().unwrap().push((head.clone(), len));
                        (&stream).write_all(answer(&head).as_bytes())?;
                    }
                });
            }
        });
        Self { address, seen }
    }

    fn seen(&self) -> Vec<(String, usize)> {
        self.seen.lock().unwrap().clone()
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

fn read_head(reader: &mut impl io::BufRead) -> io::Result<(String, usize)> {
    let (mut head, mut len) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line == "\r\n" {
            return Ok((head, len));
        }
        let line = line.replace("\r\n", "\n");
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            len = value.trim().parse().unwrap();
        }
        head.push_str(&line);
    }
}

/// Passes bytes on in both directions.
fn pass<R, W>(near: (R, W), far: TcpStream)
where
    R: io::Read + Send + 'static,
    W: io::Write + Send + 'static,
{
    let (mut from, mut to) = near;
    let mut back = far.try_clone().unwrap();
    std::thread::spawn(move || io::copy(&mut back, &mut to));
    let mut far = far;
    std::thread::spawn(move || io::copy(&mut from, &mut far));
}

/// A proxy whose tunnels all lead to `target`.
fn tunnels(target: SocketAddr) -> (SocketAddr, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Seen::default();
    let all = Arc::clone(&seen);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let Ok(head) = read_head(&mut reader) else {
                continue;
            };
            all.lock().unwrap().push(head);
            (&stream).write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            pass((reader, stream), TcpStream::connect(target).unwrap());
        }
    });
    (address, seen)
}

fn address_of(url: &str) -> SocketAddr {
    url.strip_prefix("http://").unwrap().parse().unwrap()
}

/// Sends ten spans and expects them to arrive.
#[track_caller]
fn ten_arrive(pipeline: &Pipeline) {
    pipeline.spans(10, 10);
    pipeline.flush().unwrap();
    let stats = pipeline.stats();
    assert_eq!((stats.delivered, stats.possible_duplicates), (10, 0));
}

/// Sends ten spans and gives the error.
#[track_caller]
fn error_of(pipeline: &Pipeline) -> String {
    pipeline.spans(10, 10);
    let patience = Duration::from_secs(1);
    let error = pipeline.guard.force_flush_blocking(patience).unwrap_err();
    let _ = pipeline.guard.shutdown_blocking(Duration::ZERO);
    error.to_string()
}

#[test]
fn grpc_goes_through_a_tunnel_whose_proxy_knows_the_name() {
    let collector = Collector::start();
    let (proxy, seen) = tunnels(address_of(&collector.grpc_endpoint()));
    let builder = builder(Protocol::Grpc, "http://only.the-proxy-knows.test:4317")
        .with_proxy(format!("http://us%40er:pass@{proxy}"));
    ten_arrive(&Pipeline::start(builder));
    let (head, _) = seen.lock().unwrap().remove(0);
    let line = "CONNECT only.the-proxy-knows.test:4317 HTTP/1.1\n";
    assert!(head.starts_with(line), "{head}");
    let head = head.to_lowercase();
    assert!(
        head.contains("host: only.the-proxy-knows.test:4317\n"),
        "{head}"
    );
    assert!(
        head.contains("proxy-authorization: basic dxnazxi6cgfzcw==\n"),
        "{head}"
    );
    assert_eq!(collector.span_count(), 10);
}

#[cfg(feature = "tls")]
#[test]
fn https_is_spoken_with_the_endpoint_within_a_tunnel() {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["far.test".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap().pem();
    let collector = Collector::builder()
        .with_tls(&certificate, key.serialize_pem(), None::<&[u8]>)
        .unwrap()
        .start()
        .unwrap();
    for protocol in BOTH {
        let endpoint = collector.endpoint(protocol);
        let target = endpoint.rsplit('/').next().unwrap().parse().unwrap();
        let (proxy, seen) = tunnels(target);
        let builder = builder(protocol, "https://far.test")
            .with_certificate(tracing_otlp::config::Pem::Bytes(
                certificate.clone().into_bytes(),
            ))
            .with_header("x-key", "secret")
            .with_proxy(proxy.to_string());
        ten_arrive(&Pipeline::start(builder));
        let seen = seen.lock().unwrap();
        let (head, _) = &seen[0];
        assert!(
            head.starts_with("CONNECT far.test:443 HTTP/1.1\n"),
            "{head}"
        );
        assert!(!head.contains("secret"), "{head}");
    }
    assert_eq!(collector.span_count(), 20);
}

#[test]
fn http_is_asked_for_by_its_whole_url() {
    let proxy = Server::start(|_| OK.to_owned());
    let variables = [
        ("HTTP_PROXY", format!("http://user:pass@{}", proxy.address)),
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "http://far.test:4318/x".to_owned(),
        ),
    ];
    let config = |with: &[(&str, &str)]| {
        let with: Vec<_> = with
            .iter()
            .map(|(n, v)| (n.to_string(), v.to_string()))
            .collect();
        let variables = variables.clone();
        OtlpConfig::from_source(move |name| {
            let own = with.iter().find(|(n, _)| n == name);
            let given = variables.iter().find(|(n, _)| *n == name);
            let value = own.map(|(_, v)| v).or(given.map(|(_, v)| v));
            value.map(Into::into)
        })
    };
    ten_arrive(&Pipeline::start(
        tracing_otlp::builder()
            .without_env()
            .with_config(config(&[])),
    ));
    let (head, len) = proxy.seen().remove(0);
    let line = "POST http://far.test:4318/x/v1/traces HTTP/1.1\n";
    assert!(head.starts_with(line) && len > 100, "{head}");
    let head = head.to_lowercase();
    assert!(head.contains("host: far.test:4318\n"), "{head}");
    assert!(
        head.contains("proxy-authorization: basic dxnlcjpwyxnz\n"),
        "{head}"
    );
    // What a stranger may have set, what is excepted, and what code says.
    for with in [
        &[("REQUEST_METHOD", "GET")][..],
        &[("NO_PROXY", "test")],
        &[("no_proxy", "*")],
    ] {
        let builder = tracing_otlp::builder()
            .without_env()
            .with_config(config(with));
        let error = error_of(&Pipeline::start(builder));
        assert!(
            error.contains("far.test") && !error.contains("proxy"),
            "{error}"
        );
    }
    let builder = tracing_otlp::builder()
        .without_env()
        .with_config(config(&[]))
        .with_proxy(ProxyConfig::none());
    assert!(error_of(&Pipeline::start(builder)).contains("far.test"));
    assert_eq!(proxy.seen().len(), 1);
}

#[test]
fn a_proxy_that_refuses_is_named_with_the_cure() {
    let refusal = "HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n";
    let proxy = Server::start(|_| refusal.to_owned());
    for (protocol, url) in [
        (Protocol::Grpc, "http://far.test:4317"),
        (HTTP, "https://far.test"),
        (HTTP, "http://far.test"),
    ] {
        let builder =
            builder(protocol, url).with_proxy(format!("http://u:SECRET@{}", proxy.address));
        let error = error_of(&Pipeline::start(builder));
        for part in ["far.test", "407", "proxy", "HTTPS_PROXY"] {
            assert!(error.contains(part), "{part}: {error}");
        }
        assert!(!error.contains("SECRET"), "{error}");
    }
    let nobody = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let builder = builder(HTTP, "http://far.test").with_proxy(nobody.to_string());
    let error = error_of(&Pipeline::start(builder));
    for part in [&format!("proxy {nobody}")[..], "refused", "NO_PROXY"] {
        assert!(error.contains(part), "{part}: {error}");
    }
}

#[test]
fn a_redirect_keeps_the_body_and_tells_others_no_secret() {
    for status in ["307 Temporary Redirect", "308 Permanent Redirect"] {
        let other = Server::start(|_| OK.to_owned());
        let to = format!("{}/else?where", other.url());
        let first = Server::start(move |head| {
            let to = match head.starts_with("POST /v1/traces ") {
                // On the way there it stays with itself.
                true => "/near",
                false => &to,
            };
            format!("HTTP/1.1 {status}\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n")
        });
        let url = format!("http://user:pass@{}", first.address);
        let builder = builder(HTTP, &url)
            .with_header("x-key", "secret")
            .with_header_provider(|| async { ProvidedHeaders::new().with("x-token", "secret") });
        ten_arrive(&Pipeline::start(builder));
        let (seen, far) = (first.seen(), other.seen());
        assert_eq!((seen.len(), far.len()), (2, 1));
        assert!(seen[1].0.starts_with("POST /near "), "{}", seen[1].0);
        for (head, _) in &seen {
            let head = head.to_lowercase();
            assert!(head.contains("x-key: secret\n"), "{head}");
            assert!(head.contains("x-token: secret\n"), "{head}");
            assert!(head.contains("authorization: basic"), "{head}");
        }
        let (head, len) = &far[0];
        assert!(head.starts_with("POST /else?where "), "{head}");
        assert!(*len == seen[0].1 && *len > 100, "{len}");
        let head = head.to_lowercase();
        assert!(head.contains("content-type: application/x-protobuf\n"));
        assert!(
            !head.contains("secret") && !head.contains("authorization"),
            "{head}"
        );
    }
}

/// Logs share the connection of spans, and have a path of their own there.
#[test]
fn logs_go_their_own_way_through_a_proxy_and_a_redirect() {
    let other = Server::start(|_| OK.to_owned());
    let to = other.url();
    let proxy = Server::start(move |head| {
        let path = head.split(' ').nth(1).unwrap_or_default();
        let path = path.trim_start_matches("http://far.test:4318");
        format!(
            "HTTP/1.1 307 Temporary Redirect\r\nlocation: {to}{path}?moved\r\ncontent-length: 0\r\n\r\n"
        )
    });
    let mut by = ProxyConfig::all(format!("http://{}", proxy.address));
    by.no_proxy = Some("127.0.0.1".to_owned());
    let builder = builder(HTTP, "http://far.test:4318")
        .with_proxy(by)
        .with_logs(Events::AsLogs);
    let pipeline = Pipeline::start(builder);
    pipeline.within(|| {
        let _span = tracing::info_span!("buy").entered();
        tracing::info!("bought");
    });
    pipeline.flush().unwrap();
    let mut asked: Vec<_> = proxy
        .seen()
        .into_iter()
        .map(|(head, _)| first_line(&head))
        .collect();
    asked.sort();
    assert_eq!(
        asked,
        [
            "POST http://far.test:4318/v1/logs HTTP/1.1",
            "POST http://far.test:4318/v1/traces HTTP/1.1"
        ]
    );
    let mut moved: Vec<_> = other
        .seen()
        .into_iter()
        .map(|(head, _)| first_line(&head))
        .collect();
    moved.sort();
    assert_eq!(
        moved,
        [
            "POST /v1/logs?moved HTTP/1.1",
            "POST /v1/traces?moved HTTP/1.1"
        ]
    );
}

fn first_line(head: &str) -> String {
    head.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn what_is_not_followed_names_its_location() {
    let to = |status: &'static str, to: &'static str| {
        Server::start(move |_| {
            format!("HTTP/1.1 {status}\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n")
        })
    };
    for (status, location, attempts, parts) in [
        (
            "302 Found",
            "http://far.test/x?k=SECRET",
            1,
            &["302", "far.test/x"][..],
        ),
        (
            "308 Permanent Redirect",
            "ftp://far.test/",
            1,
            &["far.test", "not followed"],
        ),
        (
            "307 Temporary Redirect",
            "/round",
            6,
            &["/round", "more than 5"],
        ),
    ] {
        let server = to(status, location);
        let error = error_of(&Pipeline::start(builder(HTTP, &server.url())));
        for part in parts
            .iter()
            .chain(&["Location: ", "OTEL_EXPORTER_OTLP_ENDPOINT"])
        {
            assert!(error.contains(part), "{part}: {error}");
        }
        assert!(!error.contains("SECRET"), "{error}");
        assert_eq!(server.seen().len(), attempts, "{status}");
    }
}

/// The address that does not answer stands in no setting.
#[test]
fn who_redirects_to_nobody_is_named() {
    let nobody = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let server = Server::start(move |_| {
        format!("HTTP/1.1 308 Moved\r\nlocation: http://{nobody}/\r\ncontent-length: 0\r\n\r\n")
    });
    let error = error_of(&Pipeline::start(builder(HTTP, &server.url())));
    let to = format!("cannot connect to {nobody}");
    let from = format!("({} redirects there)", server.address);
    assert!(error.contains(&to) && error.contains(&from), "{error}");
}

/// A page to log in, before an endpoint that nobody has reached.
#[test]
fn a_success_with_a_page_is_doubted() {
    let page = "<html>Log in</html>";
    let len = page.len();
    let answer = |kind: &str| {
        format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {len}\r\n\r\n{page}")
    };
    for (kind, is_page) in [("text/html; charset=utf-8", true), ("text/plain", false)] {
        let answer = answer(kind);
        let server = Server::start(move |_| answer.clone());
        let pipeline = Pipeline::start(builder(HTTP, &server.url()));
        ten_arrive(&pipeline);
        let (_, warning) = pipeline
            .stats()
            .last_warning
            .unwrap_or((UNIX_EPOCH, String::new()));
        let doubts = [
            "page of HTML",
            "is that an OTLP endpoint",
            "OTEL_EXPORTER_OTLP_ENDPOINT",
        ];
        let found = doubts.map(|doubt| warning.contains(doubt));
        assert_eq!(found, [is_page; 3], "{warning}");
    }
}

#[test]
fn a_success_whose_body_stalls_is_a_success_otlp_5() {
    let server = Server::start(|_| "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc".to_owned());
    // Less than the body is waited for, and more.
    for timeout in [500, 10_000] {
        let timeout = Duration::from_millis(timeout);
        let builder = builder(HTTP, &server.url()).with_timeout(timeout);
        let pipeline = Pipeline::start(builder);
        let before = server.seen().len();
        for n in 1..=3 {
            pipeline.spans(10, 10);
            pipeline.flush().unwrap();
            let stats = pipeline.stats();
            assert_eq!((stats.delivered, stats.possible_duplicates), (10 * n, 0));
            assert_eq!(server.seen().len() - before, n as usize, "sent once");
        }
    }
}

/// What it says is known, also where the deadline passes before its body is there.
#[test]
fn a_refusal_whose_body_stalls_is_a_refusal() {
    let server = Server::start(|_| "HTTP/1.1 400 No\r\ncontent-length: 9\r\n\r\nabc".to_owned());
    let timeout = fit(Duration::from_millis(500));
    let pipeline = Pipeline::start(builder(HTTP, &server.url()).with_timeout(timeout));
    pipeline.spans(10, 10);
    let error = pipeline.flush().unwrap_err().to_string();
    assert!(error.contains("answered HTTP 400"), "{error}");
    let stats = pipeline.settle(0);
    assert_eq!(stats.dropped(DropReason::Refused), 10, "{}", told(&stats));
}

#[cfg(unix)]
#[test]
fn a_socket_of_the_system_is_an_endpoint() {
    for protocol in BOTH {
        let collector = Collector::start();
        let target = address_of(&collector.endpoint(protocol));
        let name = format!("tracing-otlp-{}-{protocol:?}.sock", std::process::id());
        let path = std::env::temp_dir().join(name);
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let near = (stream.try_clone().unwrap(), stream);
                pass(near, TcpStream::connect(target).unwrap());
            }
        });
        let url = format!("unix://{}", path.display());
        // A proxy is no way to it.
        let builder = builder(protocol, &url).with_proxy("http://127.0.0.1:1");
        ten_arrive(&Pipeline::start(builder));
        assert_eq!(collector.span_count(), 10);
        std::fs::remove_file(&path).unwrap();
        let error = error_of(&Pipeline::start(self::builder(protocol, &url)));
        let at = format!("cannot connect to unix:{}", path.display());
        assert!(
            error.contains(&at) && error.contains("check the path"),
            "{error}"
        );
    }
}

/// Its requests have the host `localhost`, which is no address of its own.
#[cfg(unix)]
#[test]
fn a_redirect_of_a_socket_stays_at_the_socket() {
    for (n, to) in ["/near", "near", "http://localhost/near"]
        .into_iter()
        .enumerate()
    {
        let name = format!("tracing-otlp-{}-{n}.sock", std::process::id());
        let path = std::env::temp_dir().join(name);
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let server = Server::start(move |head| match head.starts_with("POST /v1/traces ") {
            true => format!(
                "HTTP/1.1 307 Temporary Redirect\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n"
            ),
            false => OK.to_owned(),
        });
        let target = server.address;
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let near = (stream.try_clone().unwrap(), stream);
                pass(near, TcpStream::connect(target).unwrap());
            }
        });
        let builder =
            builder(HTTP, &format!("unix:{}", path.display())).with_header("x-key", "secret");
        ten_arrive(&Pipeline::start(builder));
        let (head, _) = server.seen().pop().unwrap();
        assert!(head.to_lowercase().contains("x-key: secret\n"), "{head}");
        std::fs::remove_file(&path).unwrap();
    }
}

#[test]
fn user_and_password_of_a_url_are_sent_unless_a_header_says_more() {
    for protocol in BOTH {
        let collector = Collector::start();
        let address = address_of(&collector.endpoint(protocol));
        let url = format!("http://user:p%40ss@{address}");
        ten_arrive(&Pipeline::start(builder(protocol, &url)));
        let builder = builder(protocol, &url).with_header("authorization", "Bearer x");
        ten_arrive(&Pipeline::start(builder));
        let requests = collector.requests();
        let sent: Vec<_> = requests.iter().map(|r| r.header("authorization")).collect();
        assert_eq!(sent, [Some("Basic dXNlcjpwQHNz"), Some("Bearer x")]);
    }
}

#[test]
fn zstd_is_read_by_the_collector() {
    for protocol in BOTH {
        let collector = Collector::start();
        let endpoint = collector.endpoint(protocol);
        let builder = builder(protocol, &endpoint).with_compression(Compression::Zstd);
        ten_arrive(&Pipeline::start(builder));
        let request = &collector.requests()[0];
        assert!(request.compressed, "{protocol:?}");
        let name = match protocol {
            Protocol::Grpc => "grpc-encoding",
            _ => "content-encoding",
        };
        assert_eq!(request.header(name), Some("zstd"));
    }
}
