//! [`Heir`]: the core of a layer in a fork of the process that made the layer.
//!
//! A thread that did not come along may have held any lock of the core when the process was forked,
//! and what the core has counted is the parent's. So a fork gets a core of its own, with tables of its
//! own: its spans have new ids, are children of those that were open at the fork, travel in headers
//! and log lines as ever, and are counted as [`DropReason::Forked`](crate::DropReason::Forked) when they
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

/// Where the core of a fork is; empty in the process that made the layer. Two threads may make one, and
/// the first that is there is taken: nobody waits for a thread that a fork has left behind.
#[derive(Default)]
pub(super) struct Heir(OnceBox<Recorder>);

/// What spans that go nowhere may hold.
const MEMORY: usize = 1 << 20;

impl Recorder {
    /// The core to be used in this process.
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
                .heir
                .0
                .get_or_init(|| Box::new(recorder.inherit_all()));
        }
        recorder
    }

    fn inherit_all(&self) -> Self {
        // It has been here before, so it cannot fail; without it the fork goes without new tables.
        let home = Home::here().unwrap_or_else(|_| self.home.clone());
        let mut heir = Self::new(
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
            heir.set_dispatch(dispatch.clone());
        }
        let may_be_filtered = self.may_be_filtered.load(Ordering::Relaxed);
        heir.may_be_filtered
            .store(may_be_filtered, Ordering::Relaxed);
        heir.before = Some(Arc::clone(&self.spans));
        heir
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

impl Heir {
    /// What the layer has counted in this process, if that is a fork.
    pub(super) fn count(&self, stats: &mut Stats) {
        if let Some(recorder) = self.0.get() {
            let recorder = recorder.here();
            Recorder::count(stats, &recorder.spans, &recorder.free, &recorder.after_end);
            stats.logs.emitted = recorder.logs.as_ref().map_or(0, |logs| logs.emitted.sum());
        }
    }
}
