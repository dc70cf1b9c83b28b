#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod bounds;

use std::time::Instant;

use super::block_list::{BLOCK, Block};
use super::*;
use crate::config::BatchConfig;
use crate::processor::tests::fake::{Answer, Fake};
use crate::processor::{PipelineParts, ScopeId};
use crate::stats::Stats;

/// A tail sampler before a queue that nobody takes from.
struct House {
    tail: TailSampler,
    processor: BatchProcessor,
    memory: Arc<Memory>,
    max_spans: usize,
    max_bytes: usize,
}

fn house(edit: impl FnOnce(&mut TailConfig)) -> House {
    let mut config = TailConfig {
        max_spans: 50,
        max_bytes: 64 << 10,
        ..TailConfig::default()
    };
    edit(&mut config);
    house_of(&config, 16 << 20)
}

fn house_of(config: &TailConfig, max_memory: usize) -> House {
    let batch = BatchConfig {
        max_memory,
        schedule_delay: Duration::from_secs(3600),
        max_export_batch_size: 65_536,
        ..BatchConfig::default()
    };
    let pipeline = PipelineParts::new(&batch);
    let memory = Arc::clone(&pipeline.memory);
    let exporter = Fake::new(0, Answer::Deliver);
    let worker = Default::default();
    let processor =
        BatchProcessor::start_within(exporter, &batch, &worker, Default::default(), pipeline)
            .unwrap();
    House {
        tail: TailSampler::new(config, processor.clone(), Arc::clone(&memory)),
        processor,
        memory,
        max_spans: config.max_spans,
        max_bytes: config.max_bytes,
    }
}

/// How a span ended.
#[derive(Debug, Clone, Copy)]
struct How {
    is_error: bool,
    millis: u64,
    len: usize,
}

const WELL: How = How {
    is_error: false,
    millis: 1,
    len: 100,
};
const BADLY: How = How {
    is_error: true,
    ..WELL
};

impl House {
    fn begin(&self, number: u8) -> TraceRef {
        // Of the least ids: in no ratio but 1.
        let mut id = [0; 16];
        id[15] = number;
        self.tail.begin(id)
    }

    fn end(&self, trace_ref: &TraceRef, how: How) {
        let end = clock::now();
        self.tail.ended(&EndedSpan {
            trace_id: [0; 16],
            trace_ref,
            name: "root",
            is_error: how.is_error,
            start: end - how.millis * 1_000_000,
            end,
            data: TelemetryData {
                scope: ScopeId::default(),
                item: &vec![b'x'; how.len],
            },
        });
    }

    fn stats(&self) -> Stats {
        let mut stats = self.processor.stats();
        stats.held = self.tail.held().used() as u64;
        stats
    }

    /// Spans that are held, went on, and were dropped.
    fn fates(&self) -> [u64; 3] {
        let stats = self.stats();
        [
            stats.held,
            stats.queued,
            stats.dropped(DropReason::TailDropped),
        ]
    }

    #[track_caller]
    fn is_within_bounds(&self) {
        let (spans, bytes) = self.tail.store.used();
        assert!(spans <= self.max_spans, "{spans} spans");
        assert!(bytes <= self.max_bytes, "{bytes} bytes");
    }
}

#[test]
fn a_trace_is_whole_or_not_at_all() {
    let house = house(|_| {});
    for (ending, fates) in [(WELL, [0, 0, 3]), (BADLY, [0, 3, 3])] {
        let root = house.begin(0);
        let child = root.child();
        house.end(&child.child(), WELL);
        house.end(&child, WELL);
        assert_eq!(house.fates()[0], 2);
        house.end(&root, ending);
        assert_eq!(house.fates(), fates);
    }
    // An early child's error keeps what came before it and what follows.
    let root = house.begin(0);
    house.end(&root.child(), WELL);
    house.end(&root.child(), BADLY);
    house.end(&root.child(), WELL);
    house.end(&root, WELL);
    assert_eq!(house.fates(), [0, 7, 3]);
}

#[test]
fn a_slow_root_keeps_its_trace_a_slow_child_does_not() {
    let house = house(|c| c.slower_than = Some(Duration::from_millis(100)));
    let slow = How {
        millis: 200,
        ..WELL
    };
    let root = house.begin(0);
    house.end(&root.child(), slow);
    house.end(&root, WELL);
    assert_eq!(house.fates(), [0, 0, 2]);
    let root = house.begin(0);
    house.end(&root.child(), WELL);
    house.end(&root, slow);
    assert_eq!(house.fates(), [0, 2, 2]);
}

#[test]
fn what_is_slow_for_its_name_is_kept() {
    let house = house(|c| c.slower_than_quantile = Some(0.9));
    for _ in 0..100 {
        house.end(&house.begin(0), WELL);
    }
    assert_eq!(house.fates(), [0, 0, 100]);
    let slow = How { millis: 3, ..WELL };
    house.end(&house.begin(0), slow);
    assert_eq!(house.fates(), [0, 1, 100]);
}

#[test]
fn late_spans_follow_the_verdict_and_a_late_error_is_kept() {
    let house = house(|_| {});
    let (kept, dropped) = (house.begin(0), house.begin(0));
    let late = [kept.child(), dropped.child(), dropped.child()];
    house.end(&kept, BADLY);
    house.end(&dropped, WELL);
    assert_eq!(house.fates(), [0, 1, 1]);
    house.end(&late[0], WELL);
    assert_eq!(house.fates(), [0, 2, 1], "followed");
    house.end(&late[1], WELL);
    assert_eq!(house.fates(), [0, 2, 2], "followed");
    house.end(&late[2], BADLY);
    assert_eq!(house.fates(), [0, 3, 2], "kept alone");
    // Children of children, however late: the decision lives as long as they do.
    house.end(&late[0].child().child(), WELL);
    assert_eq!(house.fates(), [0, 4, 2]);
}

#[test]
fn what_is_held_too_long_is_decided_by_what_is_known() {
    let hold = Duration::from_millis(1);
    let house = house(|c| {
        c.max_hold = hold;
        c.slower_than = Some(Duration::from_secs(5));
    });
    let roots = [0, 1, 2].map(|number| house.begin(number));
    house.end(&roots[0].child(), WELL);
    house.end(&roots[1].child(), BADLY);
    let long = How {
        millis: 60_000,
        ..WELL
    };
    house.end(&roots[2].child(), long);
    let begun = Instant::now();
    while house.fates()[0] > 0 {
        assert!(begun.elapsed() < Duration::from_secs(120), "never swept");
        house.tail.sweep();
    }
    // The error and the minute that the third lasts already.
    assert_eq!(house.fates(), [0, 2, 1]);
    house.end(&roots[0], WELL);
    house.end(&roots[2], WELL);
    assert_eq!(house.fates(), [0, 3, 2], "followed");
}

#[test]
fn at_a_bound_the_oldest_trace_is_decided() {
    let house = house(|c| c.max_spans = 3);
    // In one shard, so the order is exact.
    let roots = [0, 16, 32].map(|number| house.begin(number));
    house.end(&roots[0].child(), BADLY);
    house.end(&roots[1].child(), WELL);
    house.end(&roots[1].child(), WELL);
    assert_eq!(house.fates(), [3, 0, 0]);
    house.end(&roots[2].child(), WELL);
    assert_eq!(house.fates(), [3, 1, 0], "the first, which failed");
    house.end(&roots[2].child(), WELL);
    assert_eq!(house.fates(), [2, 1, 2], "the second, which did not");
    // A trace that fills the bound alone is decided too, and not held any more.
    house.end(&roots[2].child(), WELL);
    house.end(&roots[2].child(), WELL);
    assert_eq!(house.fates(), [0, 1, 6]);
    for (root, ending) in roots.iter().zip([WELL, WELL, BADLY]) {
        house.end(root, ending);
    }
    assert_eq!(house.fates(), [0, 3, 7]);
}

#[test]
fn a_span_larger_than_the_bound_is_decided_at_once() {
    let house = house(|_| {});
    let root = house.begin(0);
    house.end(&root.child(), WELL);
    let large = How {
        len: 65 << 10,
        ..BADLY
    };
    house.end(&root.child(), large);
    assert_eq!(house.fates(), [0, 2, 0]);
    house.is_within_bounds();
}

#[test]
fn idle_blocks_make_way_for_a_large_span() {
    let house = house(|_| {});
    let root = house.begin(0);
    let whole = How { len: 1500, ..WELL };
    for _ in 0..25 {
        house.end(&root.child(), whole);
    }
    house.end(&root, WELL);
    assert_eq!(
        house.tail.store.used().1,
        25 * Block::cost_of(BLOCK),
        "idle"
    );
    let root = house.begin(0);
    let large = How {
        len: 60 << 10,
        ..WELL
    };
    house.end(&root.child(), large);
    assert_eq!(house.fates()[0], 1);
    house.is_within_bounds();
}

/// EH-2: where the pipeline has no memory left, spans are decided one by one.
#[test]
fn without_memory_nothing_is_held_and_nothing_is_lost_uncounted() {
    let house = house(|c| c.slower_than = Some(Duration::from_secs(30)));
    let Memory {
        spans,
        growth,
        queue,
        ..
    } = &*house.memory;
    assert!(queue.reserve(queue.limit()));
    for class in [spans, growth] {
        assert!(class.reserve(class.share()));
    }
    let root = house.begin(0);
    assert!(root.is_none());
    house.end(&root.child(), BADLY);
    house.end(&root, WELL);
    let stats = house.stats();
    // The queue has no memory for the first either.
    assert_eq!(stats.dropped(DropReason::QueueFull), 1);
    assert_eq!(stats.dropped(DropReason::TailDropped), 1);
    for class in [spans, growth, queue] {
        class.release(class.used());
    }
    // It began without a place for its trace, and is slow all the same.
    let slow = How {
        millis: 60_000,
        ..WELL
    };
    house.end(&root, slow);
    assert_eq!(house.fates(), [0, 1, 1]);
}

#[test]
fn closing_decides_all_and_nothing_is_held_from_then_on() {
    let house = house(|_| {});
    let roots = [0, 1, 2].map(|number| house.begin(number));
    house.end(&roots[0].child(), WELL);
    house.end(&roots[1].child(), BADLY);
    house.tail.close();
    assert_eq!(house.fates(), [0, 1, 1]);
    house.end(&roots[2].child(), WELL);
    house.end(&roots[1].child(), WELL);
    assert_eq!(house.fates(), [0, 2, 2]);
    house.end(&roots[2], BADLY);
    assert_eq!(house.fates(), [0, 3, 2]);
    house.tail.close();
}

#[test]
fn all_memory_is_given_back() {
    let house = house(|c| c.slower_than_quantile = Some(0.5));
    let root = house.begin(0);
    for i in 0..20 {
        let how = How {
            len: i * 300,
            ..WELL
        };
        house.end(&root.child(), how);
    }
    house.end(&root, WELL);
    drop(root);
    let House {
        tail,
        processor,
        memory,
        ..
    } = house;
    let before = processor.stats();
    assert_eq!(before.queued, 0);
    drop(tail);
    assert_eq!(memory.used(), 0);
}
