//! Runs a number of units of work: in the calling thread, or as tasks on a runtime.

use std::mem;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tokio::runtime::{Builder, Runtime};

use crate::clock::CpuClock;
use crate::workload::{FIELDS, Input, KEYS, Work, Workload};

/// Concurrent tasks of the async workload.
const TASKS: u64 = 32;

/// In the calling thread; an async workload as tasks on a runtime that lives in that thread.
pub(crate) enum Inline {
    Request,
    Tiny,
    Quiet,
    Logs,
    Async(Runtime),
    Step,
    RootStep,
    /// So many attributes with declared keys.
    Fields(usize),
    /// So many attributes, one by one.
    Late(usize),
    List,
    Callsites,
}

impl Inline {
    pub(crate) fn new(work: Work, size: u64) -> Self {
        let size = size as usize;
        match work {
            Work::Request => Self::Request,
            Work::Tiny => Self::Tiny,
            Work::Fields => Self::Fields(size.min(FIELDS.len())),
            Work::Dynamic | Work::Many => Self::Late(size.min(KEYS.len())),
            Work::List => Self::List,
            Work::Callsites => Self::Callsites,
            Work::Quiet => Self::Quiet,
            Work::Logs => Self::Logs,
            Work::Async => Self::Async(Builder::new_current_thread().build().expect("a runtime")),
            Work::Deep => Self::Step,
            Work::Wide => Self::RootStep,
        }
    }

    pub(crate) fn run<W: Workload>(&self, input: &'static Input, units: u64) {
        match self {
            Self::Request => (0..units).for_each(|_| W::request(input)),
            Self::Tiny => (0..units).for_each(|_| W::tiny()),
            Self::Step => (0..units).for_each(|_| W::step(input)),
            Self::RootStep => (0..units).for_each(|_| W::root_step(input)),
            Self::Fields(count) => (0..units).for_each(|_| W::fields(*count, input.rows)),
            Self::Late(keys) => (0..units).for_each(|_| W::late_attributes(&KEYS[..*keys])),
            Self::List => (0..units).for_each(|_| W::list_of_attributes()),
            Self::Callsites => (0..units).for_each(|_| W::callsites()),
            Self::Quiet => (0..units).for_each(|_| W::quiet(input)),
            Self::Logs => (0..units).for_each(|_| W::logs(input)),
            Self::Async(runtime) => runtime.block_on(as_tasks::<W>(input, units)),
        }
    }
}

/// Calls `f` with the spans around it that the work has: entered, or open beside it.
pub(crate) fn surrounded<W: Workload>(
    (work, size): (Work, u64),
    flush: impl Fn(),
    f: &mut dyn FnMut(),
) {
    /// Spans between two flushes where nothing may be lost.
    const BURST: usize = 2_000;
    match work {
        Work::Deep => W::inside(size, f),
        Work::Wide => {
            let mut open: Vec<_> = (0..size).map(W::open).collect();
            f();
            if work.left_open(size) > 0 {
                return mem::forget(open);
            }
            while !open.is_empty() {
                open.truncate(open.len().saturating_sub(BURST));
                flush();
            }
        }
        _ => f(),
    }
}

/// The application's own multi-thread runtime, whose workers' CPU clocks can be read.
pub(crate) struct Workers {
    runtime: Runtime,
    clocks: Vec<CpuClock>,
}

impl Workers {
    pub(crate) fn new(threads: u64) -> Self {
        let started = Arc::new(Mutex::new(Vec::new()));
        let clocks = Arc::clone(&started);
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads as usize)
            .on_thread_start(move || {
                let mut clocks = clocks.lock().unwrap_or_else(PoisonError::into_inner);
                clocks.push(CpuClock::of_this_thread());
            })
            .build()
            .expect("a runtime");
        let clocks = loop {
            let clocks = started.lock().unwrap_or_else(PoisonError::into_inner);
            if clocks.len() == threads as usize {
                break clocks.clone();
            }
            drop(clocks);
            thread::yield_now();
        };
        Self { runtime, clocks }
    }

    pub(crate) fn run<W: Workload>(&self, input: &'static Input, units: u64) {
        self.runtime.block_on(as_tasks::<W>(input, units));
    }

    /// CPU time of all workers so far.
    pub(crate) fn cpu_nanos(&self) -> u64 {
        self.clocks.iter().map(|clock| clock.nanos()).sum()
    }
}

async fn as_tasks<W: Workload>(input: &'static Input, units: u64) {
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let share = units / TASKS + u64::from(task < units % TASKS);
            tokio::spawn(async move {
                for _ in 0..share {
                    W::request_async(input).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("the workload does not panic");
    }
}
