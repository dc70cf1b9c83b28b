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
        std::future::ready(Outcome::delivered(batch.item_count() as u64))
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
        // What a thread takes for a span in four, at least, is on a span's way. The pool of chunks is not: each shard
        // takes one after each batch. Nor is a search for an idle span, after another thread held the shard's lock.
        let mut locks = HashMap::<usize, usize>::new();
        let on_the_way = taken.iter().flatten();
        for (lock, _) in on_the_way.filter(|(_, times)| **times >= SPANS / 4) {
            *locks.entry(*lock).or_default() += 1;
        }
        assert!(locks.len() >= THREADS, "{} locks", locks.len());
        let most = locks.values().max().copied().unwrap_or_default();
        assert!(
            most <= THREADS / 8,
            "one lock is on the way of {most} threads"
        );
    }
}
