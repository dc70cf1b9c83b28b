//! [`LogDiagnostics`]: the reports on log records.
//!
//! An endpoint that takes no logs is a matter of settings, not an outage: one report in the life of a
//! pipeline.

use std::time::Instant;

use tracing::Level;

use super::cure::{self, EndpointHealth};
use super::event_sink::{ReportFields, Speaker, Topic};
use super::throttle::{Reach, Reachability, Throttle, Transition};
use crate::stats::{Counters, DropReason, Stats};
use crate::sync::Arc;

#[derive(Debug)]
pub(super) struct LogDiagnostics {
    counters: Arc<Counters>,
    loss: Throttle,
    rejection: Throttle,
    warned: Throttle,
    /// The counters at the last report of a loss.
    reported: Stats,
    /// The report that the endpoint takes no logs was made.
    has_told_unsupported: bool,
    /// The exporter's last error; `None`: it can send.
    exporter_error: Option<String>,
    /// The exporter was probed since the last reading.
    has_probed: bool,
    reach: Reach,
}

impl LogDiagnostics {
    pub(super) fn new(counters: Arc<Counters>) -> Self {
        Self {
            counters,
            loss: Throttle::default(),
            rejection: Throttle::default(),
            warned: Throttle::default(),
            reported: Stats::default(),
            has_told_unsupported: false,
            exporter_error: None,
            has_probed: false,
            reach: Reach::default(),
        }
    }

    pub(super) fn note_health(&mut self, trouble: Option<String>) {
        if let Some(error) = &trouble {
            self.counters.set_last_error(error.clone());
        }
        self.exporter_error = trouble;
        self.has_probed = true;
    }

    pub(super) fn last_error(&self) -> Option<&str> {
        self.exporter_error.as_deref()
    }

    /// `spans_fail`: spans cannot be sent either, and the report on them is enough.
    pub(super) fn observe(&mut self, now: Instant, spans_fail: bool, speaker: &mut Speaker) {
        let stats = self.counters.snapshot();
        self.tell_unsupported(&stats, speaker);
        if std::mem::take(&mut self.has_probed) && !spans_fail {
            self.observe_reach(now, speaker);
        }
        let rejected = self.rejection.observe(now, stats.rejected, true);
        if let Some(Transition::Begins(records) | Transition::GoesOn(records)) = rejected {
            let fields = ReportFields {
                records: Some(records),
                error: error_of(&stats),
                ..ReportFields::default()
            };
            let message = "the endpoint rejects log records";
            speaker.say(Topic::LogRejection, Level::WARN, message, fields);
        }
        let warned = self.warned.observe(now, stats.warnings, true);
        if let Some(Transition::Begins(times) | Transition::GoesOn(times)) = warned {
            let fields = ReportFields {
                times: Some(times),
                warning: stats.last_warning.as_ref().map(|(_, text)| text.as_str()),
                ..ReportFields::default()
            };
            let message = "the endpoint took the log records, and warns";
            speaker.say(Topic::LogWarning, Level::WARN, message, fields);
        }
        match self.loss.observe(now, lost(&stats), true) {
            None => return,
            Some(Transition::Begins(records) | Transition::GoesOn(records)) => {
                self.say_lost(records, &stats, "log records are being lost", speaker);
            }
            Some(Transition::Ends(records)) => {
                let fields = ReportFields {
                    records: Some(records),
                    ..ReportFields::default()
                };
                let message = "no more log records are being lost";
                speaker.say(Topic::LogLoss, Level::INFO, message, fields);
            }
        }
        self.reported = stats;
    }

    fn say_lost(&self, records: u64, stats: &Stats, what: &str, speaker: &mut Speaker) {
        let (reasons, cure) = self.reasons(stats);
        let fields = ReportFields {
            records: Some(records),
            reasons: Some(&reasons),
            error: error_of(stats),
            ..ReportFields::default()
        };
        let message = format!("{what}; {cure}");
        speaker.say(Topic::LogLoss, Level::WARN, &message, fields);
    }

    fn observe_reach(&mut self, now: Instant, speaker: &mut Speaker) {
        let (level, message) = match self.reach.observe(now, self.exporter_error.is_some()) {
            None => return,
            Some(Reachability::Lost) => (
                Level::WARN,
                "the endpoint takes no log records now, they wait in the queue",
            ),
            Some(Reachability::StillLost) => {
                (Level::WARN, "the endpoint still takes no log records")
            }
            Some(Reachability::Found) => (Level::INFO, "the endpoint takes log records again"),
        };
        let fields = ReportFields {
            error: self.exporter_error.as_deref(),
            ..ReportFields::default()
        };
        speaker.say(Topic::LogReach, level, message, fields);
    }

    /// Reports the losses that were not reported yet.
    pub(super) fn finish(&mut self, speaker: &mut Speaker) {
        let stats = self.counters.snapshot();
        self.tell_unsupported(&stats, speaker);
        let records = lost(&stats).saturating_sub(self.loss.reported);
        if records > 0 {
            let what = "log records were lost by the time of shutdown";
            self.say_lost(records, &stats, what, speaker);
            self.loss.reported += records;
        }
    }

    fn tell_unsupported(&mut self, stats: &Stats, speaker: &mut Speaker) {
        if stats.dropped(DropReason::Unsupported) == 0 || self.has_told_unsupported {
            return;
        }
        self.has_told_unsupported = true;
        let fields = ReportFields {
            error: error_of(stats),
            ..ReportFields::default()
        };
        speaker.say(Topic::LogSupport, Level::WARN, UNSUPPORTED, fields);
    }

    /// The losses since the last report, and the cure of the most frequent.
    fn reasons(&self, stats: &Stats) -> (String, &'static str) {
        let new = |reason| stats.dropped(reason) - self.reported.dropped(reason);
        let counts = DropReason::ALL
            .iter()
            .map(|&reason| (new(reason), reason))
            .filter(|&(n, reason)| n > 0 && is_loss(reason));
        let text: Vec<_> = counts
            .clone()
            .map(|(n, reason)| format!("{reason} {n}"))
            .collect();
        let most = counts.max_by_key(|(n, _)| *n);
        let reason = most.map_or(DropReason::Internal, |(_, reason)| reason);
        let cure = match reason {
            DropReason::QueueFull => {
                "they come faster than they are sent: filter them, or raise OTEL_BLRP_MAX_QUEUE_SIZE and \
                 max_memory (with_max_memory)"
            }
            DropReason::TooLarge => {
                "a single record is too large: set OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT"
            }
            reason => cure::of(reason, EndpointHealth::Works),
        };
        (text.join(", "), cure)
    }
}

const UNSUPPORTED: &str = "the endpoint takes no logs: they are dropped and counted, and spans are not touched. Add \
     a logs pipeline there, send logs elsewhere (OTEL_EXPORTER_OTLP_LOGS_ENDPOINT), or switch them off \
     (OTEL_LOGS_EXPORTER=none)";

fn is_loss(reason: DropReason) -> bool {
    reason != DropReason::Unsupported
}

fn lost(stats: &Stats) -> u64 {
    stats.lost() - stats.dropped(DropReason::Unsupported)
}

fn error_of(stats: &Stats) -> Option<&str> {
    stats.last_error.as_ref().map(|(_, error)| error.as_str())
}
