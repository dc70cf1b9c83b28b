//! A batch that is too large goes in parts, and a span that is too large costs only itself
//! (OTLP-12, PAIN 28).

use std::time::Duration;

use crate::support::pace::fit;
use crate::support::pipeline::{BOTH, Pipeline, builder, distinct, last_error, told};
use tracing_otlp::config::Compression;
use tracing_otlp::testing::{Answer, Collector};
use tracing_otlp::{DropReason, Protocol};

/// What an endpoint answers to what is too large.
fn too_large(protocol: Protocol) -> Answer {
    match protocol {
        Protocol::Grpc => Answer::grpc(8, "message too large"),
        _ => Answer::http(413),
    }
}

#[test]
fn spans_of_20_kb_arrive_in_several_requests_pain_28() {
    for protocol in BOTH {
        for compression in [Compression::None, Compression::Gzip] {
            // The server's limit holds after decompression too.
            let collector = Collector::start();
            let endpoint = collector.endpoint(protocol);
            let pipeline = Pipeline::start(
                builder(protocol, &endpoint)
                    .with_compression(compression)
                    .configure(|c| c.connection.max_request_size = 64 << 20),
            );
            pipeline.spans(512, 20_000);
            pipeline.flush().unwrap();
            let requests = collector.requests();
            assert!(requests.len() > 1);
            assert!(requests.iter().filter(|r| r.accepted).count() > 1);
            let stats = pipeline.settle(distinct(&collector));
            assert_eq!(stats.delivered, 512, "{protocol:?}: {}", told(&stats));
        }
    }
}

#[test]
fn one_span_of_10_mb_is_dropped_alone_and_named_pain_28() {
    for protocol in BOTH {
        let collector = Collector::start();
        let endpoint = collector.endpoint(protocol);
        // With less memory the span would leave the body out.
        let builder = builder(protocol, &endpoint).with_max_memory(512 << 20);
        let pipeline = Pipeline::start(builder.with_max_concurrent_exports(1));
        pipeline.spans(40, 100);
        let body = "x".repeat(10 << 20);
        pipeline.within(|| drop(tracing::info_span!("upload of a film", body)));
        pipeline.spans(40, 100);
        // Also if it had been sent and settled before.
        let error = pipeline.flush().unwrap_err().to_string();
        assert!(error.contains("upload of a film"), "{error}");
        let stats = pipeline.settle(distinct(&collector));
        assert_eq!(stats.delivered, 80, "{protocol:?}: {}", told(&stats));
        assert_eq!(stats.dropped(DropReason::TooLarge), 1, "{}", told(&stats));
        let error = last_error(&stats);
        assert!(error.contains("upload of a film"), "{error}");
        // With the resource, in which the path of this program is.
        assert!(error.contains(" of 10486"), "its size: {error}");
    }
}

#[test]
fn what_exceeds_the_exporter_s_own_limit_is_never_sent_otlp_12() {
    for protocol in BOTH {
        let collector = Collector::start();
        let endpoint = collector.endpoint(protocol);
        let pipeline = Pipeline::start(
            builder(protocol, &endpoint)
                .configure(|c| c.connection.max_request_size = 8 << 10)
                .with_compression(Compression::Gzip),
        );
        pipeline.spans(100, 500);
        pipeline.spans(1, 9 << 10);
        pipeline.flush().unwrap_err();
        assert!(collector.requests().iter().all(|r| r.accepted));
        // Counted before compression.
        assert!(
            collector
                .requests()
                .iter()
                .all(|r| r.message.len() <= 8 << 10)
        );
        let stats = pipeline.settle(distinct(&collector));
        assert_eq!(stats.delivered, 100, "{}", told(&stats));
        assert_eq!(stats.dropped(DropReason::TooLarge), 1, "{}", told(&stats));
    }
}

#[test]
fn an_endpoint_to_which_everything_is_too_large_costs_few_requests() {
    for protocol in BOTH {
        for (bytes, most) in [(10, 12), (100 << 10, 200)] {
            let collector = Collector::start();
            collector.always(too_large(protocol));
            let pipeline = Pipeline::of(protocol, &collector);
            pipeline.spans(100, bytes);
            pipeline.flush().unwrap_err();
            let attempts = collector.received_attempts();
            assert!(attempts <= most, "{attempts} of {bytes} bytes");
            let stats = pipeline.settle(0);
            let refused = stats.dropped(DropReason::Refused) + stats.dropped(DropReason::TooLarge);
            assert_eq!(refused, 100, "{}", told(&stats));
        }
    }
}

#[test]
fn a_span_that_may_have_arrived_and_is_then_too_large_is_unconfirmed() {
    for protocol in BOTH {
        let collector = Collector::start();
        collector.script([Answer::close_after_body(), too_large(protocol)]);
        let pipeline = Pipeline::of(protocol, &collector);
        pipeline.spans(1, 100);
        pipeline.flush().unwrap_err();
        let stats = pipeline.settle(0);
        assert_eq!(
            stats.dropped(DropReason::Unconfirmed),
            1,
            "{}",
            told(&stats)
        );
    }
}

#[test]
fn the_parts_share_one_deadline() {
    let slow = fit(Duration::from_millis(150));
    for protocol in BOTH {
        let collector = Collector::start();
        collector.always(Answer::ok().after(slow));
        let endpoint = collector.endpoint(protocol);
        let pipeline = Pipeline::start(
            builder(protocol, &endpoint)
                .configure(|c| c.connection.max_request_size = 4 << 10)
                .with_max_concurrent_exports(1)
                .with_timeout(slow * 10 / 3),
        );
        pipeline.spans(64, 500);
        let began = std::time::Instant::now();
        // The flush has waited for the end of the export, and not for its own deadline.
        let error = pipeline.flush().unwrap_err();
        assert!(error.is_export(), "{error}");
        assert!(
            collector.received_attempts() <= 4,
            "{protocol:?}: {} attempts, {:?}, {}",
            collector.received_attempts(),
            began.elapsed(),
            told(&pipeline.stats())
        );
        let stats = pipeline.settle(distinct(&collector));
        assert!(stats.delivered >= 1, "{}", told(&stats));
        assert!(stats.dropped(DropReason::Unsent) >= 40, "{}", told(&stats));
        // The part that was under way waits for an answer, or has none left to wait.
        let said = error.to_string();
        let is_said = ["out of time", "no answer"]
            .iter()
            .any(|w| said.contains(w));
        assert!(is_said, "{said}");
    }
}
