#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use super::*;
use crate::sync::lock;

fn metadata() -> &'static Metadata<'static> {
    static CALLSITE: tracing_core::callsite::DefaultCallsite =
        tracing_core::callsite::DefaultCallsite::new(&METADATA);
    static METADATA: Metadata<'static> = tracing_core::metadata! {
        name: "span",
        target: "target",
        level: tracing_core::Level::INFO,
        fields: &[],
        callsite: &CALLSITE,
        kind: tracing_core::metadata::Kind::SPAN,
    };
    &METADATA
}

#[test]
fn pages_hold_all_indices_once() {
    let mut expected = (0, 0);
    for index in FIRST as u32..10_000 {
        let at = place(index);
        assert_eq!(at, expected, "{index}");
        expected = match at.1 + 1 == FIRST << at.0 {
            true => (at.0 + 1, 0),
            false => (at.0, at.1 + 1),
        };
    }
    assert_eq!(place(u32::MAX).0 + 1, PAGES);
}

#[test]
fn a_slot_is_used_again_under_another_id() {
    let slots = Slots::new(0);
    let first = slots.open(metadata(), 0, 0);
    assert!(slots.retain(first));
    assert_eq!(slots.release(first), Released::Open);
    assert_eq!(slots.release(first), Released::Last);
    assert!(!slots.retain(first), "it closes");
    assert_eq!(slots.release(first), Released::Open);
    assert_eq!(slots.known(first).unwrap().id, first);
    assert!(slots.free(first).is_some() && slots.free(first).is_none());
    let second = slots.open(metadata(), 7, 0);
    assert_eq!((second as u32, second >> 43), (first as u32, 1));
    assert!(slots.known(first).is_none() && !slots.retain(first));
    assert_eq!(slots.known(second).unwrap().parent, 7);
    for id in [0, u64::MAX, 256, 257, 258, 1 << 31] {
        assert!(slots.known(id).is_none());
        assert_eq!(slots.release(id), Released::Open);
    }
}

#[test]
fn all_generations_come_before_one_comes_again() {
    let rotated = |n: u32| u64::from(n.rotate_left(11)) << 32;
    for n in [0, 1, 5, (1 << 21) - 1, 1 << 21, u32::MAX - 1] {
        assert_eq!(next(rotated(n)), rotated(n + 1), "{n}");
    }
    assert_eq!(next(rotated(u32::MAX)), rotated(1));
}

#[test]
fn spans_beyond_the_first_page_are_found() {
    let slots = Slots::new(3);
    let ids: Vec<_> = (0..2000).map(|n| slots.open(metadata(), n, 0)).collect();
    for (n, id) in (0..).zip(&ids) {
        assert_eq!(slots.known(*id).unwrap().parent, n);
        assert_eq!(slots.release(*id), Released::Last);
        let freed = slots.free(*id);
        assert_eq!(freed.map(|freed| (freed.parent, freed.twin)), Some((n, 0)));
    }
    assert!(ids.iter().all(|id| slots.known(*id).is_none()));
}

#[test]
fn a_twin_is_given_once_and_freed_with_its_span() {
    let slots = Slots::new(0);
    let id = slots.open(metadata(), 0, 0);
    assert_eq!(slots.set_twin(id, 5), Some(5));
    assert_eq!(slots.set_twin(id, 6), Some(5));
    assert_eq!(slots.known(id).unwrap().twin, 5);
    assert_eq!(slots.release(id), Released::Last);
    assert_eq!(slots.free(id).unwrap().twin, 5);
    assert_eq!(slots.set_twin(id, 7), None);
    let next = slots.open(metadata(), 0, 0);
    assert_eq!(
        (next as u32, slots.known(next).unwrap().twin),
        (id as u32, 0)
    );
}

/// What a thread reads by an id is of that span, or nothing, also while the slot passes to others.
#[test]
fn no_thread_reads_the_parent_of_a_later_span() {
    let slots = Slots::new(0);
    let release = |id| {
        if slots.release(id) == Released::Last {
            let freed = slots.free(id).unwrap();
            assert!(freed.twin == 0 || freed.twin == freed.parent);
        }
    };
    let published = Mutex::new((slots.open(metadata(), 1, 0), 1));
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let (id, parent) = *lock(&published);
                    let is_right = |known: RegisteredSpan| known.parent == parent;
                    assert!(slots.known(id).is_none_or(is_right));
                    let twin = slots.set_twin(id, parent);
                    assert!(twin.is_none_or(|twin| twin == parent));
                    if slots.retain(id) {
                        assert!(slots.known(id).is_some_and(is_right));
                        release(id);
                    }
                }
            });
        }
        for parent in 2..5_000 {
            let next = slots.open(metadata(), parent, 0);
            let (last, _) = std::mem::replace(&mut *lock(&published), (next, parent));
            release(last);
        }
        is_over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn slots_that_another_thread_frees_are_used_again() {
    let slots = Slots::new(0);
    for _ in 0..100 {
        let ids: Vec<_> = (0..50).map(|_| slots.open(metadata(), 0, 0)).collect();
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                for id in ids {
                    assert_eq!(slots.release(id), Released::Last);
                    slots.free(id).unwrap();
                }
            });
            // Until the thread has given back what it kept.
            thread.join().unwrap();
        });
    }
    assert!(slots.used.load(Ordering::Relaxed) <= 50);
}
