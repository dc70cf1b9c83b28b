//! [`ForkedRecorder`]: the recorder of a layer in a fork of the process that made the layer.
//!
//! At the fork, a thread that does not exist in the child may have held any lock of the recorder, and
//! the counters are the parent's. So the child gets a recorder with tables of its own. Its spans have
//! new ids, are children of the spans that were open at the fork, appear in headers and log lines as
//! usual, and are counted as [`DropReason::Forked`](crate::DropReason::Forked) when they
//! close.

use std::sync::atomic::Ordering;

use once_cell::race::OnceBox;

use super::identity::Identity;
use super::recorder::Recorder;
use super::sink::SpanSink;
use crate::context::TraceContext;
use crate::fork::Home;
use crate::pool::Memory;
use crate::stats::Stats;
use crate::sync::Arc;

/// The recorder of a fork; empty in the process that made the layer. If two threads make one at once,
/// the first stored wins: a `OnceBox` never waits, so a thread lost in a second fork blocks no one.
#[derive(Default)]
pub(super) struct ForkedRecorder(OnceBox<Recorder>);

/// Bytes for the open spans of a fork, which are never exported.
const MEMORY: usize = 1 << 20;

impl Recorder {
    /// The recorder of this process.
    #[inline(always)]
    pub(super) fn here(&self) -> &Self {
        if self.home.is_left() {
            return self.in_a_fork();
        }
        self
    }

    #[cold]
    #[inline(never)]
    fn in_a_fork(&self) -> &Self {
        let mut recorder = self;
        while recorder.home.is_left() {
            recorder = recorder
                .forked
                .0
                .get_or_init(|| Box::new(recorder.for_fork()));
        }
        recorder
    }

    fn for_fork(&self) -> Self {
        // Cannot fail: the handler is registered since the layer was made.
        let home = Home::here().unwrap_or_else(|_| self.home.clone());
        let mut forked = Self::new(
            self.layer,
            home,
            self.settings.clone(),
            self.config.clone(),
            self.ids.clone(),
            Memory::new(MEMORY),
            (
                self.sink.as_ref().map(SpanSink::in_a_fork),
                self.logs.as_ref().map(|logs| Arc::new(logs.in_a_fork())),
            ),
        );
        if let Some(dispatch) = self.weak_dispatch() {
            forked.set_dispatch(dispatch.clone());
        }
        let may_be_filtered = self.may_be_filtered.load(Ordering::Relaxed);
        forked
            .may_be_filtered
            .store(may_be_filtered, Ordering::Relaxed);
        forked.before = Some(Arc::clone(&self.spans));
        forked
    }

    /// Makes `child` a child of a span that was open when the process was forked.
    #[cold]
    pub(super) fn inherit_from_before(&self, parent: u64, child: &mut Identity) -> bool {
        let before = self.before.as_ref();
        before.is_some_and(|spans| {
            spans
                .try_with(parent, |span| span.adopt_child(child))
                .is_some()
        })
    }

    /// The context of a span that was open when the process was forked.
    #[cold]
    pub(super) fn context_from_before(&self, span: u64) -> Option<TraceContext> {
        let before = self.before.as_ref()?;
        before.try_with(span, |span| span.identity.context())
    }
}

impl ForkedRecorder {
    /// Adds the counters of a fork to `stats`.
    pub(super) fn count(&self, stats: &mut Stats) {
        if let Some(recorder) = self.0.get() {
            let recorder = recorder.here();
            Recorder::count(
                stats,
                &recorder.spans,
                &recorder.manual,
                &recorder.after_end,
            );
            stats.logs.emitted = recorder.logs.as_ref().map_or(0, |logs| logs.emitted.sum());
        }
    }
}
