//! `http/json`: the same spans, as the OTLP specification writes them in JSON, by the client that sends all
//! others: retried, compressed, counted (OTLP-5, OTLP-8).
#![cfg(feature = "http-json")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::support::pipeline::{Pipeline, builder, told};
use serde_json::Value;
use tracing_otlp::config::Compression;
use tracing_otlp::{Events, OtlpBuilder, Protocol};

/// What came: the head, in lower case, and the body.
struct Request {
    head: String,
    body: Value,
}

/// A receiver that answers by script, one status and body after the other, then `200 {}`.
struct Receives {
    endpoint: String,
    requests: Receiver<Request>,
}

type Script = Arc<Mutex<Vec<(u16, &'static str)>>>;

fn receive(mut script: Vec<(u16, &'static str)>) -> Receives {
    script.reverse();
    let script: Script = Arc::new(Mutex::new(script));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (sender, requests) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (script, sender) = (Arc::clone(&script), sender.clone());
            thread::spawn(move || serve(stream.unwrap(), &script, &sender));
        }
    });
    Receives { endpoint, requests }
}

fn serve(mut stream: TcpStream, script: &Script, sender: &Sender<Request>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).unwrap_or(0) == 0 {
                return;
            }
        }
        let head = head.to_lowercase();
        let field = |name: &str| {
            let line = head.lines().find_map(|line| line.strip_prefix(name));
            line.map(str::trim)
        };
        let len = field("content-length:").unwrap().parse().unwrap();
        let mut bytes = vec![0; len];
        reader.read_exact(&mut bytes).unwrap();
        if field("content-encoding:") == Some("gzip") {
            let mut plain = Vec::new();
            let mut decoder = flate2::read::GzDecoder::new(&bytes[..]);
            decoder.read_to_end(&mut plain).unwrap();
            bytes = plain;
        }
        let body = serde_json::from_slice(&bytes).expect("JSON");
        let _ = sender.send(Request { head, body });
        let (status, answer) = script.lock().unwrap().pop().unwrap_or((200, "{}"));
        let answer = format!(
            "HTTP/1.1 {status} Said\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{answer}",
            answer.len()
        );
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn json(receives: &Receives) -> OtlpBuilder {
    builder(Protocol::HttpJson, &receives.endpoint).with_service_name("shop")
}

fn spans(body: &Value) -> Vec<Value> {
    let scopes = body["resourceSpans"][0]["scopeSpans"].as_array().unwrap();
    let spans = scopes.iter().flat_map(|scope| scope["spans"].as_array());
    spans.flatten().cloned().collect()
}

/// The value of an attribute.
fn attribute<'a>(of: &'a Value, key: &str) -> &'a Value {
    let all = of["attributes"].as_array().unwrap();
    &all.iter().find(|a| a["key"] == key).unwrap()["value"]
}

#[test]
fn spans_arrive_as_the_specification_writes_them() {
    let receives = receive(vec![]);
    let pipeline = Pipeline::start(json(&receives).with_header("x-team", "shop"));
    pipeline.within(|| {
        let parent = tracing::info_span!("parent", count = 3_i64, ratio = 0.5, ok = true);
        let _entered = parent.entered();
        tracing::info!(text = "ü\n\"", "it happened");
        drop(tracing::info_span!("child"));
    });
    pipeline.flush().unwrap();
    let request = receives.requests.recv().unwrap();
    assert!(
        request.head.starts_with("post /v1/traces http/1.1"),
        "{}",
        request.head
    );
    for line in [
        "content-type: application/json",
        "x-team: shop",
        "user-agent: tracing-otlp/",
    ] {
        assert!(request.head.contains(line), "{}", request.head);
    }
    let resource = &request.body["resourceSpans"][0]["resource"];
    assert_eq!(attribute(resource, "service.name")["stringValue"], "shop");
    let spans = spans(&request.body);
    let named = |name: &str| spans.iter().find(|s| s["name"] == name).unwrap();
    let (parent, child) = (named("parent"), named("child"));
    let hex = |value: &Value, len: usize| {
        let text = value.as_str().unwrap();
        assert!(
            text.len() == len && text.chars().all(|c| c.is_ascii_hexdigit()),
            "{text}"
        );
    };
    hex(&parent["traceId"], 32);
    hex(&parent["spanId"], 16);
    assert_eq!(child["parentSpanId"], parent["spanId"]);
    assert_eq!(child["traceId"], parent["traceId"]);
    // 64 bits are more than a number of JSON holds.
    let start: u64 = parent["startTimeUnixNano"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!(start > 1_500_000_000_000_000_000);
    assert_eq!(attribute(parent, "count")["intValue"], "3");
    assert_eq!(attribute(parent, "ratio")["doubleValue"], 0.5);
    assert_eq!(attribute(parent, "ok")["boolValue"], true);
    let event = &parent["events"][0];
    assert_eq!(event["name"], "it happened");
    assert_eq!(attribute(event, "text")["stringValue"], "ü\n\"");
    let stats = pipeline.settle(2);
    assert_eq!(stats.delivered, 2, "{}", told(&stats));
}

#[test]
fn it_is_retried_compressed_and_counted_as_protobuf_is() {
    let partial = r#"{"partialSuccess":{"rejectedSpans":"2","errorMessage":"too old"}}"#;
    let receives = receive(vec![(503, ""), (200, "{}"), (200, partial), (400, "no")]);
    let pipeline = Pipeline::start(json(&receives).with_compression(Compression::Gzip));
    let send = |n| {
        pipeline.spans(n, 10);
        pipeline.flush()
    };
    send(5).unwrap();
    let error = send(3).unwrap_err().to_string();
    assert!(error.contains("too old"), "{error}");
    let error = send(1).unwrap_err().to_string();
    assert!(error.contains("400"), "{error}");
    let counts: Vec<_> = receives
        .requests
        .try_iter()
        .map(|r| spans(&r.body).len())
        .collect();
    assert_eq!(counts, [5, 5, 3, 1]);
    let stats = pipeline.settle(8);
    let figures = (
        stats.delivered,
        stats.rejected,
        stats.dropped_total(),
        stats.retries,
    );
    assert_eq!(figures, (6, 2, 1, 1), "{}", told(&stats));
}

/// Records are JSON too, at a path of their own; what the endpoint rejects of them is counted as theirs.
#[test]
fn logs_are_json_and_their_rejection_is_read() {
    let receives = receive(vec![(
        200,
        r#"{"partialSuccess":{"rejectedLogRecords":"1","errorMessage":"old"}}"#,
    )]);
    let pipeline = Pipeline::start(json(&receives).with_logs(Events::AsLogs));
    pipeline.within(|| tracing::warn!(left = 3_i64, "only three left"));
    let error = pipeline.flush().unwrap_err().to_string();
    assert!(error.contains("rejected"), "{error}");
    let request = receives.requests.recv().unwrap();
    assert!(
        request.head.starts_with("post /v1/logs http/1.1"),
        "{}",
        request.head
    );
    assert!(request.head.contains("content-type: application/json"));
    let record = &request.body["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0];
    assert_eq!(record["body"]["stringValue"], "only three left", "{record}");
    assert_eq!(record["severityNumber"], 13);
    assert_eq!(attribute(record, "left")["intValue"], "3");
    let logs = pipeline.stats().logs;
    assert_eq!((logs.delivered, logs.rejected), (0, 1));
}
