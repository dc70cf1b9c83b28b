//! What frames of HTTP/2 say about a request: whether it has begun, whether it may have been taken, and whether its
//! answer is whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::frames::{EMPTY, HEAD, Reply, data, go_away, headers, ok, serve, settings};
use crate::support::pace::fit;
use crate::support::pipeline::{Pipeline, builder, last_error, told};
use tracing_otlp::{DropReason, Protocol};

#[test]
fn an_endpoint_that_lets_no_request_begin_is_not_called_unreachable() {
    const MAX_CONCURRENT_STREAMS: u16 = 3;
    let url = serve(settings(&[(MAX_CONCURRENT_STREAMS, 0)]), |_, stream| {
        Reply::Send(ok(stream))
    });
    let timeout = fit(Duration::from_millis(300));
    let pipeline = Pipeline::start(builder(Protocol::Grpc, &url).with_timeout(timeout));
    pipeline.spans(3, 10);
    let error = pipeline.guard.shutdown_blocking(4 * timeout).unwrap_err();
    let stats = pipeline.until(|stats| stats.in_flight == 0);
    let said = format!("{error} {}", last_error(&stats));
    for part in ["lets no request begin", "MAX_CONCURRENT_STREAMS"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    for wrong in ["no connection", "firewall", "its own log, or that"] {
        assert!(!said.contains(wrong), "{wrong}: {said}");
    }
    // Nothing was sent.
    assert_eq!(
        stats.dropped(DropReason::Unconfirmed),
        0,
        "{}",
        told(&stats)
    );
    assert_eq!(stats.dropped_total(), 3, "{}", told(&stats));
}

/// A proxy that passes no trailers on: the spans may be there, and nobody has refused them.
#[test]
fn an_answer_without_its_end_is_neither_a_success_nor_a_refusal() {
    let page = [(":status", "200"), ("content-type", "text/html")];
    for (head, reason, parts) in [
        (HEAD, DropReason::Unconfirmed, ["trailers", "proxy"]),
        (page, DropReason::Refused, ["no gRPC", "http/protobuf"]),
    ] {
        let requests = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&requests);
        let url = serve(settings(&[]), move |_, stream| {
            count.fetch_add(1, Ordering::SeqCst);
            let answer = [headers(stream, false, &head), data(stream, true, &EMPTY)];
            Reply::Send(answer.concat())
        });
        let pipeline = Pipeline::start(builder(Protocol::Grpc, &url));
        pipeline.spans(3, 10);
        let error = pipeline.flush().unwrap_err().to_string();
        for part in ["answered without a grpc-status", parts[0], parts[1]] {
            assert!(error.contains(part), "{part}: {error}");
        }
        let stats = pipeline.settle(0);
        assert_eq!(stats.dropped(reason), 3, "{}", told(&stats));
        assert_eq!(requests.load(Ordering::SeqCst), 1, "asked once");
    }
}

/// A farewell names the last stream that was, or might be, processed: what came before it may be there twice.
#[test]
fn a_farewell_says_what_may_have_been_taken() {
    const ALL: u32 = 0x7fff_ffff;
    for (farewell, doubles) in [
        (vec![go_away(0, 0)], 0),
        (vec![go_away(0, 11)], 0),
        // First of all, as graceful servers do, and then as it is.
        (vec![go_away(ALL, 0), go_away(0, 0)], 0),
        (vec![go_away(ALL, 0), go_away(1, 0)], 3),
        (vec![go_away(1, 0)], 3),
        (vec![go_away(1, 2)], 3),
        (vec![go_away(ALL, 11)], 3),
    ] {
        let shown = format!("{farewell:?}");
        let url = serve(settings(&[]), move |n, stream| match n {
            0 => Reply::Last(farewell.concat()),
            _ => Reply::Send(ok(stream)),
        });
        let pipeline = Pipeline::start(builder(Protocol::Grpc, &url));
        pipeline.spans(3, 10);
        pipeline.flush().unwrap();
        let stats = pipeline.settle(3);
        assert_eq!(
            stats.possible_duplicates,
            doubles,
            "{shown}: {}",
            told(&stats)
        );
    }
}
