//! The viewer as an OTLP receiver, in a process and as the program `tracing-otlp-viewer`.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tracing_otlp::Protocol;
use tracing_otlp::config::Compression;
use tracing_otlp::viewer::ViewerExporter;
use tracing_subscriber::layer::SubscriberExt as _;

const PATIENCE: Duration = Duration::from_secs(60);

fn start() -> ViewerExporter {
    let viewer = tracing_otlp::viewer().with_port(0).with_announcement(false);
    let viewer = viewer.with_otlp_address("127.0.0.1:0".parse().unwrap());
    viewer.build().unwrap()
}

/// One span of a pipeline with these settings.
fn record(name: &'static str, endpoint: SocketAddr, protocol: Protocol, compression: Compression) {
    let (layer, guard) = tracing_otlp::builder()
        .with_service_name("other")
        .with_endpoint(format!("http://{endpoint}"))
        .with_protocol(protocol)
        .with_compression(compression)
        .build()
        .unwrap();
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::with_default(subscriber, || {
        tracing::info_span!("work", otel.name = name, n = 5).in_scope(|| tracing::info!("done"));
    });
    guard.shutdown_blocking(PATIENCE).unwrap();
    let stats = guard.stats();
    assert_eq!(stats.delivered, 1, "{stats}");
}

fn api(page: SocketAddr, token: &str, path: &str) -> serde_json::Value {
    let mut stream = TcpStream::connect(page).unwrap();
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {page}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[test]
fn spans_come_over_grpc_and_http_packed_and_plain_at_one_port() {
    let viewer = start();
    let (page, token) = (viewer.address().unwrap(), viewer.token().unwrap());
    let otlp = viewer.otlp_addresses()[0];
    record("grpc", otlp, Protocol::Grpc, Compression::None);
    record("grpc gzip", otlp, Protocol::Grpc, Compression::Gzip);
    record("http", otlp, Protocol::HttpProtobuf, Compression::None);
    record("http gzip", otlp, Protocol::HttpProtobuf, Compression::Gzip);
    let list = api(page, token, "/api/traces");
    let traces = list["traces"].as_array().unwrap();
    let names: Vec<_> = traces.iter().map(|t| t["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["http gzip", "http", "grpc gzip", "grpc"]);

    let trace = api(
        page,
        token,
        &format!("/api/traces/{}", traces[0]["trace_id"].as_str().unwrap()),
    );
    let span = &trace["spans"][0];
    assert_eq!(span["attributes"]["n"], 5);
    assert_eq!(span["events"][0]["name"], "done");
    assert_eq!(span["parent_span_id"], serde_json::Value::Null);
    let origin = &trace["origins"][span["origin"].as_u64().unwrap() as usize];
    assert_eq!(origin["service"], "other");
    assert_eq!(origin["resource"]["service.name"], "other");

    // The list by pages, by filters, and its figures.
    let first = api(page, token, "/api/traces?limit=3");
    assert_eq!(first["traces"].as_array().unwrap().len(), 3);
    let rest = api(
        page,
        token,
        &format!("/api/traces?limit=3&before={}", first["next"]),
    );
    assert_eq!(rest["traces"][0]["name"], "grpc");
    assert_eq!(rest["next"], serde_json::Value::Null);
    let count = |query: &str| {
        api(page, token, &format!("/api/traces?{query}"))["traces"]
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!(count("text=GZIP"), 2);
    assert_eq!(count("text=gzip%20http"), 1);
    assert_eq!(count("text=done"), 4);
    assert_eq!(count("text=nothing"), 0);
    assert_eq!(count("attr=n%3D5"), 4);
    assert_eq!(count("attr=n%3D6"), 0);
    assert_eq!(count("attr=n%3D*&attr=service.name%3Dother"), 4);
    assert_eq!(count("service=other"), 4);
    assert_eq!(count("service=another"), 0);
    assert_eq!(count("error=true"), 0);
    assert_eq!(count("min_duration_ms=60000"), 0);
    assert_eq!(list["names"].as_array().unwrap().len(), 4);
    assert_eq!(list["held"]["spans"], 4);
}

/// The same spans and records, packed in each way that the receiver reads.
#[test]
fn logs_come_over_grpc_and_http_and_json_in_every_packing() {
    let viewer = start();
    let (page, token) = (viewer.address().unwrap(), viewer.token().unwrap());
    let otlp = viewer.otlp_addresses()[0];
    for (protocol, compression) in [
        (Protocol::Grpc, Compression::None),
        (Protocol::Grpc, Compression::Zstd),
        (Protocol::HttpProtobuf, Compression::Gzip),
        (Protocol::HttpProtobuf, Compression::Zstd),
        (Protocol::HttpJson, Compression::None),
        (Protocol::HttpJson, Compression::Gzip),
    ] {
        let (layer, guard) = tracing_otlp::builder()
            .with_service_name("other")
            .with_endpoint(format!("http://{otlp}"))
            .with_protocol(protocol)
            .with_compression(compression)
            .with_logs(tracing_otlp::Events::AsLogs)
            .build()
            .unwrap();
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || {
            tracing::info_span!("work").in_scope(|| tracing::warn!(n = 5, "inside"));
            tracing::error!(n = 6, "outside");
        });
        guard.shutdown_blocking(PATIENCE).unwrap();
        let stats = guard.stats();
        let delivered = (stats.delivered, stats.logs.delivered);
        assert_eq!(delivered, (1, 2), "{protocol:?} {compression:?} {stats}");
    }
    let list = api(page, token, "/api/traces");
    let traces = list["traces"].as_array().unwrap();
    assert_eq!(traces.len(), 6);
    assert_eq!(list["held"]["log_records"], 6);
    assert_eq!(list["held"]["log_records_without_trace"], 6);
    for trace in traces {
        assert_eq!(
            (&trace["spans"], &trace["log_records"]),
            (&1.into(), &1.into())
        );
        let id = trace["trace_id"].as_str().unwrap();
        let trace = api(page, token, &format!("/api/traces/{id}"));
        let (span, log) = (&trace["spans"][0], &trace["logs"][0]);
        assert_eq!(log["span_id"], span["span_id"]);
        assert_eq!(
            (&log["body"], &log["attributes"]["n"]),
            (&"inside".into(), &5.into())
        );
        assert_eq!(
            (&log["severity"], &log["severity_number"]),
            (&"WARN".into(), &13.into())
        );
        assert!(log["offset_nanos"].as_i64().unwrap() >= 0);
        let origin = &trace["origins"][log["origin"].as_u64().unwrap() as usize];
        assert_eq!(origin["service"], "other");
    }
    let count = |path: &str| {
        let page = api(page, token, path);
        page["logs"].as_array().map_or_else(
            || page["traces"].as_array().unwrap().len(),
            |logs| logs.len(),
        )
    };
    assert_eq!(count("/api/logs"), 6);
    assert_eq!(
        count("/api/logs?text=outside&attr=n%3D6&service=other&min_severity=17"),
        6
    );
    assert_eq!(count("/api/logs?text=inside"), 0);
    assert_eq!(count("/api/logs?min_severity=18"), 0);
    assert_eq!(
        count("/api/traces?text=inside&min_severity=13&attr=n%3D5"),
        6
    );
    assert_eq!(count("/api/traces?min_severity=17"), 0);
    let first = api(page, token, "/api/logs?limit=4");
    let rest = api(
        page,
        token,
        &format!("/api/logs?limit=4&before={}", first["next"]),
    );
    assert_eq!(rest["logs"].as_array().unwrap().len(), 2);
    assert_eq!(rest["next"], serde_json::Value::Null);
}

/// What the receiver answers to a request in JSON is JSON.
#[test]
fn a_request_in_json_is_answered_in_json() {
    let viewer = start();
    let otlp = viewer.otlp_addresses()[0];
    let json = [("Content-Type", "application/json")];
    let answer = crate::shop::post(
        otlp,
        &json,
        br#"{"resourceSpans":[{"scopeSpans":[{"spans":[{}]}]}]}"#,
    );
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains(r#""rejectedSpans":"1""#), "{answer}");
    assert!(crate::shop::post(otlp, &json, b"{}").ends_with("{}"));
}

#[test]
fn what_is_no_request_is_refused_in_words() {
    let viewer = start();
    let otlp = viewer.otlp_addresses()[0];
    let protobuf = ("Content-Type", "application/x-protobuf");
    for (headers, body, status) in [
        (vec![protobuf], &b"\xff\xff"[..], "400"),
        (vec![("Content-Type", "text/json")], b"{}", "415"),
        (
            vec![("Content-Type", "application/json")],
            b"no json",
            "400",
        ),
        (
            vec![protobuf, ("Content-Encoding", "zstd")],
            b"no zstd",
            "400",
        ),
        (vec![protobuf, ("Content-Encoding", "br")], b"", "415"),
        (
            vec![protobuf, ("Content-Encoding", "gzip")],
            b"no gzip",
            "400",
        ),
        (
            vec![protobuf, ("Origin", "http://evil.example")],
            b"",
            "403",
        ),
        (vec![protobuf, ("Host", "evil.example")], b"", "403"),
        (vec![protobuf], b"", "200"),
    ] {
        let answer = crate::shop::post(otlp, &headers, body);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{headers:?}: {answer}"
        );
    }
    let large = vec![0; (16 << 20) + 1];
    let answer = crate::shop::post(otlp, &[protobuf], &large);
    // It may have hung up before all was written.
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 413"),
        "{answer}"
    );
    // A bomb: 32 MiB of zeros in a few kilobytes.
    let mut bomb = flate2_gzip(&vec![0; 32 << 20]);
    let answer = crate::shop::post(otlp, &[protobuf, ("Content-Encoding", "gzip")], &bomb);
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    bomb.truncate(10);
    let answer = crate::shop::post(otlp, &[protobuf, ("Content-Encoding", "gzip")], &bomb);
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}

/// A viewer in a container is asked for by its name. Pages of other sites are refused there too: by their `Origin`.
#[test]
fn a_port_for_other_machines_is_reached_by_any_name() {
    let viewer = tracing_otlp::viewer().with_port(0).with_announcement(false);
    let viewer = viewer
        .with_otlp_address("0.0.0.0:0".parse().unwrap())
        .with_otlp_address("127.0.0.1:0".parse().unwrap())
        .build()
        .unwrap();
    let ask = |port: u16, more: &str| {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let request = format!(
            "POST /v1/traces HTTP/1.1\r\nHost: viewer:4318\r\nContent-Type: application/x-protobuf\r\n\
             Content-Length: 0\r\nConnection: close\r\n{more}\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let [any, own] = viewer.otlp_addresses() else {
        panic!("two were given");
    };
    let answer = ask(any.port(), "");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    for answer in [
        ask(any.port(), "Origin: http://viewer:4318\r\n"),
        ask(own.port(), ""),
    ] {
        assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    }
}

/// A stream of gzip with stored zeros repeated by back references would need an encoder; the system's
/// program has one.
fn flate2_gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = Command::new("gzip")
        .arg("-c")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut input, bytes) = (gzip.stdin.take().unwrap(), bytes.to_vec());
    let writes = std::thread::spawn(move || input.write_all(&bytes));
    let mut out = Vec::new();
    gzip.stdout.take().unwrap().read_to_end(&mut out).unwrap();
    writes.join().unwrap().unwrap();
    gzip.wait().unwrap();
    out
}

/// Killed if a test ends before it.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_program_shows_what_is_sent_to_it() {
    // Built with the feature `viewer` only.
    let Some(program) = option_env!("CARGO_BIN_EXE_tracing-otlp-viewer") else {
        println!("SKIPPED: the program is built with --features viewer");
        return;
    };
    let mut child = Command::new(program);
    child.args([
        "--address",
        "127.0.0.1:0",
        "--otlp=127.0.0.1:0",
        "--max-memory",
        "4",
    ]);
    let mut child = Program(
        child
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut lines = BufReader::new(child.0.stderr.take().unwrap()).lines();
    let mut after = |text: &str| {
        let line = lines.next().unwrap().unwrap();
        line.split_once(text)
            .unwrap_or_else(|| panic!("{line}"))
            .1
            .to_owned()
    };
    let url = after("traces are at http://");
    let otlp: SocketAddr = after("spans are taken at http://").parse().unwrap();
    let (page, token) = url.split_once("/?token=").unwrap();
    record("to the program", otlp, Protocol::Grpc, Compression::None);
    let list = api(page.parse().unwrap(), token, "/api/traces");
    assert_eq!(list["traces"][0]["name"], "to the program");
    assert_eq!(list["held"]["max_bytes"], 4 << 20);

    for wrong in [
        &["--colour"][..],
        &["--otlp"],
        &["--otlp", "x"],
        &["--max-memory=x"],
    ] {
        let output = Command::new(program).args(wrong).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
    }
    let help = Command::new(program).arg("--help").output().unwrap();
    assert!(help.status.success() && help.stdout.starts_with(b"Takes the spans"));
}

#[test]
fn the_program_says_why_it_cannot_start() {
    let Some(program) = option_env!("CARGO_BIN_EXE_tracing-otlp-viewer") else {
        println!("SKIPPED: the program is built with --features viewer");
        return;
    };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!("--otlp={}", listener.local_addr().unwrap());
    for (argument, setting) in [
        ("no-such-file.jsonl", "viewer.file"),
        (&*taken, "viewer.otlp_address"),
    ] {
        let mut child = Command::new(program);
        let output = child.args(["--address", "127.0.0.1:0", argument]).output();
        let output = output.unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let told = String::from_utf8_lossy(&output.stderr);
        // The cure, and the system's own words.
        assert!(
            told.contains(setting) && told.contains("(os error "),
            "{told}"
        );
    }
}
