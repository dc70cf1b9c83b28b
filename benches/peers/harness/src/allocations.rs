//! The system's allocator with counters that run only while asked to: otherwise a call costs one
//! relaxed load more than without it.
#![allow(unsafe_code, reason = "GlobalAlloc is an unsafe trait")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ops::{Add, Sub};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

static COUNTING: AtomicBool = AtomicBool::new(false);
static CALLS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static OWN: Cell<Allocations> = const { Cell::new(Allocations { calls: 0, bytes: 0 }) };
}

/// How often memory was asked for (new, zeroed or grown), and how much.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Allocations {
    pub(crate) calls: u64,
    pub(crate) bytes: u64,
}

impl Allocations {
    /// What the calling thread has asked for while counting was on.
    pub(crate) fn of_this_thread() -> Self {
        OWN.get()
    }

    /// What all threads have asked for while counting was on.
    pub(crate) fn of_all_threads() -> Self {
        Self {
            calls: CALLS.load(Relaxed),
            bytes: BYTES.load(Relaxed),
        }
    }
}

impl Add for Allocations {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            calls: self.calls + other.calls,
            bytes: self.bytes + other.bytes,
        }
    }
}

impl Sub for Allocations {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self {
            calls: self.calls - other.calls,
            bytes: self.bytes - other.bytes,
        }
    }
}

pub(crate) fn count(on: bool) {
    COUNTING.store(on, Relaxed);
}

struct CountingAllocator;

impl CountingAllocator {
    fn saw(bytes: usize) {
        if COUNTING.load(Relaxed) {
            Self::note(bytes as u64);
        }
    }

    #[cold]
    fn note(bytes: u64) {
        CALLS.fetch_add(1, Relaxed);
        BYTES.fetch_add(bytes, Relaxed);
        // A thread may allocate after its locals are gone; `all` still has the call.
        let _ = OWN.try_with(|own| own.set(own.get() + Allocations { calls: 1, bytes }));
    }
}

// SAFETY: every call is handed to the system's allocator unchanged; counting allocates nothing.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::saw(layout.size());
        // SAFETY: the caller's promises are the ones `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::saw(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::saw(size);
        // SAFETY: as above; `block` came from `System`.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above; `block` came from `System`.
        unsafe { System.dealloc(block, layout) }
    }
}
