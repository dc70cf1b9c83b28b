//! [`Forked`]: the counters and answers of a processor in a fork of its process, which has no worker.
//!
//! A fork touches no lock of the processor: a thread of the parent may have held it at the time of the
//! fork, and that thread does not exist here.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use once_cell::race::OnceBox;
use tracing::dispatcher;
use tracing::error;

use super::flush::{Command, FlushError, FlushRequest, forked as explain};
use crate::diagnostics::TARGET;
use crate::fork::Home;
use crate::stats::{Counters, DropReason, Stats};
use crate::suppress;
use crate::sync::Arc;

/// Counts the spans and records of a fork, and answers flushes and shutdowns.
pub(super) struct Forked {
    /// The fork.
    home: Home,
    /// The process that has the worker.
    origin: u32,
    counters: Arc<Counters>,
    log_counters: Arc<Counters>,
    has_reported: AtomicBool,
    /// Used in a fork of this fork.
    next: ForkedCell,
}

/// The [`Forked`] of a process, made on first use without a lock.
#[derive(Default)]
pub(super) struct ForkedCell(OnceBox<Forked>);

/// How long a caller waits for a subscriber to take the one event. A subscriber that writes to a stream
/// whose lock was held at the time of the fork never returns.
const PATIENCE: Duration = Duration::from_millis(200);

impl ForkedCell {
    /// The [`Forked`] of this process, a fork of `home`.
    #[cold]
    pub(super) fn of(&self, home: &Home) -> &Forked {
        let mut forked = self.get_or_make(home.pid(), home);
        while forked.home.is_left() {
            forked = forked.next.get_or_make(forked.origin, &forked.home);
        }
        forked
    }

    fn get_or_make(&self, origin: u32, parent: &Home) -> &Forked {
        self.0.get_or_init(|| {
            let counters = Counters::new();
            counters.set_last_error(explain(origin, 0));
            Box::new(Forked {
                // `Home::here` succeeded in the parent. If it fails here, this fork and its own forks share
                // this `Forked`.
                home: Home::here().unwrap_or_else(|_| parent.clone()),
                origin,
                counters,
                log_counters: Counters::new(),
                has_reported: AtomicBool::new(false),
                next: ForkedCell::default(),
            })
        })
    }
}

impl Forked {
    pub(super) fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    pub(super) fn log_counters(&self) -> &Arc<Counters> {
        &self.log_counters
    }

    pub(super) fn push(&self) {
        self.counters.drop_spans(DropReason::Forked, 1);
    }

    pub(super) fn push_log(&self) {
        self.log_counters.drop_spans(DropReason::Forked, 1);
    }

    pub(super) fn stats(&self) -> Stats {
        let mut stats = self.counters.snapshot();
        stats.logs = self.log_counters.snapshot().into_logs();
        stats
    }

    /// A resolved request with the error for a fork. The first also emits an event, because the drop of a
    /// guard returns no error.
    pub(super) fn answer(&self, command: Command, timeout: Duration) -> FlushRequest {
        let origin = self.origin;
        let spans = self.stats().dropped(DropReason::Forked);
        if !self.has_reported.swap(true, Ordering::Relaxed) {
            report(explain(origin, spans));
        }
        FlushRequest::resolved(command, timeout, Err(FlushError::Forked { origin, spans }))
    }
}

/// Emits an event to the caller's subscriber, from another thread: a lock of the subscriber may have been
/// held at the time of the fork.
fn report(message: String) {
    let dispatch = dispatcher::get_default(Clone::clone);
    let (done, is_done) = mpsc::channel();
    let thread = thread::Builder::new().name("otlp-fork".to_owned());
    let started = thread.spawn(move || {
        suppress::mark_thread();
        dispatcher::with_default(&dispatch, || error!(target: TARGET, "{message}"));
        let _ = done.send(());
    });
    if started.is_ok() {
        let _ = is_done.recv_timeout(PATIENCE);
    }
}
