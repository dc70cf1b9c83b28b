//! The reports on traces that are shed: a line when that begins, one a minute, and one when it ends.

use std::time::Instant;

use tracing::Level;

use super::event_sink::{ReportFields, Speaker, Topic};
use super::throttle::{Throttle, Transition};
use crate::stats::{DropReason, Stats};

/// What was said of shedding.
#[derive(Debug, Default)]
pub(super) struct SheddingDiagnostics {
    /// The part of all traces that is shed now.
    pub(super) ratio: f64,
    said: Throttle,
    spans: CountSinceReport,
    traces: CountSinceReport,
}

/// A counter, as it was when the condition began and when it was last reported.
#[derive(Debug, Default)]
struct CountSinceReport {
    before: u64,
    reported: u64,
}

impl CountSinceReport {
    fn report(&mut self, total: u64, transition: &Transition) -> u64 {
        let last = std::mem::replace(&mut self.reported, total);
        match transition {
            Transition::Begins(_) => {
                self.before = last;
                total - last
            }
            Transition::GoesOn(_) => total - last,
            Transition::Ends(_) => total - self.before,
        }
    }
}

const CURE: &str = "spans come faster than the endpoint takes them: sample, or speed it up";

impl SheddingDiagnostics {
    pub(super) fn observe(&mut self, now: Instant, stats: &Stats, speaker: &mut Speaker) {
        let (spans, traces) = (stats.dropped(DropReason::Shed), stats.shed_traces);
        let has_ended = self.ratio == 0.0;
        let Some(transition) = self.said.observe(now, spans + traces, has_ended) else {
            return;
        };
        let fields = ReportFields {
            spans: Some(self.spans.report(spans, &transition)),
            traces: Some(self.traces.report(traces, &transition)),
            ..ReportFields::default()
        };
        let (level, message) = match transition {
            Transition::Begins(_) => (
                Level::WARN,
                format!("traces are being shed: {}", self.rate()),
            ),
            Transition::GoesOn(_) => {
                let message = format!("traces are still being shed: {}", self.rate());
                (Level::WARN, message)
            }
            Transition::Ends(_) => (Level::INFO, "no more traces are being shed".to_owned()),
        };
        speaker.say(Topic::Shedding, level, &message, fields);
    }

    fn rate(&self) -> String {
        let percent = 100.0 * (1.0 - self.ratio);
        let digits = if percent < 10.0 { 2 } else { 0 };
        format!("{percent:.digits$} % of them are kept whole; {CURE}")
    }
}
