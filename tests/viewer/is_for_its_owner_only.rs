//! Who may read the viewer, byte by byte: names, origins, tokens, methods, and the bounds of a
//! connection, by raw sockets.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use tracing_otlp::viewer::ViewerExporter;

/// The longest that an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

fn start() -> (ViewerExporter, SocketAddr, String) {
    let viewer = tracing_otlp::viewer()
        .with_port(0)
        .with_announcement(false)
        .build()
        .unwrap();
    let address = viewer.address().unwrap();
    assert!(address.ip().is_loopback());
    let token = viewer.token().unwrap().to_owned();
    (viewer, address, token)
}

/// The answer to these bytes, to its end; `None` where the connection is closed without one.
fn raw(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // The server may have answered and gone before it took all.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

struct Asked<'a> {
    line: &'a str,
    host: &'a str,
    headers: &'a [(&'a str, &'a str)],
}

fn ask(address: SocketAddr, asked: Asked<'_>) -> String {
    let mut request = format!("{} HTTP/1.1\r\nHost: {}\r\n", asked.line, asked.host);
    for (name, value) in asked.headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("Connection: close\r\n\r\n");
    raw(address, request.as_bytes())
}

#[track_caller]
fn status(answer: &str) -> u16 {
    let status = answer.split(' ').nth(1).and_then(|s| s.parse().ok());
    status.unwrap_or_else(|| panic!("no answer: {answer:?}"))
}

fn header<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let head = answer.split("\r\n\r\n").next().unwrap();
    let lines = head.lines().skip(1).filter_map(|l| l.split_once(": "));
    let mut found = lines.filter(|(n, _)| n.eq_ignore_ascii_case(name));
    found.next().map(|(_, value)| value)
}

const PATHS: [&str; 6] = [
    "/",
    "/api/traces",
    "/api/events",
    "/api/traces/00000000000000000000000000000001",
    "/traces/00000000000000000000000000000001",
    "/nowhere",
];

#[test]
fn a_foreign_host_gets_403_even_with_the_token() {
    let (_viewer, address, token) = start();
    let bearer = format!("Bearer {token}");
    for host in [
        "rebound.example.com",
        "localhost.example.com",
        "127.0.0.1.example.com",
        "192.0.2.1",
        "0.0.0.0",
        "",
        "127.0.0.1@example.com",
    ] {
        for path in PATHS.iter().chain(&["/health"]) {
            let line = format!("GET {path}");
            let headers = [("Authorization", &*bearer)];
            let answer = ask(
                address,
                Asked {
                    line: &line,
                    host,
                    headers: &headers,
                },
            );
            // hyper itself refuses what is no host at all.
            let status = status(&answer);
            assert!(
                status == 403 || status == 400 && !answer.contains("trace"),
                "{host}: {answer}"
            );
        }
    }
    // None, two, and one in the target that differs.
    let get = format!("Authorization: Bearer {token}\r\nConnection: close\r\n\r\n");
    for request in [
        format!("GET /api/traces HTTP/1.1\r\n{get}"),
        format!("GET /api/traces HTTP/1.0\r\n{get}"),
        format!("GET /api/traces HTTP/1.1\r\nHost: {address}\r\nHost: example.com\r\n{get}"),
        format!("GET http://example.com/api/traces HTTP/1.1\r\nHost: {address}\r\n{get}"),
    ] {
        assert_eq!(status(&raw(address, request.as_bytes())), 403, "{request}");
    }
    for host in ["localhost", "[::1]:1", "127.0.0.1", &address.to_string()] {
        let headers = [("Authorization", &*bearer)];
        let answer = ask(
            address,
            Asked {
                line: "GET /api/traces",
                host,
                headers: &headers,
            },
        );
        assert_eq!(status(&answer), 200, "{answer}");
    }
}

#[test]
fn a_foreign_origin_or_site_gets_403_even_with_the_token() {
    let (_viewer, address, token) = start();
    let (bearer, host) = (format!("Bearer {token}"), address.to_string());
    let own = format!("http://{host}");
    let ask = |line: &str, headers: &[(&str, &str)]| {
        let mut all = vec![("Authorization", &*bearer)];
        all.extend(headers);
        status(&ask(
            address,
            Asked {
                line,
                host: &host,
                headers: &all,
            },
        ))
    };
    for origin in [
        "https://example.com",
        "null",
        "http://localhost:3000",
        "",
        &host,
        &format!("{own}.example.com"),
        &format!("https://{host}"),
    ] {
        assert_eq!(
            ask("GET /api/traces", &[("Origin", origin)]),
            403,
            "{origin:?}"
        );
    }
    assert_eq!(ask("GET /api/traces", &[("Origin", &own)]), 200);
    assert_eq!(
        ask("GET /api/traces", &[("Origin", &own), ("Origin", "null")]),
        403
    );
    for site in ["cross-site", "same-site", "?"] {
        assert_eq!(
            ask("GET /api/traces", &[("Sec-Fetch-Site", site)]),
            403,
            "{site}"
        );
        assert_eq!(
            ask(
                "GET /",
                &[
                    ("Sec-Fetch-Site", site),
                    ("Sec-Fetch-Mode", "navigate"),
                    ("Sec-Fetch-Dest", "iframe")
                ]
            ),
            403
        );
    }
    let link = [
        ("Sec-Fetch-Mode", "navigate"),
        ("Sec-Fetch-Dest", "document"),
    ];
    assert_eq!(
        ask(
            "GET /",
            &[("Sec-Fetch-Site", "cross-site"), link[0], link[1]]
        ),
        403
    );
    assert_eq!(
        ask(
            "GET /",
            &[("Sec-Fetch-Site", "same-site"), link[0], link[1]]
        ),
        200
    );
    for site in ["none", "same-origin"] {
        assert_eq!(
            ask("GET /api/traces", &[("Sec-Fetch-Site", site)]),
            200,
            "{site}"
        );
    }
}

#[test]
fn without_the_token_there_is_nothing_but_the_name_of_the_product() {
    let (_viewer, address, token) = start();
    let host = address.to_string();
    let cookie_name = format!("tracing-otlp-viewer-{}", address.port());
    let other = format!("{cookie_name}={}", "0".repeat(32));
    let short = format!("Bearer {}", &token[..31]);
    let wrong: [&[(&str, &str)]; 5] = [
        &[],
        &[("Cookie", &other)],
        &[("Authorization", &short)],
        &[("Authorization", &token)],
        &[("Cookie", &format!("other={token}"))],
    ];
    for headers in wrong {
        for path in &PATHS[..5] {
            let line = format!("GET {path}");
            let answer = ask(
                address,
                Asked {
                    line: &line,
                    host: &host,
                    headers,
                },
            );
            assert_eq!(status(&answer), 401, "{path} {headers:?}: {answer}");
            assert!(!answer.contains(&token));
        }
    }
    // In the address it counts for pages only: addresses are kept in histories and logs.
    let line = format!("GET /api/traces?token={token}");
    assert_eq!(
        status(&ask(
            address,
            Asked {
                line: &line,
                host: &host,
                headers: &[]
            }
        )),
        401
    );
    let line = format!("GET /?token={}", "0".repeat(32));
    assert_eq!(
        status(&ask(
            address,
            Asked {
                line: &line,
                host: &host,
                headers: &[]
            }
        )),
        401
    );

    let health = ask(
        address,
        Asked {
            line: "GET /health",
            host: &host,
            headers: &[],
        },
    );
    assert_eq!(status(&health), 200);
    assert!(health.contains(r#""product":"tracing-otlp-viewer""#) && !health.contains(&token));
}

#[test]
fn the_printed_address_becomes_a_cookie() {
    let (viewer, address, token) = start();
    let host = address.to_string();
    assert_eq!(
        viewer.url().unwrap(),
        format!("http://{host}/?token={token}")
    );
    let line = format!("GET /?token={token}");
    let answer = ask(
        address,
        Asked {
            line: &line,
            host: &host,
            headers: &[],
        },
    );
    assert_eq!(status(&answer), 303, "{answer}");
    assert_eq!(header(&answer, "location"), Some("/"));
    let cookie = header(&answer, "set-cookie").unwrap();
    assert!(
        cookie.ends_with("; Path=/; HttpOnly; SameSite=Strict"),
        "{cookie}"
    );
    let pair = cookie.split(';').next().unwrap();
    let cookies = format!("a=b; {pair}; c=d");
    for path in ["/", "/api/traces"] {
        let line = format!("GET {path}");
        let headers = [("Cookie", &*cookies)];
        assert_eq!(
            status(&ask(
                address,
                Asked {
                    line: &line,
                    host: &host,
                    headers: &headers
                }
            )),
            200
        );
    }
    assert!(
        !format!("{viewer:?}").contains(&token),
        "Debug shows the token"
    );
}

#[test]
fn only_get_is_answered_and_only_where_something_is() {
    let (_viewer, address, token) = start();
    let (bearer, host) = (format!("Bearer {token}"), address.to_string());
    for method in ["POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE"] {
        for path in PATHS {
            let line = format!("{method} {path}");
            let headers = [("Authorization", &*bearer), ("Content-Length", "0")];
            let answer = ask(
                address,
                Asked {
                    line: &line,
                    host: &host,
                    headers: &headers,
                },
            );
            assert_eq!(status(&answer), 405, "{line}: {answer}");
            assert_eq!(header(&answer, "allow"), Some("GET"));
        }
    }
    for path in [
        "/nowhere",
        "//",
        "/api",
        "/traces/",
        "/traces/xyz",
        "/api/traces/0",
        "/traces/0000000000000000000000000000000A",
        "/v1/traces",
        "/../etc/passwd",
        "/favicon.ico",
    ] {
        let line = format!("GET {path}");
        let headers = [("Authorization", &*bearer)];
        let answer = ask(
            address,
            Asked {
                line: &line,
                host: &host,
                headers: &headers,
            },
        );
        assert_eq!(status(&answer), 404, "{path}: {answer}");
    }
    for query in ["limit=0", "colour=red", "attr=x", "min_duration_ms=soon"] {
        let line = format!("GET /api/traces?{query}");
        let headers = [("Authorization", &*bearer)];
        let answer = ask(
            address,
            Asked {
                line: &line,
                host: &host,
                headers: &headers,
            },
        );
        assert_eq!(status(&answer), 400, "{query}: {answer}");
    }
}

#[test]
fn every_answer_says_what_a_browser_may_do_with_it() {
    let (_viewer, address, token) = start();
    let (bearer, host) = (format!("Bearer {token}"), address.to_string());
    let mut nonces = Vec::new();
    for (path, authorized) in [
        ("/", true),
        ("/", true),
        ("/api/traces", true),
        ("/nowhere", true),
        ("/", false),
        ("/health", false),
    ] {
        let line = format!("GET {path}");
        let headers = [("Authorization", &*bearer)];
        let headers = if authorized { &headers[..] } else { &[] };
        let answer = ask(
            address,
            Asked {
                line: &line,
                host: &host,
                headers,
            },
        );
        assert_eq!(header(&answer, "x-content-type-options"), Some("nosniff"));
        assert_eq!(header(&answer, "referrer-policy"), Some("no-referrer"));
        assert_eq!(header(&answer, "cache-control"), Some("no-store"));
        let policy = header(&answer, "content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; "), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        assert!(
            !answer.to_lowercase().contains("access-control-"),
            "{answer}"
        );
        if path == "/" && authorized {
            let nonce = policy
                .split("script-src 'nonce-")
                .nth(1)
                .unwrap()
                .split('\'')
                .next()
                .unwrap();
            assert!(policy.contains("connect-src 'self'"), "{policy}");
            assert_eq!(answer.matches(&format!("nonce=\"{nonce}\"")).count(), 2);
            assert_eq!(answer.matches("<script").count(), 1);
            assert!(!answer.contains("{{nonce}}"));
            nonces.push(nonce.to_owned());
        }
    }
    assert_ne!(nonces[0], nonces[1]);
}

#[test]
fn heads_are_bounded_in_bytes_in_headers_and_in_time() {
    let (_viewer, address, token) = start();
    let get =
        format!("GET /api/traces HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n");
    let long = format!("{get}X: {}\r\n\r\n", "x".repeat(1 << 20));
    assert_eq!(status(&raw(address, long.as_bytes())), 431);
    let many = format!("{get}{}\r\n", "a: b\r\n".repeat(100));
    assert_eq!(status(&raw(address, many.as_bytes())), 431);
    // One that never ends, and one that begins anew after its answer and never goes on.
    for begun in [get.clone(), format!("{get}\r\n")] {
        let begin = Instant::now();
        raw(address, begun.as_bytes());
        assert!(begin.elapsed() < PATIENCE, "it was not hung up on");
    }
    // Still there for others.
    assert_eq!(
        status(&raw(
            address,
            format!("{get}Connection: close\r\n\r\n").as_bytes()
        )),
        200
    );
}

#[test]
fn connections_and_listeners_are_bounded() {
    let (_viewer, address, token) = start();
    let get = |path: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\r\n")
    };
    let first_line = |stream: &mut TcpStream| {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut head = [0; 12];
        stream
            .read_exact(&mut head)
            .map(|()| String::from_utf8_lossy(&head).into_owned())
    };
    let mut listeners = Vec::new();
    for _ in 0..16 {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(get("/api/events").as_bytes()).unwrap();
        assert_eq!(first_line(&mut stream).unwrap(), "HTTP/1.1 200");
        listeners.push(stream);
    }
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(get("/api/events").as_bytes()).unwrap();
    assert_eq!(first_line(&mut stream).unwrap(), "HTTP/1.1 503");
    drop(stream);
    let mut idle = Vec::new();
    for _ in 0..100 {
        let mut stream = TcpStream::connect(address).unwrap();
        let written = stream.write_all(get("/health").as_bytes());
        if written.is_ok() && first_line(&mut stream).is_ok() {
            idle.push(stream);
        }
    }
    // The longest idle have given way; a listener has not. What is left of an answer is read away.
    assert!(
        idle.len() > 48,
        "{} were served one after the other",
        idle.len()
    );
    let is_open = |stream: &mut TcpStream| {
        stream.set_nonblocking(true).unwrap();
        let mut rest = [0; 4096];
        loop {
            match stream.read(&mut rest) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(e) => return e.kind() == std::io::ErrorKind::WouldBlock,
            }
        }
    };
    let deadline = Instant::now() + PATIENCE;
    loop {
        let held = idle
            .iter_mut()
            .filter_map(|s| is_open(s).then_some(()))
            .count();
        if held <= 48 {
            assert!(held > 0);
            break;
        }
        assert!(Instant::now() < deadline, "{held} beside 16 listeners");
    }
    assert!(listeners.iter_mut().all(is_open), "a listener gave way");
    // Places come back.
    drop((listeners, idle));
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut stream = TcpStream::connect(address).unwrap();
        let written = stream.write_all(get("/api/events").as_bytes());
        if written.is_ok() && first_line(&mut stream).is_ok_and(|l| l == "HTTP/1.1 200") {
            break;
        }
        assert!(
            Instant::now() < deadline,
            "a listener's place does not come back"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_port_that_is_taken_is_an_error_where_it_was_named() {
    let (_viewer, address, _) = start();
    let error = tracing_otlp::viewer()
        .with_address(address)
        .build()
        .unwrap_err();
    assert!(
        error.is_config() && error.to_string().contains(&address.to_string()),
        "{error}"
    );
    let error = tracing_otlp::viewer()
        .with_max_memory(1)
        .build()
        .unwrap_err();
    assert!(error.is_config(), "{error}");
}

#[test]
fn the_viewer_ends_with_its_exporter() {
    let (viewer, address, _) = start();
    drop(viewer);
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(address).is_ok() {
        assert!(Instant::now() < deadline, "it still listens");
        std::thread::sleep(Duration::from_millis(5));
    }
}
