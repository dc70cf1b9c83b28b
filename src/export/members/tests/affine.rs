//! Traces that belong to one collector each, while collectors fail and come back.

use std::sync::mpsc;

use super::*;
use crate::config::RetryConfig;
use crate::stats::DropReason;
use crate::testing::Answer;

/// What `run` gives, on a thread of its own: a delivery that never waits would also keep the test from its deadline.
fn on_its_own<F>(run: impl FnOnce() -> F + Send + 'static) -> F::Output
where
    F: Future<Output: Send + 'static>,
{
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let _ = sender.send(runtime.block_on(run()));
    });
    let output = receiver.recv_timeout(PATIENCE / 2);
    output.expect("the delivery ends")
}

async fn until(mut is_so: impl FnMut() -> bool) {
    let until = std::time::Instant::now() + PATIENCE / 4;
    while !is_so() {
        assert!(std::time::Instant::now() < until);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn traces(n: u64) -> Batch {
    batch((0..n).map(|trace| span(trace, trace)))
}

#[test]
fn a_batch_in_parts_arrives_when_one_of_the_collectors_is_back() {
    for protocol in BOTH {
        let outcome = on_its_own(move || async move {
            let [a, b] = [(); 2].map(|()| Collector::start());
            let zone = Zone::default();
            zone.set(&[&a, &b], protocol);
            let client = zone.client(protocol, |config| config.trace_affinity = true);
            assert_eq!(client.deliver(traces(40)).await.delivered, 40);
            a.go_offline();
            b.go_offline();
            let under_way = tokio::spawn({
                let client = client.clone();
                async move { client.deliver(traces(40)).await }
            });
            until(|| client.endpoint_stats().iter().all(|member| !member.is_up)).await;
            // Its answer needs time, so that the other part asks for it meanwhile.
            a.always(Answer::ok().after(Duration::from_millis(200)));
            a.go_online().unwrap();
            under_way.await.unwrap()
        });
        assert_eq!(
            (outcome.delivered, outcome.items()),
            (40, 40),
            "{outcome:?}"
        );
    }
}

#[tokio::test]
async fn only_a_member_whose_turn_is_free_gets_traces() {
    let collectors = [(); 2].map(|()| Collector::start());
    let [a, b] = &collectors;
    let zone = Zone::default();
    zone.set(&[a, b], Protocol::HttpProtobuf);
    let client = zone.client(Protocol::HttpProtobuf, |config| {
        config.trace_affinity = true
    });
    assert_eq!(client.deliver(traces(40)).await.delivered, 40);
    let members = client.members();
    let list = members.list();
    let [first, second] = &list[..] else {
        panic!("{list:?}");
    };
    first.health.unreached("refused", false);
    first.health.connected();
    second.health.later("503", Some(PATIENCE), false);
    let probe = first.health.try_probe().expect("a probe is due");
    let mut owners = tokio_test::task::spawn(members.owners(&[]));
    assert!(owners.poll().is_pending(), "another request has the turn");
    drop(probe);
    assert!(owners.is_woken(), "the turn is free again");
    let std::task::Poll::Ready(Some(owners)) = owners.poll() else {
        panic!("the turn is free");
    };
    assert_eq!(owners.only(), Some(first.number));
}

#[test]
fn attempts_are_counted_over_all_owners_of_a_trace() {
    for protocol in BOTH {
        let (outcome, attempts) = on_its_own(move || async move {
            let collectors = [(); 5].map(|()| Collector::start());
            for collector in &collectors {
                collector.always(Answer::close_after_body());
            }
            let zone = Zone::default();
            zone.set(&collectors.each_ref(), protocol);
            let client = zone.client(protocol, |config| {
                config.trace_affinity = true;
                config.retry = RetryConfig {
                    initial_backoff: Duration::from_millis(1),
                    max_attempts: 2,
                    ..RetryConfig::default()
                };
            });
            let outcome = client.deliver(traces(1)).await;
            let attempts: u64 = collectors.iter().map(|c| c.received_attempts()).sum();
            (outcome, attempts)
        });
        assert_eq!(
            outcome.dropped,
            [(DropReason::Unconfirmed, 1)],
            "{outcome:?}"
        );
        let error = outcome.error.unwrap();
        assert!(error.contains("gave up after 2 attempts"), "{error}");
        assert_eq!(attempts, 2);
    }
}
