//! [`LogDiagnostics`]: what the worker says of log records.
//!
//! An endpoint that takes no logs is told of once and for all: it is no outage, and whoever set the
//! pipeline up knows then.

use std::time::Instant;

use tracing::{info, warn};

use super::cure::{self, State};
use super::episode::{Episode, Reach, Say, Word};
use super::{TARGET, Voice};
use crate::stats::{Counters, DropReason, Stats};
use crate::sync::Arc;

#[derive(Debug)]
pub(super) struct LogDiagnostics {
    counters: Arc<Counters>,
    loss: Episode,
    rejection: Episode,
    warned: Episode,
    /// What was lost, by reason, when last spoken of.
    told: Stats,
    /// Whether it was said that the endpoint takes none.
    has_told_unsupported: bool,
    /// Why nothing can be sent just now.
    trouble: Option<String>,
    /// Whether it was heard of since it was last looked at.
    is_news: bool,
    reach: Reach,
}

impl LogDiagnostics {
    pub(super) fn new(counters: Arc<Counters>) -> Self {
        Self {
            counters,
            loss: Episode::default(),
            rejection: Episode::default(),
            warned: Episode::default(),
            told: Stats::default(),
            has_told_unsupported: false,
            trouble: None,
            is_news: false,
            reach: Reach::default(),
        }
    }

    pub(super) fn hear_of_trouble(&mut self, trouble: Option<String>) {
        if let Some(error) = &trouble {
            self.counters.set_last_error(error.clone());
        }
        self.trouble = trouble;
        self.is_news = true;
    }

    pub(super) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// `is_said`: the spans have trouble too, which is told already.
    pub(super) fn observe(&mut self, now: Instant, is_said: bool, voice: &Voice) {
        let stats = self.counters.snapshot();
        self.tell_unsupported(&stats, voice);
        if std::mem::take(&mut self.is_news) && !is_said {
            self.observe_reach(now, voice);
        }
        let rejected = self.rejection.observe(now, stats.rejected, true);
        if let Some(Say::Begins(records) | Say::GoesOn(records)) = rejected {
            let error = error_of(&stats);
            voice.speak(|| {
                warn!(target: TARGET, records, error, "the endpoint rejects log records");
            });
        }
        let warned = self.warned.observe(now, stats.warnings, true);
        if let Some(Say::Begins(times) | Say::GoesOn(times)) = warned {
            let warning = stats.last_warning.as_ref().map(|(_, text)| text.as_str());
            voice.speak(|| {
                warn!(target: TARGET, times, warning, "the endpoint took the log records, and warns");
            });
        }
        match self.loss.observe(now, lost(&stats), true) {
            None => return,
            Some(Say::Begins(records) | Say::GoesOn(records)) => {
                let (reasons, cure) = self.reasons(&stats);
                let error = error_of(&stats);
                voice.speak(|| {
                    warn!(target: TARGET, records, %reasons, error, "log records are being lost; {cure}");
                });
            }
            Some(Say::Ends(records)) => {
                voice.speak(|| {
                    info!(target: TARGET, records, "no more log records are being lost");
                });
            }
        }
        self.told = stats;
    }

    fn observe_reach(&mut self, now: Instant, voice: &Voice) {
        let error = self.trouble.as_deref();
        match self.reach.observe(now, error.is_some()) {
            None => {}
            Some(Word::Lost) => voice.speak(|| {
                warn!(target: TARGET, error, "the endpoint takes no log records now, they wait in the queue");
            }),
            Some(Word::StillLost) => voice.speak(|| {
                warn!(target: TARGET, error, "the endpoint still takes no log records");
            }),
            Some(Word::Found) => {
                voice.speak(|| info!(target: TARGET, "the endpoint takes log records again"));
            }
        }
    }

    /// The last words.
    pub(super) fn finish(&mut self, voice: &Voice) {
        let stats = self.counters.snapshot();
        self.tell_unsupported(&stats, voice);
        let records = lost(&stats).saturating_sub(self.loss.told);
        if records > 0 {
            let (reasons, cure) = self.reasons(&stats);
            let error = error_of(&stats);
            voice.speak(|| {
                warn!(target: TARGET, records, %reasons, error, "log records were lost by the time of shutdown; {cure}");
            });
            self.loss.told += records;
        }
    }

    fn tell_unsupported(&mut self, stats: &Stats, voice: &Voice) {
        if stats.dropped(DropReason::Unsupported) == 0 || self.has_told_unsupported {
            return;
        }
        self.has_told_unsupported = true;
        let error = error_of(stats);
        voice.speak(|| {
            warn!(
                target: TARGET, error,
                "the endpoint takes no logs: they are dropped and counted, and spans are not touched. Add a \
                 logs pipeline there, send logs elsewhere (OTEL_EXPORTER_OTLP_LOGS_ENDPOINT), or switch them \
                 off (OTEL_LOGS_EXPORTER=none)"
            );
        });
    }

    /// What was lost since it was last spoken of, and what helps against the most of it.
    fn reasons(&self, stats: &Stats) -> (String, &'static str) {
        let new = |reason| stats.dropped(reason) - self.told.dropped(reason);
        let counts = DropReason::ALL.map(|reason| (new(reason), reason));
        let counts = counts
            .iter()
            .filter(|(n, reason)| *n > 0 && is_loss(*reason));
        let text: Vec<_> = counts
            .clone()
            .map(|(n, reason)| format!("{reason} {n}"))
            .collect();
        let most = counts.max_by_key(|(n, _)| *n);
        let reason = most.map_or(DropReason::Internal, |(_, reason)| *reason);
        let cure = match reason {
            DropReason::QueueFull => {
                "they come faster than they are sent: filter them, or raise OTEL_BLRP_MAX_QUEUE_SIZE and \
                 max_memory (with_max_memory)"
            }
            DropReason::TooLarge => {
                "a single record is too large: set OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT"
            }
            reason => cure::of(reason, State::Works),
        };
        (text.join(", "), cure)
    }
}

fn is_loss(reason: DropReason) -> bool {
    reason != DropReason::Unsupported
}

fn lost(stats: &Stats) -> u64 {
    stats.lost() - stats.dropped(DropReason::Unsupported)
}

fn error_of(stats: &Stats) -> Option<&str> {
    stats.last_error.as_ref().map(|(_, error)| error.as_str())
}
