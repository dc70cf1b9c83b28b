//! A connection that died without a word is found while requests wait on it, and they are sent again
//! on a new one; an endpoint that is slow and alive is left in peace (OTLP-2, OTLP-10, PAIN 29).

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::pace::{PATIENCE, scaled};
use crate::support::pipeline::{BOTH, Pipeline, builder, distinct, told};
use tracing_otlp::Protocol;
use tracing_otlp::testing::{Answer, Collector};

/// What an export has where nothing else is said: pings and second connections go by it.
fn ten_seconds() -> Duration {
    scaled(Duration::from_secs(10))
}

/// A proxy that can forget connections: they stay open, take bytes, and pass on none.
struct Proxy {
    address: SocketAddr,
    /// Connections below this number are forgotten.
    forgotten: Arc<AtomicUsize>,
    accepted: Arc<AtomicUsize>,
}

impl Proxy {
    fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (forgotten, accepted) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let (forget, count) = (Arc::clone(&forgotten), Arc::clone(&accepted));
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let number = count.fetch_add(1, Ordering::SeqCst);
                let far = TcpStream::connect(target).unwrap();
                for (from, to) in [(&near, &far), (&far, &near)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let forget = Arc::clone(&forget);
                    std::thread::spawn(move || pass(from, to, number, &forget));
                }
            }
        });
        Self {
            address,
            forgotten,
            accepted,
        }
    }

    fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Forgets all connections that there are.
    fn forget(&self) {
        let accepted = self.accepted.load(Ordering::SeqCst);
        self.forgotten.store(accepted, Ordering::SeqCst);
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, number: usize, forgotten: &AtomicUsize) {
    let mut bytes = vec![0; 64 << 10];
    while let Ok(read) = from.read(&mut bytes) {
        let is_forgotten = number < forgotten.load(Ordering::SeqCst);
        if read == 0 {
            if !is_forgotten {
                let _ = to.shutdown(Shutdown::Write);
            }
            return;
        }
        if !is_forgotten && to.write_all(&bytes[..read]).is_err() {
            return;
        }
    }
}

/// All that are in flight arrive within the time that an export has: what waits it out is lost.
#[test]
fn what_was_in_flight_is_sent_again_on_a_new_connection() {
    for protocol in BOTH {
        let collector = Collector::start();
        let target = crate::support::address(&collector.endpoint(protocol));
        let proxy = Proxy::to(target);
        let pipeline = Pipeline::start(
            builder(protocol, &proxy.endpoint())
                .with_timeout(ten_seconds())
                .with_max_export_batch_size(100),
        );
        // Answered while each of them waited: as many connections as there may be.
        collector.always(Answer::ok().after(Duration::from_millis(100)));
        pipeline.spans(400, 10);
        pipeline.flush().unwrap();
        let more = quicken(&pipeline);
        let before = collector.received_attempts();
        proxy.forget();
        pipeline.spans(400, 10);
        pipeline.flush().unwrap();
        let stats = pipeline.stats();
        let all = 800 + more;
        assert_eq!(stats.delivered, all, "{protocol:?}: {}", told(&stats));
        // None arrived twice, but nobody here can know. Where this machine has no time for its answers
        // the new connection may be looked after, too.
        let asked = collector.received_attempts() - before;
        assert!((4..=8).contains(&asked), "{protocol:?}: {asked}");
        assert!(stats.possible_duplicates >= 100, "{stats:?}");
        pipeline.settle(distinct(&collector));
    }
}

/// Sends spans until one is answered as quickly as by an endpoint whose silence is worth a look; how
/// many there were.
fn quicken(pipeline: &Pipeline) -> u64 {
    let until = Instant::now() + PATIENCE;
    let mut sent = 0;
    loop {
        let began = Instant::now();
        pipeline.spans(1, 10);
        pipeline.flush().unwrap();
        sent += 1;
        if began.elapsed() < Duration::from_millis(1400) {
            return sent;
        }
        assert!(Instant::now() < until, "no answer is quick");
    }
}

#[test]
fn an_endpoint_that_was_always_slow_is_asked_once() {
    for protocol in BOTH {
        let collector = Collector::start();
        collector.always(Answer::ok().after(Duration::from_secs(8)));
        let endpoint = collector.endpoint(protocol);
        let pipeline = Pipeline::start(builder(protocol, &endpoint).with_timeout(ten_seconds()));
        pipeline.spans(1500, 10);
        pipeline.flush().unwrap();
        assert_eq!(collector.received_attempts(), 3, "{protocol:?}");
        let stats = pipeline.settle(distinct(&collector));
        assert_eq!(
            (stats.delivered, stats.retries, stats.possible_duplicates),
            (1500, 0, 0),
            "{protocol:?}: {}",
            told(&stats)
        );
    }
}

/// Over HTTP/1.1 that cannot be told from a dead connection but by another: one request is sent twice
/// to find out.
#[test]
fn an_endpoint_that_becomes_slow_is_asked_for_one_request_more() {
    for protocol in BOTH {
        let collector = Collector::start();
        let endpoint = collector.endpoint(protocol);
        let pipeline = Pipeline::start(builder(protocol, &endpoint).with_timeout(ten_seconds()));
        pipeline.spans(512, 10);
        pipeline.flush().unwrap();
        collector.always(Answer::ok().after(Duration::from_secs(6)));
        pipeline.spans(2048, 10);
        pipeline.flush().unwrap();
        let (least, most) = match protocol {
            Protocol::Grpc => (5, 5),
            _ => (5, 6),
        };
        let asked = collector.received_attempts();
        assert!((least..=most).contains(&asked), "{protocol:?}: {asked}");
        let stats = pipeline.settle(distinct(&collector));
        assert_eq!(stats.delivered, 2560, "{}", told(&stats));
        assert!(stats.possible_duplicates <= 512, "{stats:?}");
        assert_eq!(stats.retries, 0, "{}", told(&stats));
    }
}
