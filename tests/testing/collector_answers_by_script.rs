//! The test collector misbehaves on command: each fault as a client sees it.

use std::error::Error;
use std::time::{Duration, Instant};

use crate::support::pace::fit;
use crate::support::{DEADLINE, GrpcClient, HttpClient, address, framed, request};
use http_body_util::Full;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tracing_otlp::testing::{Answer, Collector};

/// What `google.rpc.Status` with `RetryInfo` of 2.5 s looks like, by the .proto files.
const RETRY_STATUS: &[u8] = b"\x08\x0e\x12\x04busy\x1a\x36\
    \x0a\x28type.googleapis.com/google.rpc.RetryInfo\
    \x12\x0a\x0a\x08\x08\x02\x10\x80\xca\xb5\xee\x01";

#[tokio::test]
async fn answers_are_used_in_order_then_all_is_well() {
    let collector = Collector::start();
    let mut client = GrpcClient::connect(&collector.grpc_endpoint()).await;
    collector.script([Answer::grpc(14, "später"), Answer::grpc(3, "50% bad")]);
    let mut answers = Vec::new();
    for name in ["a", "b", "c"] {
        answers.push(client.export(&request(&[name])).await.unwrap().grpc());
    }
    let expected = [(14, "später"), (3, "50% bad"), (0, "")];
    assert_eq!(
        answers,
        expected.map(|(code, text)| (code, text.to_owned()))
    );

    assert_eq!(collector.received_attempts(), 3);
    assert_eq!(collector.script_left(), 0);
    let accepted: Vec<_> = collector.requests().iter().map(|r| r.accepted).collect();
    assert_eq!(accepted, [false, false, true]);
    let attempts: Vec<_> = collector.requests().iter().map(|r| r.attempt).collect();
    assert_eq!(attempts, [1, 2, 3]);
    let spans = collector.spans();
    assert_eq!(spans.len(), 1);
    assert_eq!(spans[0].name, "c");
}

#[tokio::test]
async fn always_holds_until_it_is_changed() {
    let collector = Collector::start();
    let mut client = HttpClient::connect(&collector.http_endpoint()).await;
    collector.always(Answer::unavailable());
    for _ in 0..3 {
        assert_eq!(client.export(&request(&["a"])).await.unwrap().status, 503);
    }
    collector.always(Answer::ok());
    assert_eq!(client.export(&request(&["a"])).await.unwrap().status, 200);
    assert_eq!(collector.span_count(), 1);
}

#[tokio::test]
async fn partial_success() {
    let collector = Collector::start();
    collector.script([
        Answer::partial(2, "too old"),
        Answer::partial(0, "slow down"),
    ]);
    let mut grpc = GrpcClient::connect(&collector.grpc_endpoint()).await;
    let reply = grpc.export(&request(&["a", "b"])).await.unwrap();
    assert_eq!(reply.grpc().0, 0);
    let response = ExportTraceServiceResponse::decode(&reply.body[5..]).unwrap();
    let partial = response.partial_success.unwrap();
    assert_eq!(
        (partial.rejected_spans, &*partial.error_message),
        (2, "too old")
    );

    let mut http = HttpClient::connect(&collector.http_endpoint()).await;
    let reply = http.export(&request(&["c"])).await.unwrap();
    assert_eq!(reply.status, 200);
    let response = ExportTraceServiceResponse::decode(&reply.body[..]).unwrap();
    let partial = response.partial_success.unwrap();
    assert_eq!(
        (partial.rejected_spans, &*partial.error_message),
        (0, "slow down")
    );
    assert_eq!(collector.span_count(), 3);
}

#[tokio::test]
async fn retry_hints_travel_as_each_protocol_has_them() {
    let collector = Collector::start();
    let answer = Answer::grpc(14, "busy").retry_info(Duration::from_millis(2500));
    collector.script([answer.clone(), answer.retry_after("7")]);

    let mut grpc = GrpcClient::connect(&collector.grpc_endpoint()).await;
    let reply = grpc.export(&request(&["a"])).await.unwrap();
    assert_eq!(reply.grpc(), (14, "busy".to_owned()));
    let details = reply.header("grpc-status-details-bin").unwrap();
    assert_eq!(base64_decoded(details), RETRY_STATUS);
    assert_eq!(reply.header("retry-after"), None);

    let mut http = HttpClient::connect(&collector.http_endpoint()).await;
    let reply = http.export(&request(&["a"])).await.unwrap();
    assert_eq!(reply.status, 503);
    assert_eq!(reply.header("retry-after"), Some("7"));
    assert_eq!(reply.body, RETRY_STATUS);
}

#[tokio::test]
async fn a_status_of_the_other_protocol_is_what_a_proxy_would_say() {
    let collector = Collector::start();
    collector.script([Answer::http(502)]);
    let mut grpc = GrpcClient::connect(&collector.grpc_endpoint()).await;
    let reply = grpc.export(&request(&["a"])).await.unwrap();
    assert_eq!((reply.status, reply.header("grpc-status")), (502, None));

    let mut http = HttpClient::connect(&collector.http_endpoint()).await;
    for (code, status) in [
        (3, 400),
        (4, 504),
        (7, 403),
        (8, 429),
        (12, 404),
        (13, 500),
        (14, 503),
        (16, 401),
    ] {
        collector.script([Answer::grpc(code, "no")]);
        let reply = http.export(&request(&["a"])).await.unwrap();
        assert_eq!(reply.status, status, "for code {code}");
    }
    assert_eq!(collector.span_count(), 0);
}

#[tokio::test]
async fn a_late_answer_comes_late_and_takes_the_spans_only_then() {
    let collector = Collector::start();
    let delay = fit(Duration::from_millis(150));
    collector.script([Answer::ok().after(delay)]);
    let mut client = GrpcClient::connect(&collector.grpc_endpoint()).await;
    let sent = Instant::now();
    let message = request(&["a"]);
    let reply = client.export(&message);
    tokio::pin!(reply);
    // Polled until the request has arrived and waits for its answer.
    let arrived = collector.wait_until_async(DEADLINE, |c| !c.requests().is_empty());
    tokio::select! {
        biased;
        arrived = arrived => arrived.unwrap(),
        reply = &mut reply => panic!("answered at once: {reply:?}"),
    }
    let accepted = collector.requests()[0].accepted;
    assert!(!accepted || sent.elapsed() >= delay);
    assert_eq!(reply.await.unwrap().grpc().0, 0);
    assert!(sent.elapsed() >= delay);
    assert_eq!(collector.span_count(), 1);
}

#[tokio::test]
async fn a_client_that_gives_up_takes_its_spans_with_it() {
    let collector = Collector::start();
    let early = fit(Duration::from_millis(50));
    let late = 4 * early;
    collector.script([Answer::ok().after(early), Answer::ok().after(late)]);
    for mut client in [
        HttpClient::connect(&collector.http_endpoint()).await,
        HttpClient::connect(&collector.http_endpoint()).await,
    ] {
        let wanted = collector.requests().len() + 1;
        let message = request(&["a"]);
        let reply = client.export(&message);
        tokio::pin!(reply);
        let arrived = collector.wait_until_async(DEADLINE, |c| c.requests().len() == wanted);
        tokio::select! {
            biased;
            arrived = arrived => arrived.unwrap(),
            reply = &mut reply => panic!("answered: {reply:?}"),
        }
        if wanted == 2 {
            // The first one's answer would have been due long before this one's.
            assert_eq!(reply.await.unwrap().status, 200);
        }
    }
    let accepted: Vec<_> = collector.requests().iter().map(|r| r.accepted).collect();
    assert_eq!(accepted, [false, true]);
    assert_eq!(
        (collector.span_count(), collector.received_attempts()),
        (1, 2)
    );
}

#[tokio::test]
async fn a_request_that_is_never_answered_is_not_taken() {
    let collector = Collector::start();
    collector.script([Answer::never()]);
    let mut client = GrpcClient::connect(&collector.grpc_endpoint()).await;
    let message = request(&["a"]);
    let unanswered = async {
        let arrived = collector.wait_until_async(DEADLINE, |c| c.requests().len() == 1);
        let unanswered = client.export(&message);
        tokio::pin!(unanswered);
        tokio::select! {
            arrived = arrived => arrived.unwrap(),
            reply = &mut unanswered => panic!("answered: {reply:?}"),
        }
        timeout(Duration::from_millis(100), unanswered).await
    };
    let unanswered = unanswered.await;
    assert!(unanswered.is_err(), "{unanswered:?}");
    assert_eq!(client.export(&message).await.unwrap().grpc().0, 0);
    let accepted: Vec<_> = collector.requests().iter().map(|r| r.accepted).collect();
    assert_eq!(accepted, [false, true]);
}

#[tokio::test]
async fn connections_are_closed_before_or_after_the_body() {
    for (answer, bodies) in [(Answer::close(), 0), (Answer::close_after_body(), 1)] {
        let collector = Collector::start();
        collector.script([answer.clone(), answer]);
        let mut http = HttpClient::connect(&collector.http_endpoint()).await;
        http.export(&request(&["a"])).await.unwrap_err();
        assert_eq!(collector.requests().len(), bodies);
        let mut grpc = GrpcClient::connect(&collector.grpc_endpoint()).await;
        let error = grpc.export(&request(&["a"])).await.unwrap_err();
        assert_eq!(
            h2_reason(&error),
            None,
            "the connection, not a stream: {error:?}"
        );
        assert_eq!(collector.requests().len(), 2 * bodies);
        assert_eq!(
            (collector.received_attempts(), collector.span_count()),
            (2, 0)
        );

        let mut grpc = GrpcClient::connect(&collector.grpc_endpoint()).await;
        assert_eq!(grpc.export(&request(&["a"])).await.unwrap().grpc().0, 0);
        assert_eq!(collector.connections(), 3);
    }
}

#[tokio::test]
async fn a_refused_stream_is_reset_and_its_connection_lives_on() {
    let collector = Collector::start();
    collector.script([Answer::refuse_stream()]);
    let mut client = GrpcClient::connect(&collector.grpc_endpoint()).await;
    let error = client.export(&request(&["a"])).await.unwrap_err();
    assert_eq!(h2_reason(&error), Some(h2::Reason::REFUSED_STREAM));
    assert_eq!(client.export(&request(&["a"])).await.unwrap().grpc().0, 0);
    assert_eq!(collector.connections(), 1);
}

#[tokio::test]
async fn go_away_says_that_nothing_was_processed() {
    let collector = Collector::start();
    collector.script([Answer::go_away()]);
    let mut client = GrpcClient::connect(&collector.grpc_endpoint()).await;
    let error = client.export(&request(&["a"])).await.unwrap_err();
    let h2 = h2_error(&error).expect("an HTTP/2 error");
    assert!(h2.is_go_away() && h2.is_remote(), "{h2:?}");
    assert_eq!(h2.reason(), Some(h2::Reason::NO_ERROR));
    client.export(&request(&["a"])).await.unwrap_err();
    assert_eq!(collector.received_attempts(), 1);
}

#[tokio::test]
async fn a_frozen_connection_answers_no_ping_and_new_ones_are_served() {
    let collector = Collector::start();
    collector.script([Answer::freeze()]);
    // An HTTP/2 client by hand: preface, empty SETTINGS, headers are left to hyper below.
    let mut stream = tokio::net::TcpStream::connect(address(&collector.grpc_endpoint()))
        .await
        .unwrap();
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    stream
        .write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0])
        .await
        .unwrap();
    // POST, scheme http, path and content-type as literals: one HEADERS frame that ends the stream.
    let mut block = vec![0x83, 0x86];
    for (index, value) in [(4, crate::support::GRPC_PATH), (31, "application/grpc")] {
        // Literal without indexing: a name from the static table, then the value's length.
        if index < 15 {
            block.push(index);
        } else {
            block.extend([0x0f, index - 15]);
        }
        block.push(value.len() as u8);
        block.extend(value.as_bytes());
    }
    let mut frame = vec![0, 0, block.len() as u8, 1, 0x5, 0, 0, 0, 1];
    frame.extend(block);
    stream.write_all(&frame).await.unwrap();
    collector
        .wait_until_async(DEADLINE, |c| c.script_left() == 0)
        .await
        .unwrap();
    assert_eq!(collector.received_attempts(), 1);

    let mut other = GrpcClient::connect(&collector.grpc_endpoint()).await;
    assert_eq!(other.export(&request(&["a"])).await.unwrap().grpc().0, 0);

    // A ping is never acknowledged: all that ever comes was sent before the freeze.
    stream
        .write_all(&[0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8])
        .await
        .unwrap();
    let mut seen = Vec::new();
    let end = timeout(Duration::from_millis(200), stream.read_to_end(&mut seen)).await;
    assert!(end.is_err(), "still open");
    assert!(
        !seen.windows(8).any(|w| w == [1, 2, 3, 4, 5, 6, 7, 8]),
        "{seen:?}"
    );
}

#[tokio::test]
async fn oversize_and_garbage_are_what_they_say() {
    let collector = Collector::start();
    collector.script([
        Answer::oversize(100_000),
        Answer::oversize(100_000).gzip(),
        Answer::garbage(),
        Answer::oversize(100_000).gzip(),
    ]);
    let mut grpc = GrpcClient::connect(&collector.grpc_endpoint()).await;
    let reply = grpc.export(&request(&["a"])).await.unwrap();
    assert!(reply.body.len() > 100_000);
    ExportTraceServiceResponse::decode(&reply.body[5..]).unwrap();

    let reply = grpc.export(&request(&["a"])).await.unwrap();
    assert!(reply.body.len() < 10_000, "compressed");
    assert_eq!(
        (reply.body[0], reply.header("grpc-encoding")),
        (1, Some("gzip"))
    );

    let mut http = HttpClient::connect(&collector.http_endpoint()).await;
    let reply = http.export(&request(&["a"])).await.unwrap();
    assert_eq!(reply.status, 200);
    ExportTraceServiceResponse::decode(&reply.body[..]).unwrap_err();

    let reply = http.export(&request(&["a"])).await.unwrap();
    assert_eq!(reply.header("content-encoding"), Some("gzip"));
    assert!(reply.body.len() < 10_000, "compressed");
    assert_eq!(collector.span_count(), 4);
}

#[tokio::test]
async fn a_malformed_request_is_answered_as_scripted_but_never_taken() {
    let collector = Collector::start();
    collector.script([Answer::unavailable(), Answer::partial(1, "x")]);
    let mut client = GrpcClient::connect(&collector.grpc_endpoint()).await;
    assert_eq!(client.export(b"\xff").await.unwrap().grpc().0, 14);
    assert_eq!(client.export(b"\xff").await.unwrap().grpc().0, 0);
    assert_eq!(
        (collector.malformed().len(), collector.span_count()),
        (2, 0)
    );
}

#[tokio::test]
async fn a_wrong_path_uses_no_answer() {
    let collector = Collector::start();
    collector.script([Answer::unavailable()]);
    let mut client = HttpClient::connect(&collector.http_endpoint()).await;
    let reply = client.send("POST", "/", &[], vec![]).await.unwrap();
    assert_eq!((reply.status, collector.script_left()), (404, 1));
}

#[tokio::test]
async fn both_versions_of_http_are_spoken_at_the_http_port() {
    let collector = Collector::start();
    let mut client = GrpcClient::connect(&collector.http_endpoint()).await;
    let request = http::Request::post("http://127.0.0.1/v1/traces")
        .header("content-type", "application/x-protobuf")
        .body(Full::from(request(&["a"])))
        .unwrap();
    assert_eq!(client.send_request(request).await.unwrap().status, 200);
    assert_eq!(collector.requests()[0].version, http::Version::HTTP_2);
    let grpc = client.send(framed(false, b""), &[]).await.unwrap();
    assert_eq!(
        grpc.status, 404,
        "a gRPC client at the wrong port learns it"
    );
}

fn h2_error(error: &hyper::Error) -> Option<&h2::Error> {
    let mut source = error.source();
    while let Some(e) = source {
        if let Some(h2) = e.downcast_ref::<h2::Error>() {
            return Some(h2);
        }
        source = e.source();
    }
    None
}

/// The reason of a reset stream.
fn h2_reason(error: &hyper::Error) -> Option<h2::Reason> {
    h2_error(error).filter(|e| e.is_reset())?.reason()
}

fn base64_decoded(text: &str) -> Vec<u8> {
    const DIGITS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits: String = text
        .chars()
        .map(|c| format!("{:06b}", DIGITS.find(c).expect("a digit of base64")))
        .collect();
    let bytes = bits.as_bytes().chunks_exact(8);
    bytes
        .map(|b| u8::from_str_radix(std::str::from_utf8(b).unwrap(), 2).unwrap())
        .collect()
}
