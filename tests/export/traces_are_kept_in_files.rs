//! OTLP as lines of JSON: into a file, within a bound, onto standard output, and back into the viewer.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "../support/child.rs"]
mod child;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use tracing_otlp::export::{Exporter, OtlpFileExporter};
use tracing_otlp::{DropReason, Events, ShutdownGuard};
use tracing_subscriber::layer::SubscriberExt as _;

const LONG: Duration = Duration::from_secs(60);

/// A folder of one test's, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = format!("tracing-otlp-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(folder);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let mut names: Vec<_> = entries
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Records `count` spans, each in a batch of its own.
fn record(exporter: impl Exporter, count: usize) -> ShutdownGuard {
    let (layer, guard) = tracing_otlp::builder()
        .without_env()
        .with_service_name("shop")
        .with_exporter(exporter)
        .build()
        .unwrap();
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::with_default(subscriber, || {
        for i in 0..count {
            tracing::info_span!("work", i, text = "line\nbreak").in_scope(|| tracing::info!("e"));
            let _ = guard.force_flush_blocking(LONG);
        }
    });
    guard
}

/// By somebody else's reader.
fn spans(path: &Path) -> Vec<Span> {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.ends_with('\n') && !text.contains("\n\n"), "{text}");
    let requests = text.lines().map(|line| {
        let request: ExportTraceServiceRequest = serde_json::from_str(line).unwrap();
        request
    });
    requests
        .flat_map(|r| r.resource_spans)
        .flat_map(|r| r.scope_spans)
        .flat_map(|s| s.spans)
        .collect()
}

/// LOG-70: a request is a line; LOG-75: a file is appended to.
#[test]
fn each_batch_is_a_line_and_a_file_is_appended_to() {
    let folder = Folder::new("append");
    let path = folder.path("shop.jsonl");
    for round in 1..=2 {
        let exporter = OtlpFileExporter::file(&path).open().unwrap();
        let guard = record(exporter, 3);
        guard.shutdown_blocking(LONG).unwrap();
        assert_eq!(guard.stats().delivered, 3);
        let spans = spans(&path);
        assert_eq!(spans.len(), 3 * round);
        assert!(spans.iter().all(|s| s.events.len() == 1));
    }
    // A process that died in a line: the next one begins a line of its own.
    let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(b"{\"resourceSpans\":[{").unwrap();
    drop(record(OtlpFileExporter::file(&path).open().unwrap(), 1));
    let text = fs::read_to_string(&path).unwrap();
    let last = text.lines().last().unwrap();
    assert!(serde_json::from_str::<ExportTraceServiceRequest>(last).is_ok());
}

#[test]
fn files_keep_to_their_size_and_number() {
    let folder = Folder::new("rotate");
    let path = folder.path("shop.jsonl");
    let file = OtlpFileExporter::file(&path).with_max_size(4_000);
    let guard = record(file.with_max_files(3).open().unwrap(), 40);
    guard.shutdown_blocking(LONG).unwrap();
    assert_eq!(guard.stats().delivered, 40);
    let names = ["shop.1.jsonl", "shop.2.jsonl", "shop.jsonl"];
    assert_eq!(folder.names(), names);
    let mut numbers = Vec::new();
    for name in ["shop.2.jsonl", "shop.1.jsonl", "shop.jsonl"] {
        assert!(fs::metadata(folder.path(name)).unwrap().len() <= 4_000);
        for span in spans(&folder.path(name)) {
            let i = span.attributes.iter().find(|a| a.key == "i").unwrap();
            numbers.push(format!("{:?}", i.value));
        }
    }
    // The newest, in order.
    assert!(numbers.len() > 3 && numbers.len() < 40);
    assert!(numbers.last().unwrap().contains("39"), "{numbers:?}");

    let one = folder.path("one.jsonl");
    let file = OtlpFileExporter::file(&one)
        .with_max_size(1)
        .with_max_files(1);
    drop(record(file.open().unwrap(), 3));
    assert_eq!(spans(&one).len(), 1);
    assert_eq!(folder.names().len(), 4);
}

/// Somebody tidies up, or a job rotates the file, while the process writes.
#[test]
fn a_file_that_is_taken_away_is_begun_anew() {
    for max_files in [1, 3] {
        let folder = Folder::new(&format!("taken-{max_files}"));
        let path = folder.path("shop.jsonl");
        let file = OtlpFileExporter::file(&path)
            .with_max_size(1)
            .with_max_files(max_files);
        let (layer, guard) = tracing_otlp::builder()
            .without_env()
            .with_exporter(file.open().unwrap())
            .build()
            .unwrap();
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || {
            let work = |i: usize| {
                tracing::info_span!("work", i).in_scope(|| {});
                guard.force_flush_blocking(LONG)
            };
            for i in 0..4 {
                work(i).unwrap();
            }
            let old = folder.names();
            fs::remove_file(&path).unwrap();
            work(4).unwrap();
            assert_eq!(spans(&path).len(), 1, "the file is there again");
            assert_eq!(folder.names(), old, "and no older one was given for it");
            // Its folder too: what cannot be written is counted, and what can be afterwards is written.
            fs::remove_dir_all(&folder.0).unwrap();
            work(5).unwrap_err();
            work(6).unwrap_err();
            fs::create_dir(&folder.0).unwrap();
            work(7).unwrap();
            assert_eq!(spans(&path).len(), 1);
        });
        let stats = guard.stats();
        assert_eq!((stats.delivered, stats.dropped_total()), (6, 2), "{stats}");
    }
}

/// Takes so many bytes and then none.
#[derive(Clone)]
struct Full(Arc<Mutex<(usize, Vec<u8>)>>);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let (room, taken) = &mut *self.0.lock().unwrap();
        let n = bytes.len().min(*room);
        if n == 0 {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        *room -= n;
        taken.extend_from_slice(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_cannot_be_written_is_counted_and_spoils_no_later_line() {
    let full = Full(Arc::new(Mutex::new((100, Vec::new()))));
    let guard = record(OtlpFileExporter::with_writer(full.clone()), 1);
    let stats = guard.stats();
    assert_eq!(stats.dropped(DropReason::Internal), 1, "{stats}");
    let error = guard.shutdown_blocking(LONG);
    drop(error);

    let exporter = OtlpFileExporter::with_writer(full.clone());
    let (layer, guard) = tracing_otlp::builder()
        .without_env()
        .with_exporter(exporter)
        .build()
        .unwrap();
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::with_default(subscriber, || {
        for room in [50, 1 << 20] {
            full.0.lock().unwrap().0 = room;
            tracing::info_span!("work").in_scope(|| {});
            let _ = guard.force_flush_blocking(LONG);
        }
    });
    let stats = guard.stats();
    assert_eq!((stats.delivered, stats.dropped_total()), (1, 1), "{stats}");
    let taken = full.0.lock().unwrap().1.clone();
    let text = String::from_utf8(taken).unwrap();
    let last = text.lines().last().unwrap();
    assert!(
        serde_json::from_str::<ExportTraceServiceRequest>(last).is_ok(),
        "{text}"
    );
}

#[test]
fn a_file_that_cannot_be_opened_is_an_error_with_its_name() {
    let error = OtlpFileExporter::file("/nowhere/at/all.jsonl")
        .open()
        .unwrap_err();
    assert!(error.is_config());
    assert!(
        error.to_string().contains("/nowhere/at/all.jsonl"),
        "{error}"
    );
}

#[test]
fn the_variable_names_standard_output() {
    const TEST: &str = "the_variable_names_standard_output";
    if child::role().is_some() {
        let (layer, guard) = tracing_otlp::builder().build().unwrap();
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || {
            drop(tracing::info_span!("work"));
            tracing::info!("a record");
        });
        guard.shutdown_blocking(LONG).unwrap();
        return;
    }
    let variables = [
        ("OTEL_TRACES_EXPORTER", "otlp/stdout"),
        ("OTEL_LOGS_EXPORTER", "otlp/stdout"),
    ];
    let said = child::run_with(TEST, "prints", &variables).well();
    let line = |key: &str| {
        let mut lines = said.lines();
        lines.find_map(|l| l.find(key).map(|at| &l[at..])).unwrap()
    };
    let logs: serde_json::Value = serde_json::from_str(line(r#"{"resourceLogs""#)).unwrap();
    let record = &logs["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0];
    assert_eq!(record["body"]["stringValue"], "a record");
    let request: ExportTraceServiceRequest =
        serde_json::from_str(line(r#"{"resourceSpans""#)).unwrap();
    assert_eq!(
        request.resource_spans[0].scope_spans[0].spans[0].name,
        "work"
    );
}

/// The program with a file.
struct ViewerOfFile {
    program: std::process::Child,
    /// What it says of the file.
    told: String,
    page: String,
    token: String,
}

impl ViewerOfFile {
    fn start(path: &Path) -> Self {
        let mut program = Command::new(env!("CARGO_BIN_EXE_tracing-otlp-viewer"))
            .arg(path)
            .args(["--address", "127.0.0.1:0"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(program.stderr.take().unwrap()).lines();
        let told = lines.next().unwrap().unwrap();
        let at = lines.next().unwrap().unwrap();
        let url = at.split_once("http://").unwrap().1;
        let (page, token) = url.split_once("/?token=").unwrap();
        Self {
            program,
            told,
            page: page.to_owned(),
            token: token.to_owned(),
        }
    }

    fn get(&self, path: &str) -> serde_json::Value {
        let (page, token) = (&self.page, &self.token);
        let mut stream = TcpStream::connect(page).unwrap();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {page}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    }
}

impl Drop for ViewerOfFile {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

#[test]
fn the_viewer_reads_them_back() {
    let folder = Folder::new("viewer");
    let path = folder.path("shop.jsonl");
    drop(record(OtlpFileExporter::file(&path).open().unwrap(), 2));
    let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(b"no line of ours\n").unwrap();
    let viewer = ViewerOfFile::start(&path);
    let told = &viewer.told;
    assert!(
        told.contains("2 spans of ") && told.contains("1 lines are no OTLP"),
        "{told}"
    );
    let json = viewer.get("/api/traces");
    let traces = json["traces"].as_array().unwrap();
    assert_eq!(traces.len(), 2);
    assert_eq!(
        (&traces[0]["name"], &traces[0]["service"]),
        (&"work".into(), &"shop".into())
    );

    let missing = Command::new(env!("CARGO_BIN_EXE_tracing-otlp-viewer"))
        .arg(folder.path("missing.jsonl"))
        .output()
        .unwrap();
    assert!(!missing.status.success());
    assert!(String::from_utf8_lossy(&missing.stderr).contains("missing.jsonl"));
}

#[test]
fn the_viewer_reads_log_records_back() {
    let folder = Folder::new("viewer-logs");
    let path = folder.path("shop.jsonl");
    let (layer, guard) = tracing_otlp::builder()
        .without_env()
        .with_service_name("shop")
        .with_logs(Events::AsLogs)
        .with_exporter(OtlpFileExporter::file(&path).open().unwrap())
        .build()
        .unwrap();
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::with_default(subscriber, || {
        tracing::warn!(stock = 1, "of no trace");
        tracing::info_span!("checkout").in_scope(|| tracing::error!(order = 7, "of a trace"));
    });
    guard.shutdown_blocking(LONG).unwrap();
    let viewer = ViewerOfFile::start(&path);
    let told = &viewer.told;
    assert!(told.contains("1 spans and 2 log records of "), "{told}");
    let traces = viewer.get("/api/traces");
    assert_eq!(traces["traces"][0]["name"], "checkout");
    assert_eq!(traces["traces"][0]["log_records"], 1);
    let id = traces["traces"][0]["trace_id"].as_str().unwrap();
    let trace = viewer.get(&format!("/api/traces/{id}"));
    assert_eq!(trace["logs"][0]["span_id"], trace["spans"][0]["span_id"]);
    assert!(trace["logs"].to_string().contains("of a trace"), "{trace}");
    let logs = viewer.get("/api/logs");
    assert_eq!(logs["logs"].as_array().unwrap().len(), 1, "{logs}");
    assert!(logs["logs"].to_string().contains("of no trace"), "{logs}");
}

/// LOG-70: a file holds one signal.
#[test]
fn log_records_may_have_a_file_of_their_own() {
    let folder = Folder::new("two-files");
    let (traces, logs) = (folder.path("traces.jsonl"), folder.path("logs.jsonl"));
    let (layer, guard) = tracing_otlp::builder()
        .without_env()
        .with_service_name("shop")
        .with_logs(Events::AsLogs)
        .with_exporter(OtlpFileExporter::file(&traces).open().unwrap())
        .with_logs_exporter(OtlpFileExporter::file(&logs).open().unwrap())
        .build()
        .unwrap();
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::with_default(subscriber, || {
        tracing::info_span!("checkout").in_scope(|| tracing::warn!("only one left"));
    });
    guard.shutdown_blocking(LONG).unwrap();
    assert_eq!(spans(&traces).len(), 1);
    let (traces, logs) = (
        fs::read_to_string(traces).unwrap(),
        fs::read_to_string(logs).unwrap(),
    );
    assert!(!traces.contains("resourceLogs"), "{traces}");
    let mut lines = logs.lines();
    assert!(lines.all(|line| line.starts_with("{\"resourceLogs\"")));
    assert!(logs.contains("only one left"), "{logs}");
}
