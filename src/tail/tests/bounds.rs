//! Whatever happens in whatever order, the bounds hold and no span is counted twice or not at all.

use std::sync::Barrier;
use std::thread;

use proptest::prelude::*;

use super::*;
use crate::sync::{AtomicU64, Ordering};

#[derive(Debug, Clone)]
enum Step {
    Begin,
    Branch(prop::sample::Index),
    End(prop::sample::Index, bool, u64, usize),
    Sweep,
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        2 => Just(Step::Begin),
        6 => index().prop_map(Step::Branch),
        6 => (index(), prop::bool::weighted(0.1), 0..500u64, 0..6000usize)
            .prop_map(|(i, error, millis, len)| Step::End(i, error, millis, len)),
        1 => Just(Step::Sweep),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The bounds hold at every step, and each span is held, queued or dropped.
    #[test]
    fn bounds_hold_and_sums_are_exact(
        steps in prop::collection::vec(step(), 0..600),
        max_spans in 1..60usize,
        tight in any::<bool>(),
    ) {
        let config = TailConfig {
            max_spans,
            // One that the blocks reach before the spans do, or the other way round.
            max_bytes: if tight { 8 << 10 } else { 256 << 10 },
            slower_than: Some(Duration::from_millis(400)),
            max_hold: Duration::from_micros(200),
            ..TailConfig::default()
        };
        let rig = rig_of(&config, 16 << 20);
        let (mut open, mut ended) = (Vec::new(), 0);
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Begin => open.push(rig.begin(number as u8)),
                Step::Branch(index) if !open.is_empty() => {
                    open.push(index.get(&open).child());
                }
                Step::End(index, is_error, millis, len) if !open.is_empty() => {
                    let trace_ref = open.swap_remove(index.index(open.len()));
                    rig.end(&trace_ref, How { is_error, millis, len });
                    ended += 1;
                }
                Step::Sweep => rig.tail.sweep(),
                _ => {}
            }
            rig.is_within_bounds();
            prop_assert_eq!(rig.fates().iter().sum::<u64>(), ended);
        }
        rig.tail.close();
        prop_assert_eq!(rig.fates()[0], 0);
        prop_assert_eq!(rig.fates().iter().sum::<u64>(), ended);
    }
}

/// Traces whose spans end on several threads at once, under bounds that are always hit, while the
/// worker sweeps; then the sampler is closed under their hands.
#[test]
fn many_threads_count_every_span_once() {
    const THREADS: usize = 8;
    const ROUNDS: u64 = 400;
    let rig = rig(|c| {
        c.max_spans = 20;
        c.max_hold = Duration::from_micros(50);
        c.slower_than_quantile = Some(0.9);
    });
    let (ended, barrier) = (AtomicU64::new(0), Barrier::new(THREADS));
    // What the threads share of each round.
    let shared: Vec<_> = (0..ROUNDS).map(|round| rig.begin(round as u8)).collect();
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (rig, ended, barrier, shared) = (&rig, &ended, &barrier, &shared);
            scope.spawn(move || {
                let end = |trace_ref: &TraceRef, how| {
                    rig.end(trace_ref, how);
                    ended.fetch_add(1, Ordering::Relaxed);
                    rig.is_within_bounds();
                };
                barrier.wait();
                for (round, common) in (0..).zip(shared) {
                    let how = match (round + thread) % 13 {
                        0 => BADLY,
                        _ => How {
                            len: round * 17 % 4000,
                            ..WELL
                        },
                    };
                    end(&common.child(), how);
                    let own = rig.begin(thread as u8);
                    end(&own.child(), how);
                    if round % THREADS == thread {
                        end(common, WELL);
                    }
                    end(&own, WELL);
                    if thread == 0 && round % 16 == 0 {
                        rig.tail.sweep();
                    }
                    if thread == 1 && round as u64 == ROUNDS / 2 {
                        rig.tail.close();
                    }
                }
            });
        }
    });
    let expected = ROUNDS * (3 * THREADS as u64 + 1);
    assert_eq!(ended.into_inner(), expected);
    let fates = rig.fates();
    assert_eq!(fates[0], 0, "closed");
    assert_eq!(fates.iter().sum::<u64>(), expected, "{fates:?}");
    assert!(fates[1] > 0 && fates[2] > 0, "{fates:?}");
}
