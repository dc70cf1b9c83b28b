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
struct Rig {
    tail: TailSampler,
    processor: BatchProcessor,
    memory: Arc<Memory>,
    max_spans: usize,
    max_bytes: usize,
}

fn rig(edit: impl FnOnce(&mut TailConfig)) -> Rig {
    let mut config = TailConfig {
        max_spans: 50,
        max_bytes: 64 << 10,
        ..TailConfig::default()
    };
    edit(&mut config);
    rig_of(&config, 16 << 20)
}

fn rig_of(config: &TailConfig, max_memory: usize) -> Rig {
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
    Rig {
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

impl Rig {
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
    let rig = rig(|_| {});
    for (ending, fates) in [(WELL, [0, 0, 3]), (BADLY, [0, 3, 3])] {
        let root = rig.begin(0);
        let child = root.child();
        rig.end(&child.child(), WELL);
        rig.end(&child, WELL);
        assert_eq!(rig.fates()[0], 2);
        rig.end(&root, ending);
        assert_eq!(rig.fates(), fates);
    }
    // An early child's error keeps what came before it and what follows.
    let root = rig.begin(0);
    rig.end(&root.child(), WELL);
    rig.end(&root.child(), BADLY);
    rig.end(&root.child(), WELL);
    rig.end(&root, WELL);
    assert_eq!(rig.fates(), [0, 7, 3]);
}

#[test]
fn a_slow_root_keeps_its_trace_a_slow_child_does_not() {
    let rig = rig(|c| c.slower_than = Some(Duration::from_millis(100)));
    let slow = How {
        millis: 200,
        ..WELL
    };
    let root = rig.begin(0);
    rig.end(&root.child(), slow);
    rig.end(&root, WELL);
    assert_eq!(rig.fates(), [0, 0, 2]);
    let root = rig.begin(0);
    rig.end(&root.child(), WELL);
    rig.end(&root, slow);
    assert_eq!(rig.fates(), [0, 2, 2]);
}

#[test]
fn what_is_slow_for_its_name_is_kept() {
    let rig = rig(|c| c.slower_than_quantile = Some(0.9));
    for _ in 0..100 {
        rig.end(&rig.begin(0), WELL);
    }
    assert_eq!(rig.fates(), [0, 0, 100]);
    let slow = How { millis: 3, ..WELL };
    rig.end(&rig.begin(0), slow);
    assert_eq!(rig.fates(), [0, 1, 100]);
}

#[test]
fn late_spans_follow_the_decision_and_a_late_error_is_kept() {
    let rig = rig(|_| {});
    let (kept, dropped) = (rig.begin(0), rig.begin(0));
    let late = [kept.child(), dropped.child(), dropped.child()];
    rig.end(&kept, BADLY);
    rig.end(&dropped, WELL);
    assert_eq!(rig.fates(), [0, 1, 1]);
    rig.end(&late[0], WELL);
    assert_eq!(rig.fates(), [0, 2, 1], "followed");
    rig.end(&late[1], WELL);
    assert_eq!(rig.fates(), [0, 2, 2], "followed");
    rig.end(&late[2], BADLY);
    assert_eq!(rig.fates(), [0, 3, 2], "kept alone");
    // Children of children, however late: the decision lives as long as they do.
    rig.end(&late[0].child().child(), WELL);
    assert_eq!(rig.fates(), [0, 4, 2]);
}

#[test]
fn what_is_held_too_long_is_decided_by_what_is_known() {
    let hold = Duration::from_millis(1);
    let rig = rig(|c| {
        c.max_hold = hold;
        c.slower_than = Some(Duration::from_secs(5));
    });
    let roots = [0, 1, 2].map(|number| rig.begin(number));
    rig.end(&roots[0].child(), WELL);
    rig.end(&roots[1].child(), BADLY);
    let long = How {
        millis: 60_000,
        ..WELL
    };
    rig.end(&roots[2].child(), long);
    let begun = Instant::now();
    while rig.fates()[0] > 0 {
        assert!(begun.elapsed() < Duration::from_secs(120), "never swept");
        rig.tail.sweep();
    }
    // The error and the minute that the third lasts already.
    assert_eq!(rig.fates(), [0, 2, 1]);
    rig.end(&roots[0], WELL);
    rig.end(&roots[2], WELL);
    assert_eq!(rig.fates(), [0, 3, 2], "followed");
}

#[test]
fn at_a_bound_the_oldest_trace_is_decided() {
    let rig = rig(|c| c.max_spans = 3);
    // In one shard, so the order is exact.
    let roots = [0, 16, 32].map(|number| rig.begin(number));
    rig.end(&roots[0].child(), BADLY);
    rig.end(&roots[1].child(), WELL);
    rig.end(&roots[1].child(), WELL);
    assert_eq!(rig.fates(), [3, 0, 0]);
    rig.end(&roots[2].child(), WELL);
    assert_eq!(rig.fates(), [3, 1, 0], "the first, which failed");
    rig.end(&roots[2].child(), WELL);
    assert_eq!(rig.fates(), [2, 1, 2], "the second, which did not");
    // A trace that fills the bound alone is decided too, and not held any more.
    rig.end(&roots[2].child(), WELL);
    rig.end(&roots[2].child(), WELL);
    assert_eq!(rig.fates(), [0, 1, 6]);
    for (root, ending) in roots.iter().zip([WELL, WELL, BADLY]) {
        rig.end(root, ending);
    }
    assert_eq!(rig.fates(), [0, 3, 7]);
}

#[test]
fn a_span_larger_than_the_bound_is_decided_at_once() {
    let rig = rig(|_| {});
    let root = rig.begin(0);
    rig.end(&root.child(), WELL);
    let large = How {
        len: 65 << 10,
        ..BADLY
    };
    rig.end(&root.child(), large);
    assert_eq!(rig.fates(), [0, 2, 0]);
    rig.is_within_bounds();
}

#[test]
fn idle_blocks_make_way_for_a_large_span() {
    let rig = rig(|_| {});
    let root = rig.begin(0);
    let whole = How { len: 1500, ..WELL };
    for _ in 0..25 {
        rig.end(&root.child(), whole);
    }
    rig.end(&root, WELL);
    assert_eq!(rig.tail.store.used().1, 25 * Block::cost_of(BLOCK), "idle");
    let root = rig.begin(0);
    let large = How {
        len: 60 << 10,
        ..WELL
    };
    rig.end(&root.child(), large);
    assert_eq!(rig.fates()[0], 1);
    rig.is_within_bounds();
}

/// EH-2: where the pipeline has no memory left, spans are decided one by one.
#[test]
fn without_memory_nothing_is_held_and_nothing_is_lost_uncounted() {
    let rig = rig(|c| c.slower_than = Some(Duration::from_secs(30)));
    let Memory {
        spans,
        growth,
        queue,
        ..
    } = &*rig.memory;
    assert!(queue.reserve(queue.limit()));
    for class in [spans, growth] {
        assert!(class.reserve(class.share()));
    }
    let root = rig.begin(0);
    assert!(root.is_none());
    rig.end(&root.child(), BADLY);
    rig.end(&root, WELL);
    let stats = rig.stats();
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
    rig.end(&root, slow);
    assert_eq!(rig.fates(), [0, 1, 1]);
}

#[test]
fn closing_decides_all_and_nothing_is_held_from_then_on() {
    let rig = rig(|_| {});
    let roots = [0, 1, 2].map(|number| rig.begin(number));
    rig.end(&roots[0].child(), WELL);
    rig.end(&roots[1].child(), BADLY);
    rig.tail.close();
    assert_eq!(rig.fates(), [0, 1, 1]);
    rig.end(&roots[2].child(), WELL);
    rig.end(&roots[1].child(), WELL);
    assert_eq!(rig.fates(), [0, 2, 2]);
    rig.end(&roots[2], BADLY);
    assert_eq!(rig.fates(), [0, 3, 2]);
    rig.tail.close();
}

#[test]
fn all_memory_is_given_back() {
    let rig = rig(|c| c.slower_than_quantile = Some(0.5));
    let root = rig.begin(0);
    for i in 0..20 {
        let how = How {
            len: i * 300,
            ..WELL
        };
        rig.end(&root.child(), how);
    }
    rig.end(&root, WELL);
    drop(root);
    let Rig {
        tail,
        processor,
        memory,
        ..
    } = rig;
    let before = processor.stats();
    assert_eq!(before.queued, 0);
    drop(tail);
    assert_eq!(memory.used(), 0);
}
