//! An endpoint of several addresses: each batch goes to one of them, to the least loaded of two, and a batch
//! that one of them does not take goes to another within the same deadline.

use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::pace::{PATIENCE, fit};
use crate::support::pipeline::{BOTH, Pipeline, builder, told};
use tracing_otlp::testing::{Answer, Collector};
use tracing_otlp::{OtlpBuilder, Protocol, Stats};

const MS: Duration = Duration::from_millis(1);

fn list(collectors: &[Collector], protocol: Protocol) -> String {
    let urls: Vec<_> = collectors.iter().map(|c| c.endpoint(protocol)).collect();
    urls.join(",")
}

fn collectors<const N: usize>() -> [Collector; N] {
    [(); N].map(|()| Collector::start())
}

/// A pipeline of small batches.
fn pipeline(protocol: Protocol, endpoints: &str) -> Pipeline {
    Pipeline::start(small(protocol, endpoints))
}

fn small(protocol: Protocol, endpoints: &str) -> OtlpBuilder {
    builder(protocol, endpoints).with_max_export_batch_size(10)
}

fn received(collectors: &[Collector]) -> usize {
    let ids = collectors.iter().flat_map(Collector::spans);
    let ids = ids.map(|span| (span.trace_id, span.span_id));
    ids.collect::<std::collections::HashSet<_>>().len()
}

/// What `Stats` says of each address is what arrived there.
#[track_caller]
fn agrees(stats: &Stats, collectors: &[Collector], protocol: Protocol) {
    let mut sum = 0;
    for collector in collectors {
        let port = collector.endpoint(protocol);
        let member = stats
            .endpoints
            .iter()
            .find(|e| port.ends_with(&format!(":{}", e.port)));
        let delivered = member.map_or(0, |member| member.delivered);
        assert_eq!(
            delivered,
            collector.span_count() as u64,
            "{:?}",
            stats.endpoints
        );
        sum += delivered;
    }
    assert_eq!(sum, stats.delivered, "{}", told(stats));
}

#[test]
fn each_address_gets_its_part_and_the_counters_say_so() {
    for protocol in BOTH {
        let collectors = collectors::<3>();
        let pipeline = pipeline(protocol, &list(&collectors, protocol));
        for _ in 0..10 {
            pipeline.spans(200, 10);
            pipeline.flush().unwrap();
        }
        let stats = pipeline.settle(received(&collectors));
        assert_eq!(stats.delivered, 2000, "{}", told(&stats));
        for collector in &collectors {
            let share = collector.span_count() as f64 / 2000.0;
            assert!(
                (0.15..0.55).contains(&share),
                "{share}: {:?}",
                stats.endpoints
            );
        }
        agrees(&stats, &collectors, protocol);
        assert!(
            stats
                .endpoints
                .iter()
                .all(|e| e.is_up && e.requests_in_flight == 0)
        );
    }
}

#[test]
fn a_batch_goes_elsewhere_when_its_address_is_gone() {
    for protocol in BOTH {
        let collectors = collectors::<3>();
        let pipeline = pipeline(protocol, &list(&collectors, protocol));
        pipeline.spans(300, 10);
        pipeline.flush().unwrap();
        collectors[1].go_offline();
        pipeline.spans(300, 10);
        pipeline.flush().unwrap();
        let stats = pipeline.stats();
        assert_eq!(
            (stats.delivered, stats.dropped_total()),
            (600, 0),
            "{}",
            told(&stats)
        );
        let down: Vec<_> = stats.endpoints.iter().filter(|e| !e.is_up).collect();
        assert_eq!(down.len(), 1, "{:?}", stats.endpoints);
        assert!(down[0].last_error.is_some() && down[0].requests_failed > 0);
        // Back again, it gets its part.
        let before = collectors[1].span_count();
        collectors[1].go_online().unwrap();
        pipeline.until(|stats| {
            pipeline.spans(30, 10);
            pipeline.flush().unwrap();
            collectors[1].span_count() > before && stats.endpoints.iter().all(|e| e.is_up)
        });
        let stats = pipeline.settle(received(&collectors));
        assert_eq!(stats.dropped_total(), 0, "{}", told(&stats));
    }
}

#[test]
fn an_address_that_answers_later_is_left_out() {
    for protocol in BOTH {
        let collectors = collectors::<3>();
        collectors[0].always(Answer::unavailable());
        let pipeline = pipeline(protocol, &list(&collectors, protocol));
        pipeline.spans(600, 10);
        pipeline.flush().unwrap();
        let stats = pipeline.settle(received(&collectors));
        assert_eq!(
            (stats.delivered, stats.dropped_total()),
            (600, 0),
            "{}",
            told(&stats)
        );
        assert_eq!(collectors[0].span_count(), 0);
        agrees(&stats, &collectors, protocol);
    }
}

/// It takes connections, and requests as far as the system buffers them, and never says a word.
#[test]
fn a_silent_address_costs_half_a_deadline_and_no_span() {
    for protocol in BOTH {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let collectors = collectors::<1>();
        let endpoints = format!(
            "http://{},{}",
            silent.local_addr().unwrap(),
            list(&collectors, protocol)
        );
        let timeout = fit(2000 * MS);
        let pipeline = Pipeline::start(
            small(protocol, &endpoints)
                .with_timeout(timeout)
                .with_connect_timeout(timeout / 4)
                .with_export_timeout(2 * timeout),
        );
        pipeline.spans(200, 10);
        pipeline.flush().unwrap();
        let stats = pipeline.settle(received(&collectors));
        assert_eq!(
            (stats.delivered, stats.dropped_total()),
            (200, 0),
            "{}",
            told(&stats)
        );
        let silent = &stats.endpoints[0];
        assert_eq!(silent.delivered, 0, "{silent:?}");
    }
}

#[test]
fn spans_wait_while_all_addresses_are_down() {
    for protocol in BOTH {
        let collectors = collectors::<2>();
        for collector in &collectors {
            collector.go_offline();
        }
        let pipeline = pipeline(protocol, &list(&collectors, protocol));
        pipeline.spans(100, 10);
        let error = pipeline.guard.force_flush_blocking(200 * MS).unwrap_err();
        assert!(error.is_timeout(), "{error}");
        pipeline.until(|stats| stats.endpoints.iter().all(|e| !e.is_up));
        assert_eq!(pipeline.stats().dropped_total(), 0);
        collectors[1].go_online().unwrap();
        pipeline.flush().unwrap();
        let stats = pipeline.settle(received(&collectors));
        assert_eq!(
            (stats.delivered, stats.dropped_total()),
            (100, 0),
            "{}",
            told(&stats)
        );
        assert_eq!(collectors[1].span_count(), 100);
    }
}

#[test]
fn every_trace_is_whole_at_one_collector() {
    for protocol in BOTH {
        let collectors = collectors::<3>();
        // Two processes, each with a part of each trace.
        let [first, second] = [(); 2].map(|()| {
            let endpoints = list(&collectors, protocol);
            Pipeline::start(builder(protocol, &endpoints).with_trace_affinity(true))
        });
        for _ in 0..100 {
            let mut context = None;
            first.within(|| {
                let root = tracing::info_span!("root").entered();
                context = Some(tracing_otlp::context::current());
                drop(tracing::info_span!("near").entered());
                drop(root);
            });
            second.within(|| {
                use tracing_otlp::SpanExt as _;
                let far = tracing::info_span!("far");
                let _ = far.set_parent(context.unwrap());
                let _entered = far.enter();
                drop(tracing::info_span!("farther").entered());
            });
        }
        first.flush().unwrap();
        second.flush().unwrap();
        let mut traces = std::collections::HashMap::<_, (usize, usize)>::new();
        for (index, collector) in collectors.iter().enumerate() {
            assert!(collector.span_count() > 40, "{}", collector.span_count());
            for span in collector.spans() {
                let (at, spans) = traces.entry(span.trace_id).or_insert((index, 0));
                assert_eq!(*at, index, "a trace is at one collector");
                *spans += 1;
            }
        }
        assert_eq!(traces.len(), 100);
        assert!(traces.values().all(|(_, spans)| *spans == 4));
        let stats = first.settle(200);
        assert_eq!(stats.delivered, 200, "{}", told(&stats));
        second.settle(200);
    }
}

/// Few spans a batch, as of a process with little to do: most batches have none for the address.
#[test]
fn an_address_that_comes_up_later_gets_its_traces() {
    for protocol in BOTH {
        let collectors = collectors::<4>();
        collectors[0].go_offline();
        collectors[3].go_offline();
        let builder = small(protocol, &list(&collectors, protocol)).with_trace_affinity(true);
        let pipeline = Pipeline::start(builder);
        for _ in 0..50 {
            pipeline.spans(2, 10);
            pipeline.flush().unwrap();
        }
        collectors[3].go_online().unwrap();
        let comes_back = std::time::Instant::now();
        while collectors[3].span_count() == 0 {
            assert!(
                comes_back.elapsed() < PATIENCE,
                "{:?}",
                pipeline.stats().endpoints
            );
            pipeline.spans(2, 10);
            pipeline.flush().unwrap();
            std::thread::sleep(20 * MS);
        }
        let stats = pipeline.settle(received(&collectors));
        assert_eq!(stats.dropped_total(), 0, "{}", told(&stats));
    }
}

#[test]
fn a_list_that_cannot_be_used_is_an_error_of_the_build() {
    for (endpoint, cure) in [
        (",", "has no endpoint"),
        ("http://a:4317,https://b:4317", "one scheme"),
        ("http://a:4317,http://b:port", "port"),
        ("dns:///collector", "give the port"),
    ] {
        let builder = tracing_otlp::builder()
            .without_env()
            .with_endpoint(endpoint);
        let error = builder.build().map(drop).unwrap_err();
        let text = error.to_string();
        assert!(
            error.is_config() && text.contains(cure),
            "{endpoint}: {text}"
        );
    }
}

/// A setting says how many requests there are at a time, however many endpoints share the traces of a batch.
#[test]
fn the_parts_of_a_batch_are_requests_that_are_counted() {
    for protocol in BOTH {
        let collectors = collectors::<3>();
        for collector in &collectors {
            collector.always(Answer::ok().after(20 * MS));
        }
        let pipeline = Pipeline::start(
            builder(protocol, &list(&collectors, protocol))
                .with_trace_affinity(true)
                .with_max_export_batch_size(100)
                .with_max_concurrent_exports(2),
        );
        pipeline.spans(500, 10);
        let mut most = 0;
        std::thread::scope(|scope| {
            let flush = scope.spawn(|| pipeline.flush());
            while !flush.is_finished() {
                // They are read one after the other: what moved from one to the next meanwhile counts twice.
                let [endpoints, again] = [(); 2].map(|()| pipeline.stats().endpoints);
                if endpoints == again {
                    let now: u64 = endpoints.iter().map(|e| e.requests_in_flight).sum();
                    most = most.max(now);
                }
                std::thread::sleep(MS);
            }
            flush.join().unwrap().unwrap();
        });
        assert_eq!(most, 2, "requests at a time");
        assert_eq!(received(&collectors), 500);
        let stats = pipeline.settle(500);
        agrees(&stats, &collectors, protocol);
    }
}

/// An address that is left out while others work is named once, with the cause, and once when it is back.
#[test]
fn an_address_that_is_left_out_is_reported_while_others_work() {
    for protocol in BOTH {
        let collectors = collectors::<3>();
        let said = Arc::new(Mutex::new(Vec::<String>::new()));
        let ear = Arc::clone(&said);
        let pipeline = Pipeline::start(
            small(protocol, &list(&collectors, protocol)).with_diagnostic_handler(
                move |diagnostic| {
                    let line = format!("{} {diagnostic}", diagnostic.level());
                    ear.lock().unwrap().push(line);
                },
            ),
        );
        let address = collectors[1].endpoint(protocol);
        let address = address.trim_start_matches("http://").to_owned();
        let until = |part: &str| {
            let deadline = std::time::Instant::now() + PATIENCE;
            let is_said = || said.lock().unwrap().iter().any(|line| line.contains(part));
            while !is_said() {
                assert!(std::time::Instant::now() < deadline, "{part}: {said:?}");
                pipeline.spans(10, 10);
                let _ = pipeline.flush();
                std::thread::sleep(20 * MS);
            }
        };
        pipeline.spans(100, 10);
        pipeline.flush().unwrap();
        assert_eq!(said.lock().unwrap()[..], [""; 0], "all work");
        collectors[1].go_offline();
        until("others take them");
        collectors[1].go_online().unwrap();
        until("again");
        let lines = said.lock().unwrap().clone();
        let [lost, found] = &lines[..] else {
            panic!("{lines:#?}");
        };
        let expected =
            format!("WARN the endpoint {address} takes no spans now, others take them: ");
        assert!(lost.starts_with(&expected), "{lost}");
        assert!(lost.contains("refused"), "the cause: {lost}");
        assert_eq!(
            *found,
            format!("INFO the endpoint {address} takes spans again")
        );
        assert_eq!(pipeline.stats().dropped_total(), 0);
    }
}
