//! The reports on lost spans, by reason and with a cure.

use std::time::Instant;

use tracing::Level;

use super::cure::{self, EndpointHealth};
use super::event_sink::{ReportFields, Topic};
use super::throttle::Transition;
use super::{Diagnostics, at};
use crate::stats::{DropReason, Stats};

impl Diagnostics {
    pub(super) fn observe_loss(&mut self, now: Instant, stats: Stats) {
        let said = self.loss.observe(now, stats.lost(), true);
        let error = self.exporter_error.clone().or_else(|| {
            // An error before the last report is not the cause of this loss.
            let is_new = at(&stats.last_error) != at(&self.reported.last_error);
            let (_, error) = stats.last_error.as_ref().filter(|_| is_new)?;
            Some(error.clone())
        });
        let (spans, words) = match said {
            None => return,
            Some(Transition::Begins(spans)) => (spans, "spans are being lost"),
            Some(Transition::GoesOn(spans)) => (spans, "spans are still being lost"),
            Some(Transition::Ends(spans)) => {
                let fields = ReportFields {
                    spans: Some(spans),
                    ..ReportFields::default()
                };
                let message = "no more spans are being lost";
                self.speaker.say(Topic::Loss, Level::INFO, message, fields);
                self.reported = stats;
                return;
            }
        };
        let (reasons, cure) = self.reasons(&stats);
        let fields = ReportFields {
            spans: Some(spans),
            reasons: Some(&reasons),
            error: error.as_deref(),
            ..ReportFields::default()
        };
        let message = format!("{words}; {cure}");
        self.speaker.say(Topic::Loss, Level::WARN, &message, fields);
        self.reported = stats;
    }

    /// The losses since the last report, as `queue_full 3, refused 1`, and the cure of the most frequent.
    pub(super) fn reasons(&self, stats: &Stats) -> (String, &'static str) {
        let new = |reason| stats.dropped(reason) - self.reported.dropped(reason);
        let mut text = String::new();
        let mut most = (0, DropReason::Internal);
        for &reason in DropReason::ALL {
            let count = match reason {
                // The settings ask for it; shedding has a report of its own.
                DropReason::TailDropped | DropReason::Shed => 0,
                reason => new(reason),
            };
            if count > 0 {
                let sep = if text.is_empty() { "" } else { ", " };
                text.push_str(&format!("{sep}{reason} {count}"));
            }
            if count > most.0 {
                most = (count, reason);
            }
        }
        let state = match (
            &self.exporter_error,
            stats.requests_failed > self.reported.requests_failed,
        ) {
            (Some(_), _) => EndpointHealth::TakesNothing,
            (None, true) => EndpointHealth::Fails,
            (None, false) => EndpointHealth::Works,
        };
        (text, cure::of(most.1, state))
    }
}
