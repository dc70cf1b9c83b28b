//! The members of a name beside real collectors; the look-ups are answered here.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod affine;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use crate::config::{ConnectionConfig, Protocol};
use crate::context::TraceId;
use crate::export::batch::Batch;
use crate::export::client::OtlpClient;
use crate::export::deadline::Cap;
use crate::export::dial::Dialer;
use crate::export::endpoint::{Endpoint, ExportSignal};
use crate::export::random::RandomNumbers;
use crate::export::resolve::Resolver;
use crate::export::transport::TransportTemplate;
use crate::export::{Exporter, Outcome};
use crate::stats::DropReason;
use crate::sync::{Arc, Mutex, lock};
use crate::testing::{Answer, Collector};
use crate::wire::request::{ScopeGroup, item_field};

const PATIENCE: Duration = Duration::from_secs(120);
const BOTH: [Protocol; 2] = [Protocol::Grpc, Protocol::HttpProtobuf];

/// A span of this trace.
pub(in crate::export) fn span(trace: u64, number: u64) -> Bytes {
    let mut span = vec![0x2a, 1, b'x', 0x0a, 16];
    span.extend_from_slice(&super::mix(trace).to_be_bytes());
    span.extend_from_slice(&super::mix(!trace).to_be_bytes());
    span.extend_from_slice(&[0x12, 8]);
    span.extend_from_slice(&(number + 1).to_be_bytes());
    for time in [0x39, 0x41] {
        span.push(time);
        span.extend_from_slice(&1_700_000_000_000_000_000_u64.to_le_bytes());
    }
    span.into()
}

pub(in crate::export) fn batch(spans: impl IntoIterator<Item = Bytes>) -> Batch {
    let spans: Vec<_> = spans.into_iter().map(|span| item_field(&span)).collect();
    let count = spans.len();
    let group = ScopeGroup {
        scope: Bytes::new(),
        items: spans,
    };
    Batch::new(
        crate::signal::Signal::Traces,
        Bytes::new(),
        vec![group],
        count,
    )
}

/// What a name stands for at present.
#[derive(Clone, Default)]
struct Zone(Arc<Mutex<Vec<SocketAddr>>>);

impl Zone {
    fn set(&self, collectors: &[&Collector], protocol: Protocol) {
        let address = |c: &&Collector| {
            let url = c.endpoint(protocol);
            url.rsplit('/').next().unwrap().parse().unwrap()
        };
        *lock(&self.0) = collectors.iter().map(address).collect();
    }

    fn client(&self, protocol: Protocol, edit: impl FnOnce(&mut ConnectionConfig)) -> OtlpClient {
        let cap = Cap::WhileUp(Some(PATIENCE));
        let zone = self.clone();
        let resolver = Resolver::new(move |host| match &lock(&zone.0)[..] {
            [] => Err(io::Error::other(format!("{host} is unknown here"))),
            addresses => Ok(addresses.to_vec()),
        });
        let mut config = ConnectionConfig {
            endpoint: Some("dns+http://collectors.test:1".to_owned()),
            protocol: Some(protocol),
            timeout: Some(PATIENCE),
            ..ConnectionConfig::default()
        };
        edit(&mut config);
        OtlpClient::of(config, cap, ExportSignal::Traces, None, resolver).unwrap()
    }
}

async fn send(client: &OtlpClient, number: u64) -> Outcome {
    let permit = timeout(PATIENCE, client.ready()).await.unwrap();
    Exporter::send(client, permit, batch([span(number, number)])).await
}

#[tokio::test]
async fn each_address_of_a_name_gets_its_part_and_is_looked_up_again_after_a_loss() {
    for protocol in BOTH {
        let [a, b, c, d] = [(); 4].map(|()| Collector::start());
        let zone = Zone::default();
        zone.set(&[&a, &b, &c], protocol);
        let client = zone.client(protocol, |_| {});
        for number in 0..60 {
            assert_eq!(send(&client, number).await.delivered, 1);
        }
        for collector in [&a, &b, &c] {
            assert!(collector.span_count() > 5, "{}", collector.span_count());
        }
        c.go_offline();
        zone.set(&[&a, &b, &d], protocol);
        let mut sent = 60;
        let until = std::time::Instant::now() + PATIENCE;
        while d.span_count() == 0 && std::time::Instant::now() < until {
            let outcome = send(&client, sent).await;
            assert_eq!(outcome.delivered, 1, "{outcome:?}");
            sent += 1;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(d.span_count() > 0, "the new address is found");
        let all = [&a, &b, &c, &d].map(|c| c.span_count() as u64);
        assert_eq!(all.iter().sum::<u64>(), sent, "{all:?}: each span once");
        let stats = client.endpoint_stats();
        let delivered: u64 = stats.iter().map(|member| member.delivered).sum();
        assert_eq!(delivered, sent, "{stats:?}");
        let [former] = &stats
            .iter()
            .filter(|m| m.address.is_empty())
            .collect::<Vec<_>>()[..]
        else {
            panic!("{stats:?}");
        };
        assert_eq!(former.delivered, c.span_count() as u64);
    }
}

/// A collector that ends with a request on its connection is lost, though nothing was refused.
#[tokio::test]
async fn a_name_is_looked_up_again_after_a_member_did_not_answer() {
    for protocol in BOTH {
        let [a, b, c] = [(); 3].map(|()| Collector::start());
        a.always(Answer::close_after_body());
        let zone = Zone::default();
        zone.set(&[&a, &b], protocol);
        let client = zone.client(protocol, |_| {});
        let mut sent = 0;
        while a.received_attempts() == 0 {
            assert_eq!(send(&client, sent).await.delivered, 1);
            sent += 1;
        }
        zone.set(&[&b, &c], protocol);
        let lost = std::time::Instant::now();
        while c.span_count() == 0 {
            let waited = lost.elapsed();
            assert!(waited < Duration::from_secs(20), "a look-up without a loss");
            assert_eq!(send(&client, sent).await.delivered, 1);
            sent += 1;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test]
async fn a_name_without_an_address_is_waited_for_and_said() {
    for protocol in BOTH {
        let zone = Zone::default();
        let client = zone.client(protocol, |_| {});
        let mut ready = Box::pin(client.ready());
        let until = std::time::Instant::now() + PATIENCE;
        while client.last_error().is_none() && std::time::Instant::now() < until {
            let _ = timeout(Duration::from_millis(5), &mut ready).await;
        }
        let error = client.last_error().unwrap();
        for part in ["no address of collectors.test:1", "unknown here", "DNS"] {
            assert!(error.contains(part), "{error}");
        }
        let collector = Collector::start();
        zone.set(&[&collector], protocol);
        let permit = timeout(PATIENCE, ready).await.unwrap();
        let outcome = Exporter::send(&client, permit, batch([span(1, 1)])).await;
        assert_eq!((outcome.delivered, collector.span_count()), (1, 1));
        assert!(client.last_error().is_none());
    }
}

#[tokio::test]
async fn a_shutdown_gives_up_on_a_name_without_an_address() {
    let client = Zone::default().client(Protocol::Grpc, |_| {});
    client.begin_shutdown();
    let permit = timeout(PATIENCE, client.ready()).await.unwrap();
    let outcome = Exporter::send(&client, permit, batch([span(1, 1)])).await;
    assert_eq!((outcome.delivered, outcome.items()), (0, 1));
    let error = outcome.error.unwrap();
    assert!(error.contains("given up by the shutdown"), "{error}");
}

#[tokio::test]
async fn traces_stay_whole_and_move_only_with_their_collector() {
    for protocol in BOTH {
        let all = [(); 3].map(|()| Collector::start());
        let [a, b, c] = &all;
        let zone = Zone::default();
        zone.set(&[a, b, c], protocol);
        // Three processes, whose batches hold a part of each trace.
        for process in 0..3 {
            let client = zone.client(protocol, |config| config.trace_affinity = true);
            let spans = (0..90).map(|trace| span(trace, trace * 10 + process));
            let permit = client.ready().await;
            let outcome = Exporter::send(&client, permit, batch(spans)).await;
            assert_eq!(
                (outcome.delivered, outcome.items()),
                (90, 90),
                "{outcome:?}"
            );
        }
        let traces = |collector: &Collector| -> Vec<_> {
            let mut ids: Vec<_> = collector.spans().iter().map(|s| s.trace_id).collect();
            ids.sort_unstable();
            ids
        };
        let mut seen = Vec::new();
        for collector in &all {
            let ids = traces(collector);
            assert!(
                ids.len() > 30,
                "a third of 270, more or less: {}",
                ids.len()
            );
            assert!(ids.chunks(3).all(|of| of.len() == 3 && of[0] == of[2]));
            seen.push(ids);
        }
        // With one collector gone, its traces alone move.
        c.go_offline();
        let client = zone.client(protocol, |config| config.trace_affinity = true);
        let spans = (0..90).map(|trace| span(trace, trace * 10 + 7));
        let permit = client.ready().await;
        let outcome = Exporter::send(&client, permit, batch(spans)).await;
        assert_eq!(outcome.delivered, 90, "{outcome:?}");
        let lost = &seen[2];
        for (collector, before) in [a, b].into_iter().zip(&seen) {
            let now = traces(collector);
            let is_new = |id: &&TraceId| !before.contains(id);
            assert!(now.iter().filter(is_new).all(|id| lost.contains(id)));
            assert!(
                before
                    .iter()
                    .all(|id| now.iter().filter(|n| *n == id).count() == 4)
            );
        }
    }
}

/// The members of names whose look-ups are not asked: the test calls `update`.
fn members_of(names: &str) -> Arc<super::MemberList> {
    let config = ConnectionConfig {
        endpoint: Some(names.to_owned()),
        protocol: Some(Protocol::HttpProtobuf),
        ..ConnectionConfig::default()
    };
    let entries = Endpoint::entries(&config, ExportSignal::Traces).unwrap();
    let template = |endpoint: &Endpoint| TransportTemplate {
        dialer: Dialer::new(
            Arc::new(config.clone()),
            endpoint.clone(),
            Resolver::system(),
        )
        .unwrap(),
        headers: http::HeaderMap::new(),
        user_agent: http::HeaderValue::from_static("test"),
        max_response: 1,
    };
    let entries = entries.into_iter().map(|entry| {
        let template = template(&entry.endpoint);
        (entry, template)
    });
    let random = Arc::new(RandomNumbers::seeded(1));
    super::MemberList::new(entries.collect(), config.retry.clone(), random, None).unwrap()
}

fn address(n: u32) -> SocketAddr {
    SocketAddr::new(std::net::Ipv4Addr::from_bits(n).into(), 1)
}

/// Tasks on several threads look names up.
#[test]
fn names_that_are_looked_up_at_the_same_time_undo_nothing_of_each_other() {
    let members = members_of("dns+http://a.test:1,dns+http://b.test:1");
    for round in 0..100 {
        std::thread::scope(|scope| {
            for entry in 0..2 {
                let members = &members;
                scope.spawn(move || {
                    for n in 0..20 {
                        members.update(entry as usize, &[address(2 * n + entry)]);
                    }
                });
            }
        });
        let mut last: Vec<_> = members.list().iter().map(|m| m.at).collect();
        last.sort_unstable();
        assert_eq!(last, [Some(address(38)), Some(address(39))], "{round}");
    }
}

/// Pods come and go for as long as the process lives.
#[test]
fn members_that_are_gone_leave_their_counts_and_nothing_else() {
    let members = members_of("dns+http://collectors.test:1");
    let mut under_way = None;
    for n in 1..=1000 {
        members.update(0, &[address(n)]);
        let list = members.list();
        list[0].took(2, 1);
        list[0].failed();
        if n == 7 {
            under_way = members.route_to(list[0].number);
        }
    }
    let [now, former] = &members.stats()[..] else {
        panic!("{:?}", members.stats());
    };
    assert_eq!((now.delivered, now.requests_in_flight), (2, 0));
    let counts = (former.delivered, former.rejected, former.requests_ok);
    assert_eq!(counts, (2 * 999, 999, 999));
    assert_eq!(
        (former.requests_failed, former.requests_in_flight),
        (999, 1)
    );
    assert_eq!(crate::sync::lock(&members.state).former.kept(), 1);
    // Its answer comes late, and counts.
    let route = under_way.unwrap();
    route.member.took(5, 0);
    drop(route);
    members.update(0, &[address(0)]);
    let stats = members.stats();
    assert_eq!(stats[1].delivered, 2 * 1000 + 5);
    assert_eq!(stats[1].requests_in_flight, 0);
    assert_eq!(crate::sync::lock(&members.state).former.kept(), 0);
}

/// With affinity, a batch waits for the members of its traces, and no longer than any other.
#[tokio::test]
async fn a_batch_whose_members_are_all_down_ends_in_time_or_with_its_client() {
    for protocol in BOTH {
        let client = |cap| {
            let nobody = || {
                let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
                format!("http://{}", listener.local_addr().unwrap())
            };
            let config = ConnectionConfig {
                endpoint: Some(format!("{},{}", nobody(), nobody())),
                protocol: Some(protocol),
                trace_affinity: true,
                ..ConnectionConfig::default()
            };
            OtlpClient::of(config, cap, ExportSignal::Traces, None, Resolver::system()).unwrap()
        };
        let in_time = client(Cap::Always(Some(Duration::from_millis(500))));
        // The first one finds out that they are down.
        for _ in 0..2 {
            let outcome = timeout(PATIENCE, in_time.deliver(batch([span(1, 1)]))).await;
            let outcome = outcome.expect("no deadline was kept");
            assert_eq!(outcome.dropped, [(DropReason::Unsent, 1)]);
            let error = outcome.error.unwrap();
            assert!(error.contains("out of time: none of 2"), "{error}");
        }

        let ended = client(Cap::WhileUp(None));
        let sending = [(); 2].map(|()| {
            let client = ended.clone();
            async move {
                // The second one begins when both are known to be down.
                while client.last_error().is_none() {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                client.deliver(batch([span(1, 1)])).await
            }
        });
        let first = ended.clone();
        let first = tokio::spawn(async move { first.deliver(batch([span(1, 1)])).await });
        let mut sending = sending.map(tokio_test::task::spawn);
        while ended.last_error().is_none() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert!(
            sending
                .iter_mut()
                .all(|sending| sending.poll().is_pending())
        );
        Exporter::shutdown(&ended);
        let mut outcomes = vec![
            timeout(PATIENCE, first)
                .await
                .expect("it outlived its client")
                .unwrap(),
        ];
        for sending in sending {
            outcomes.push(
                timeout(PATIENCE, sending)
                    .await
                    .expect("it outlived its client"),
            );
        }
        for outcome in outcomes {
            assert_eq!(outcome.dropped, [(DropReason::Unsent, 1)]);
            let error = outcome.error.unwrap();
            assert!(error.contains("cut short by the shutdown"), "{error}");
        }
    }
}
