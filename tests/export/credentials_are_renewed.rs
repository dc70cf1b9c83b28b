//! Headers that expire, tokens that the endpoint refuses, and a file that somebody else writes: they are
//! asked for again in time, on the worker, and no span is lost meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use crate::support::pipeline::{BOTH, Pipeline, builder, distinct, last_error, told};
use tracing_otlp::config::ProvidedHeaders;
use tracing_otlp::testing::{Answer, Collector};
use tracing_otlp::{DropReason, OtlpBuilder};

type Failure = Box<dyn std::error::Error + Send + Sync>;

const LONG: Duration = Duration::from_secs(3600);

/// The `authorization` of each request that was taken.
fn tokens(collector: &Collector) -> Vec<String> {
    let requests = collector.requests();
    let all = requests
        .iter()
        .map(|r| match r.headers.get("authorization") {
            Some(value) => value.to_str().unwrap().to_owned(),
            None => "none".to_owned(),
        });
    all.collect()
}

/// A provider that counts, and gives what `provide` makes of the number.
fn counting(
    builder: OtlpBuilder,
    provide: impl Fn(u64) -> Result<ProvidedHeaders, Failure> + Send + Sync + 'static,
) -> (OtlpBuilder, Arc<AtomicU64>) {
    let asked = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&asked);
    let builder = builder.with_header_provider(move || {
        let provided = provide(count.fetch_add(1, Ordering::SeqCst) + 1);
        async move {
            tokio::task::yield_now().await;
            provided
        }
    });
    (builder, asked)
}

fn bearer(n: u64) -> Result<ProvidedHeaders, Failure> {
    Ok(ProvidedHeaders::bearer(format!("t{n}"))?)
}

#[test]
fn a_token_is_asked_for_once_and_again_before_it_expires() {
    for protocol in BOTH {
        let collector = Collector::start();
        let of = |builder| {
            counting(builder, |n| match n {
                // It is renewed a quarter of its time before its end: now.
                1 => Ok(bearer(n)?.expires_in(Duration::ZERO)),
                _ => Ok(bearer(n)?.expires_in(LONG)),
            })
        };
        let (builder, asked) = of(builder(protocol, &collector.endpoint(protocol)));
        let builder = builder.with_header("authorization", "static");
        let pipeline = Pipeline::start(builder);
        assert_eq!(asked.load(Ordering::SeqCst), 0, "the build asks nobody");
        for _ in 0..4 {
            pipeline.spans(1, 10);
            pipeline.flush().unwrap();
        }
        assert_eq!(
            tokens(&collector),
            ["Bearer t1", "Bearer t2", "Bearer t2", "Bearer t2"]
        );
        let stats = pipeline.settle(distinct(&collector));
        assert_eq!((stats.delivered, asked.load(Ordering::SeqCst)), (4, 2));
    }
}

#[test]
fn a_token_that_is_refused_is_asked_for_once_more() {
    for protocol in BOTH {
        let collector = Collector::start();
        let (builder, asked) = counting(builder(protocol, &collector.endpoint(protocol)), bearer);
        let pipeline = Pipeline::start(builder);
        collector.script([Answer::grpc(16, "expired"), Answer::ok()]);
        pipeline.spans(3, 10);
        pipeline.flush().unwrap();
        assert_eq!(tokens(&collector).last().unwrap(), "Bearer t2");
        assert_eq!(distinct(&collector), 3);
        // Once, and no more.
        collector.script([
            Answer::grpc(16, "who"),
            Answer::grpc(16, "who"),
            Answer::ok(),
        ]);
        pipeline.spans(2, 10);
        let error = pipeline.flush().unwrap_err();
        assert!(error.to_string().contains("who"), "{error}");
        assert_eq!(
            (collector.script_left(), asked.load(Ordering::SeqCst)),
            (1, 3)
        );
        let stats = pipeline.settle(3);
        assert_eq!(stats.dropped(DropReason::Refused), 2, "{}", told(&stats));
        assert_eq!(stats.retries, 2);
    }
}

#[test]
fn a_provider_that_fails_is_tried_again_and_nothing_is_lost() {
    for protocol in BOTH {
        let collector = Collector::start();
        let (builder, asked) =
            counting(
                builder(protocol, &collector.endpoint(protocol)),
                |n| match n {
                    1 => Err("the metadata server is away".into()),
                    2 => panic!("a bug"),
                    _ => bearer(n),
                },
            );
        let pipeline = Pipeline::start(builder);
        pipeline.spans(5, 10);
        pipeline.flush().unwrap();
        assert_eq!(tokens(&collector), ["Bearer t3"]);
        let stats = pipeline.settle(distinct(&collector));
        assert_eq!((stats.delivered, asked.load(Ordering::SeqCst)), (5, 3));
    }
}

#[test]
fn a_provider_that_only_fails_is_named_and_ends_with_the_shutdown() {
    for protocol in BOTH {
        let collector = Collector::start();
        let (builder, _) = counting(builder(protocol, &collector.endpoint(protocol)), |_| {
            Err("the metadata server is away".into())
        });
        let pipeline = Pipeline::start(builder);
        pipeline.spans(600, 10);
        let stats = pipeline.until(|stats| stats.last_error.is_some());
        let why = last_error(&stats);
        for part in [
            "no headers",
            "metadata server is away",
            "with_header_provider",
        ] {
            assert!(why.contains(part), "{why}");
        }
        let began = Instant::now();
        let shutdown = Duration::from_millis(200);
        pipeline.guard.shutdown_blocking(shutdown).unwrap_err();
        assert!(began.elapsed() < Duration::from_secs(20));
        let stats = pipeline.settle(0);
        assert_eq!(
            stats.dropped(DropReason::Unconfirmed),
            0,
            "{}",
            told(&stats)
        );
        assert_eq!(collector.received_attempts(), 0);
    }
}

#[test]
fn what_a_provider_does_is_no_part_of_a_trace_and_not_on_a_thread_that_records() {
    for protocol in BOTH {
        let collector = Collector::start();
        let here = thread::current().id();
        let (builder, _) = counting(builder(protocol, &collector.endpoint(protocol)), move |n| {
            let id: ThreadId = thread::current().id();
            assert_ne!(id, here);
            drop(tracing::info_span!("asks for a token"));
            bearer(n)
        });
        let pipeline = Pipeline::start(builder);
        pipeline.spans(1, 10);
        pipeline.flush().unwrap();
        assert_eq!(tokens(&collector), ["Bearer t1"]);
        let stats = pipeline.settle(distinct(&collector));
        assert_eq!(stats.started, 1);
    }
}

#[test]
fn a_file_of_headers_is_read_again() {
    let folder = std::env::temp_dir().join(format!("tracing-otlp-headers-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    for (i, protocol) in BOTH.into_iter().enumerate() {
        let file = folder.join(format!("headers{i}"));
        let builder = |collector: &Collector| {
            builder(protocol, &collector.endpoint(protocol)).with_headers_file(&file)
        };
        let collector = Collector::start();
        let error = builder(&collector).build().unwrap_err();
        assert!(
            error.is_config() && error.to_string().contains("headers"),
            "{error}"
        );
        std::fs::write(&file, "authorization s3cret").unwrap();
        let error = builder(&collector).build().unwrap_err().to_string();
        assert!(
            error.contains("line 1") && !error.contains("s3cret"),
            "{error}"
        );

        std::fs::write(
            &file,
            "# from the operator\n\nAuthorization: one\nx-team: a: b\n",
        )
        .unwrap();
        let pipeline = Pipeline::start(builder(&collector));
        let send = || {
            pipeline.spans(1, 10);
            pipeline.flush().unwrap();
            tokens(&collector).pop().unwrap()
        };
        assert_eq!(send(), "one");
        assert_eq!(collector.requests()[0].headers["x-team"], "a: b");
        // A file that cannot be used changes nothing.
        std::fs::write(&file, "rubbish").unwrap();
        thread::sleep(Duration::from_millis(1100));
        assert_eq!(send(), "one");
        // One that is refused is read at once, whenever it was read last.
        std::fs::write(&file, "authorization: two").unwrap();
        collector.script([Answer::grpc(16, "rotated"), Answer::ok()]);
        assert_eq!(send(), "two");
        // And one that is not, after a while.
        std::fs::write(&file, "authorization: three").unwrap();
        let deadline = Instant::now() + crate::support::DEADLINE;
        while send() != "three" {
            assert!(Instant::now() < deadline);
            thread::sleep(Duration::from_millis(50));
        }
        let stats = pipeline.settle(distinct(&collector));
        assert_eq!(stats.dropped_total(), 0, "{}", told(&stats));
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
