//! [`Forked`]: what is left of a processor in a fork of its process, where its worker is not.
//!
//! Nothing of the processor's own is touched there: a thread that did not come along may have held
//! any of its locks when the process was forked.

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

/// Counts what is recorded in a fork, and answers who waits.
pub(super) struct Forked {
    /// The fork.
    home: Home,
    /// The process that has the worker.
    origin: u32,
    counters: Arc<Counters>,
    log_counters: Arc<Counters>,
    has_spoken: AtomicBool,
    /// In a fork of this one.
    next: Place,
}

/// Where a process finds its [`Forked`]. Nobody waits for a thread that makes it.
#[derive(Default)]
pub(super) struct Place(OnceBox<Forked>);

/// How long a caller waits for a subscriber to take the one event: one that writes to a stream whose
/// lock did not survive the fork takes none.
const PATIENCE: Duration = Duration::from_millis(200);

impl Place {
    /// The one of this process, a fork of `home`.
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
                // It has been here before, so it cannot fail; if it did, that of the parent would
                // only mean that this is made for a fork of the fork too.
                home: Home::here().unwrap_or_else(|_| parent.clone()),
                origin,
                counters,
                log_counters: Counters::new(),
                has_spoken: AtomicBool::new(false),
                next: Place::default(),
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
        stats.logs = self.log_counters.snapshot().into();
        stats
    }

    /// An answer at once, which says why nothing is sent; once as an event too, because the drop of a
    /// guard returns none.
    pub(super) fn answer(&self, command: Command, timeout: Duration) -> FlushRequest {
        let origin = self.origin;
        let spans = self.stats().dropped(DropReason::Forked);
        if !self.has_spoken.swap(true, Ordering::Relaxed) {
            speak(explain(origin, spans));
        }
        FlushRequest::resolved(command, timeout, Err(FlushError::Forked { origin, spans }))
    }
}

/// Says it where the caller is heard, from another thread: a subscriber may have locks of its own
/// that nobody lets go of here.
fn speak(message: String) {
    let dispatch = dispatcher::get_default(Clone::clone);
    let (done, is_done) = mpsc::channel();
    let speaker = thread::Builder::new().name("otlp-fork".to_owned());
    let started = speaker.spawn(move || {
        suppress::mark_thread();
        dispatcher::with_default(&dispatch, || error!(target: TARGET, "{message}"));
        let _ = done.send(());
    });
    if started.is_ok() {
        let _ = is_done.recv_timeout(PATIENCE);
    }
}
