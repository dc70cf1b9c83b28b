//! What 64 threads share that record spans at the same time, on a machine with 64 cores.
//!
//! A model, not a measurement: each thread notes the locks of this crate that it takes, and how often. It
//! shows which locks threads share; not the cache lines of atomics, nor what the registry shares.

use std::collections::HashMap;
use std::sync::Barrier;

use tracing::{Dispatch, dispatcher, info, info_span};
use tracing_subscriber::layer::SubscriberExt as _;

use super::*;
use crate::export::{Batch, Outcome};
use crate::pool::tests_cores;
use crate::sync::watch;

const THREADS: usize = 64;
const SPANS: usize = 400;

struct Discard;

impl Exporter for Discard {
    type Permit = ();

    async fn ready(&self) {}

    fn send(&self, (): (), batch: Batch) -> impl Future<Output = Outcome> + Send + 'static {
        std::future::ready(Outcome::delivered(batch.span_count() as u64))
    }
}

fn record(spans: usize) {
    for n in 0..spans / 2 {
        let _root = info_span!("request", n).entered();
        let _child = info_span!("child", n).entered();
        info!(n, "event");
    }
}

#[test]
fn no_lock_is_shared_by_all_threads() {
    for per_target in [false, true] {
        let builder = builder()
            .without_env()
            .with_exporter(Discard)
            .configure(move |config| config.capture.scope_per_target = per_target);
        let (layer, guard) = tests_cores::with(THREADS, || builder.build()).unwrap();
        let dispatch = Dispatch::new(tracing_subscriber::registry().with(layer));
        let ready = Barrier::new(THREADS);
        let taken: Vec<HashMap<usize, usize>> = std::thread::scope(|s| {
            let work = || {
                dispatcher::with_default(&dispatch, || {
                    record(100);
                    ready.wait();
                    watch::locks_of(|| record(SPANS))
                })
            };
            let threads: Vec<_> = (0..THREADS).map(|_| s.spawn(work)).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        guard
            .shutdown_blocking(std::time::Duration::from_secs(20))
            .unwrap();
        let mut locks = HashMap::<usize, (usize, usize)>::new();
        for (lock, times) in taken.iter().flatten() {
            let (threads, total) = locks.entry(*lock).or_default();
            (*threads, *total) = (*threads + 1, *total + times);
        }
        let all: usize = locks.values().map(|(_, total)| total).sum();
        // A lock that many threads take is taken once for many spans: that of the pool of chunks, of which each
        // shard takes one after each batch, and so one for each 32 spans.
        for (threads, total) in locks.values() {
            let spans = SPANS * THREADS;
            let is_rare = *total <= spans / 16;
            assert!(
                *threads <= THREADS / 8 || is_rare,
                "{threads} threads, {total} times"
            );
        }
        // The mean over what is taken: with 16 shards for all it is above four.
        let shared: usize = locks.values().map(|(threads, total)| threads * total).sum();
        let mean = shared as f64 / all as f64;
        let mut most: Vec<_> = locks.values().collect();
        most.sort_by_key(|(threads, total)| std::cmp::Reverse(threads * total));
        most.truncate(5);
        assert!(
            mean < 3.0,
            "a lock is one of {mean:.2} threads; most: {most:?} of {all}"
        );
    }
}
