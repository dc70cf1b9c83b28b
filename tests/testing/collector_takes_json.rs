//! OTLP/HTTP with JSON bodies comes to the same port as with protobuf, and is answered in JSON.

use tracing::{info_span, warn};
use tracing_otlp::config::Compression;
use tracing_otlp::testing::{Answer, Collector};
use tracing_otlp::{DropReason, Events, Protocol};

use crate::support::pipeline::{Pipeline, builder};
use crate::support::{DEADLINE, HttpClient};

const JSON: (&str, &str) = ("content-type", "application/json");

fn json(collector: &Collector) -> tracing_otlp::OtlpBuilder {
    let endpoint = collector.endpoint(Protocol::HttpJson);
    builder(Protocol::HttpJson, &endpoint).with_logs(Events::AsBoth)
}

#[test]
fn spans_and_records_in_json_are_those_that_were_made() {
    for compression in [Compression::None, Compression::Gzip] {
        let collector = Collector::start();
        let pipeline = Pipeline::start(json(&collector).with_compression(compression));
        pipeline.within(|| {
            let root = info_span!(
                "root",
                n = 1_i64 << 60,
                ratio = 0.5,
                "text \"quoted\"" = true
            );
            root.in_scope(|| warn!(bytes = ?[1, 2], "inside"));
        });
        pipeline.flush().unwrap();
        let span = collector.expect_span("root");
        let value = |key| span.attr(key).map(ToString::to_string);
        assert_eq!(value("n").as_deref(), Some("1152921504606846976"));
        assert_eq!(value("ratio").as_deref(), Some("0.5"));
        assert_eq!(span.events[0].name, "inside");
        let log = collector.expect_log("inside");
        assert!(log.is_of(&span));
        assert_eq!(
            (log.severity_number, log.attr("bytes").unwrap().as_str()),
            (13, Some("[1, 2]"))
        );
        for request in collector.requests() {
            assert_eq!(request.protocol, Protocol::HttpJson);
            assert_eq!(request.header("content-type"), Some("application/json"));
        }
        assert!(collector.malformed().is_empty());
        let stats = pipeline.settle(1);
        assert_eq!((stats.delivered, stats.logs.delivered), (1, 1), "{stats}");
    }
}

#[test]
fn the_script_holds_for_json_too() {
    let collector = Collector::start();
    let pipeline = Pipeline::start(json(&collector));
    let spans = |n: usize| pipeline.within(|| (0..n).for_each(|_| drop(info_span!("one"))));
    // Tried again.
    collector.script([Answer::http(503).retry_after("0"), Answer::unavailable()]);
    spans(2);
    pipeline.flush().unwrap();
    collector.script([Answer::partial(1, "too old")]);
    spans(2);
    let error = pipeline.flush().unwrap_err().to_string();
    assert!(error.contains("too old"), "{error}");
    collector.script([Answer::http(400)]);
    spans(2);
    pipeline.flush().unwrap_err();
    collector.script([Answer::garbage()]);
    spans(1);
    pipeline.flush().unwrap();
    let stats = pipeline.stats();
    let refused = stats.dropped(DropReason::Refused);
    assert_eq!(
        (stats.delivered, stats.rejected, refused),
        (4, 1, 2),
        "{stats}"
    );
    assert!(collector.requests().len() >= 5);
    drop(pipeline.guard.shutdown_blocking(DEADLINE));
    assert_eq!(pipeline.stats().unaccounted(), 0);
}

#[tokio::test]
async fn what_is_no_otlp_in_json_is_refused_with_its_key() {
    let collector = Collector::start();
    let mut client = HttpClient::connect(&collector.http_endpoint()).await;
    for (body, why) in [
        ("{", "JSON"),
        ("[]", "object"),
        (r#"{"resourceSpans":3}"#, "resourceSpans"),
        (
            r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"xyz"}]}]}]}"#,
            "traceId",
        ),
    ] {
        let headers = [JSON];
        let reply = client
            .send("POST", "/v1/traces", &headers, body.into())
            .await;
        let reply = reply.unwrap();
        let text = String::from_utf8(reply.body.to_vec()).unwrap();
        assert_eq!(reply.status, 400, "{body}");
        assert_eq!(reply.header("content-type"), Some("application/json"));
        assert!(
            text.contains(r#""code":3"#) && text.contains(why),
            "{body}: {text}"
        );
    }
    assert_eq!(collector.malformed().len(), 4);
    assert_eq!(collector.malformed()[0].protocol, Protocol::HttpJson);
    let headers = [JSON];
    let reply = client.send("POST", "/v1/logs", &headers, "{}".into()).await;
    let reply = reply.unwrap();
    assert_eq!((reply.status, &reply.body[..]), (200, &b"{}"[..]));
}
