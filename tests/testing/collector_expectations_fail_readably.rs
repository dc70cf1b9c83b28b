//! Each expectation of the test kit passes when it should, and fails with a message that says what
//! arrived and what did not.

use std::time::Duration;

use crate::support::{HttpClient, attribute, request, request_of, span};
use tracing_otlp::testing::{Answer, Collector};

/// A collector of little patience that has received spans of these names, one request each.
async fn holding(names: &[&str]) -> Collector {
    let builder = Collector::builder().with_patience(Duration::from_millis(20));
    let collector = builder.start().unwrap();
    let mut client = HttpClient::connect(&collector.http_endpoint()).await;
    for name in names {
        client.export(&request(&[*name])).await.unwrap();
    }
    collector
}

#[tokio::test]
async fn expectations_that_hold_return_what_was_expected() {
    let collector = holding(&["a", "b", "a"]).await;
    assert_eq!(collector.expect_spans(3).len(), 3);
    assert_eq!(collector.expect_span("b").name, "b");
    let [first, b, second] = collector.expect_names(["a", "b", "a"]);
    assert_eq!([&*first.name, &*b.name, &*second.name], ["a", "b", "a"]);

    let collector = holding(&[]).await;
    let mut client = HttpClient::connect(&collector.http_endpoint()).await;
    let mut child = span("root");
    child.parent_span_id = child.span_id;
    child.span_id = vec![99; 8];
    child.name = "child".to_owned();
    let message = request_of(vec![child, span("root")]);
    client.export(&message).await.unwrap();
    assert_eq!(collector.expect_trace(2).root().name, "root");
}

#[tokio::test]
async fn expectations_wait() {
    let collector = Collector::start();
    let endpoint = collector.http_endpoint();
    let sender = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut client = HttpClient::connect(&endpoint).await;
            for name in ["a", "b"] {
                client.export(&request(&[name])).await.unwrap();
            }
        });
    });
    let [b, a] = collector.expect_names(["b", "a"]);
    assert_eq!((&*b.name, &*a.name), ("b", "a"));
    sender.join().unwrap();
}

#[tokio::test]
#[should_panic(expected = "expected 2 spans within 20ms
  arrived: \"a\"
  1 request came, 1 was accepted, 0 could not be read")]
async fn too_few_spans() {
    holding(&["a"]).await.expect_spans(2);
}

#[tokio::test]
#[should_panic(expected = "expected 1 span within 20ms
  arrived: \"a\" ×2, \"b\"
  3 requests came, 3 were accepted, 0 could not be read")]
async fn too_many_spans() {
    holding(&["a", "b", "a"]).await.expect_spans(1);
}

#[tokio::test]
#[should_panic(expected = "expected a span \"c\" within 20ms
  arrived: \"a\", \"b\"
  2 requests came, 2 were accepted, 0 could not be read")]
async fn no_span_of_that_name() {
    holding(&["a", "b"]).await.expect_span("c");
}

#[tokio::test]
#[should_panic(expected = "expected spans \"a\", \"c\", \"a\" within 20ms
  missing: \"c\", \"a\"
  unexpected: \"b\"
  arrived: \"a\", \"b\"
  2 requests came, 2 were accepted, 0 could not be read")]
async fn names_that_are_missing() {
    let collector = holding(&["a", "b"]).await;
    let _ = collector.expect_names(["a", "c", "a"]);
}

#[tokio::test]
#[should_panic(expected = "expected spans \"a\" within 20ms
  missing: none
  unexpected: \"b\"
  arrived: \"a\", \"b\"
  2 requests came, 2 were accepted, 0 could not be read")]
async fn names_that_are_too_many() {
    let collector = holding(&["a", "b"]).await;
    let _ = collector.expect_names(["a"]);
}

#[tokio::test]
#[should_panic(expected = "expected 1 span within 20ms
  arrived: none
  2 requests came, 0 were accepted, 1 could not be read")]
async fn refused_and_malformed_requests_are_told() {
    let collector = holding(&[]).await;
    collector.script([Answer::unavailable()]);
    let mut client = HttpClient::connect(&collector.http_endpoint()).await;
    client.export(&request(&["a"])).await.unwrap();
    client.export(b"\xff").await.unwrap();
    collector.expect_spans(1);
}

#[tokio::test]
#[should_panic(expected = "expected one trace of 2 spans, they belong to 2:
trace 7d7d7d7d7d7d7d7d7d7d7d7d7d7d7d7d · shop · 1 span · 1.50 ms

b  1.50 ms")]
async fn spans_of_two_traces() {
    let collector = holding(&["b", "a"]).await;
    let _ = collector.expect_trace(2);
}

#[tokio::test]
#[should_panic(expected = "span \"a\" has no attribute \"http.rout\", it has [\"http.route\"]")]
async fn an_attribute_that_is_not_there() {
    let collector = holding(&[]).await;
    let mut client = HttpClient::connect(&collector.http_endpoint()).await;
    let mut sent = span("a");
    sent.attributes = vec![attribute("http.route", "/")];
    client.export(&request_of(vec![sent])).await.unwrap();
    let span = collector.expect_span("a");
    assert_eq!(span["http.route"], "/");
    let _ = &span["http.rout"];
}
