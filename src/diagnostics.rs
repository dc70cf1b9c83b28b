//! The worker speaks for everybody: a few `tracing` events with the target `tracing_otlp`.
//!
//! Callbacks and exporters only count. The worker looks at the counters when it is up, and says when
//! something begins, at most once a minute that it goes on, and when it is over (EH-2, PAIN 30).

mod cure;
mod event_sink;
mod hint;
mod logs;
mod throttle;

use std::time::{Duration, Instant, SystemTime};

use tracing::Level;

use self::cure::State;
pub use self::event_sink::Diagnostic;
pub(crate) use self::event_sink::{EventSink, Fields, Handler, Speaker, Topic};
pub(crate) use self::hint::{
    HINTS, Hint, METRIC_FIELDS, PRESUMED_RANDOM, RATIO_BELOW_PARENT, TOO_MANY_SCOPES,
};
use self::logs::LogDiagnostics;
use self::throttle::{Reach, Reachability, Throttle, Transition};
use crate::signal::Signal;
use crate::stats::{Counters, DropReason, Stats};
use crate::sync::Arc;

/// The target of all our own events.
pub(crate) const TARGET: &str = "tracing_otlp";

/// How often the counters are looked at.
const POLL: Duration = Duration::from_millis(250);

/// So long a subscriber may come after the pipeline; what there is to say waits for it.
const PATIENCE: Duration = Duration::from_secs(3);

/// What the worker has said, and what it has not yet.
#[derive(Debug)]
pub(crate) struct Diagnostics {
    speaker: Speaker,
    counters: Arc<Counters>,
    warnings: Vec<String>,
    hints: &'static [&'static Hint],
    next_glance: Option<Instant>,
    /// Until when a subscriber is waited for.
    patient_until: Instant,
    loss: Throttle,
    /// What was lost, by reason, when last spoken of.
    told: Stats,
    shed: Throttle,
    outage: Throttle,
    errors: u64,
    last_error: Option<(SystemTime, String)>,
    /// Requests that had ended well when the last error came.
    ok_before: u64,
    /// Requests that had failed, and spans that had been rejected.
    failed_before: u64,
    rejected_before: u64,
    /// Whether it is of a request that went well, and whose spans were rejected (OTLP-5).
    is_rejection: bool,
    /// Why nothing can be sent just now.
    trouble: Option<String>,
    /// Whether it was heard of since it was last looked at.
    is_news: bool,
    reach: Reach,
    restarts: Throttle,
    endpoint_warned: Throttle,
    logs: Option<LogDiagnostics>,
}

impl Diagnostics {
    pub(crate) fn new(
        event_sink: Arc<EventSink>,
        counters: Arc<Counters>,
        warnings: Vec<String>,
        hints: &'static [&'static Hint],
    ) -> Self {
        Self {
            speaker: Speaker::new(event_sink),
            counters,
            warnings,
            hints,
            next_glance: None,
            patient_until: Instant::now() + PATIENCE,
            loss: Throttle::default(),
            told: Stats::default(),
            shed: Throttle::default(),
            outage: Throttle::default(),
            errors: 0,
            last_error: None,
            ok_before: 0,
            failed_before: 0,
            rejected_before: 0,
            is_rejection: false,
            trouble: None,
            is_news: false,
            reach: Reach::default(),
            restarts: Throttle::default(),
            endpoint_warned: Throttle::default(),
            logs: None,
        }
    }

    /// Also speaks of log records, by their counters.
    pub(crate) fn with_logs(mut self, counters: Option<Arc<Counters>>) -> Self {
        self.logs = counters.map(LogDiagnostics::new);
        self
    }

    /// Looks at the counters, unless it just did, and says what is new. `is_closing`: what a shutdown
    /// cannot deliver is left for [`finish`](Self::finish), which says it once.
    pub(crate) fn observe(&mut self, now: Instant, is_closing: bool) {
        if self.next_glance.is_some_and(|at| now < at) {
            return;
        }
        if now < self.patient_until && !self.speaker.is_heard() {
            return;
        }
        self.next_glance = now.checked_add(POLL);
        let stats = self.counters.snapshot();
        self.warn_once();
        self.observe_restarts(now, &stats);
        if !is_closing {
            self.observe_reach(now);
        }
        self.note_error(&stats);
        if !is_closing || self.is_rejection {
            self.observe_outage(now, &stats);
        }
        self.observe_warnings(now, &stats);
        self.observe_shed(now, &stats);
        if !is_closing {
            self.observe_loss(now, stats);
        }
        if let Some(logs) = &mut self.logs {
            logs.observe(now, self.trouble.is_some(), &mut self.speaker);
        }
    }

    /// Whether there is something to say that nobody was there to hear.
    pub(crate) fn has_unsaid(&self) -> bool {
        !self.warnings.is_empty()
    }

    /// Takes note of why nothing of a signal can be sent just now, or that it can.
    pub(crate) fn note_health(&mut self, signal: Signal, trouble: Option<String>) {
        match (signal, &mut self.logs) {
            (Signal::Traces, _) => self.hear_of_span_trouble(trouble),
            (Signal::Logs, Some(logs)) => logs.note_health(trouble),
            (Signal::Logs, None) => {}
        }
    }

    fn hear_of_span_trouble(&mut self, trouble: Option<String>) {
        if let Some(error) = &trouble {
            self.note_error(&self.counters.snapshot());
            self.counters.set_last_error(error.clone());
            // It has words of its own.
            self.last_error = self.counters.snapshot().last_error;
        }
        self.trouble = trouble;
        self.is_news = true;
    }

    /// Why nothing can be sent just now, as was heard last.
    pub(crate) fn last_error(&self) -> Option<&str> {
        let logs = self.logs.as_ref();
        let of_logs = || logs.and_then(LogDiagnostics::last_error);
        self.trouble.as_deref().or_else(of_logs)
    }

    /// The last words: losses that were not spoken of yet.
    pub(crate) fn finish(&mut self) {
        self.warn_once();
        if let Some(logs) = &mut self.logs {
            logs.finish(&mut self.speaker);
        }
        let stats = self.counters.snapshot();
        let lost = stats.lost().saturating_sub(self.loss.told);
        if lost > 0 {
            let (reasons, cure) = self.reasons(&stats);
            let error = stats.last_error.map(|(_, error)| error);
            let fields = Fields {
                spans: Some(lost),
                reasons: Some(&reasons),
                error: error.as_deref(),
                ..Fields::default()
            };
            let message = format!("spans were lost by the time of shutdown; {cure}");
            self.speaker.say(Topic::Loss, Level::WARN, &message, fields);
            self.loss.told += lost;
        }
        let left_out = stats.truncated_for_memory.saturating_sub(self.shed.told);
        if left_out > 0 {
            self.say_left_out("spans have left out data", left_out);
            self.shed.told += left_out;
        }
    }

    fn warn_once(&mut self) {
        let mut say = |text: &str| {
            let fields = Fields::default();
            self.speaker.say(Topic::Setting, Level::WARN, text, fields);
        };
        for warning in self.warnings.drain(..) {
            say(&warning);
        }
        for hint in self.hints.iter().filter(|hint| hint.is_due()) {
            say(hint.text);
        }
    }

    fn observe_restarts(&mut self, now: Instant, stats: &Stats) {
        let said = self.restarts.observe(now, stats.worker_restarts, true);
        if let Some(Transition::Begins(times) | Transition::GoesOn(times)) = said {
            let error = stats.last_error.as_ref().map(|(_, error)| error.as_str());
            let fields = Fields {
                times: Some(times),
                error,
                ..Fields::default()
            };
            let message = "the worker panicked and was started again";
            self.speaker
                .say(Topic::Worker, Level::ERROR, message, fields);
        }
    }

    fn observe_reach(&mut self, now: Instant) {
        // While nothing is to be sent nobody knows.
        if !std::mem::take(&mut self.is_news) {
            return;
        }
        let said = self.reach.observe(now, self.trouble.is_some());
        let (level, message) = match said {
            None => return,
            Some(Reachability::Lost) => (
                Level::WARN,
                "the endpoint takes no spans now, they wait in the queue",
            ),
            Some(Reachability::StillLost) => (Level::WARN, "the endpoint still takes no spans"),
            Some(Reachability::Found) => (Level::INFO, "the endpoint takes spans again"),
        };
        let fields = Fields {
            error: self.trouble.as_deref(),
            ..Fields::default()
        };
        self.speaker.say(Topic::Reach, level, message, fields);
    }

    fn note_error(&mut self, stats: &Stats) {
        if at(&stats.last_error) != at(&self.last_error) {
            self.errors += 1;
            self.last_error.clone_from(&stats.last_error);
            self.ok_before = stats.requests_ok;
            let has_failed = stats.requests_failed > self.failed_before;
            self.is_rejection = stats.rejected > self.rejected_before && !has_failed;
            self.failed_before = stats.requests_failed;
            self.rejected_before = stats.rejected;
        }
    }

    fn observe_outage(&mut self, now: Instant, stats: &Stats) {
        let works = stats.requests_ok > self.ok_before;
        let said = self.outage.observe(now, self.errors, works);
        let (topic, level, message) = match (said, self.is_rejection) {
            (None, _) => return,
            (Some(Transition::Begins(_)), true) => {
                (Topic::Rejection, Level::WARN, "the endpoint rejects spans")
            }
            (Some(Transition::GoesOn(_)), true) => (
                Topic::Rejection,
                Level::WARN,
                "the endpoint still rejects spans",
            ),
            (Some(Transition::Ends(_)), true) => (
                Topic::Rejection,
                Level::INFO,
                "the endpoint rejects no more spans",
            ),
            (Some(Transition::Begins(_)), false) => {
                (Topic::Export, Level::WARN, "exporting spans fails")
            }
            (Some(Transition::GoesOn(_)), false) => {
                (Topic::Export, Level::WARN, "exporting spans still fails")
            }
            (Some(Transition::Ends(_)), false) => {
                (Topic::Export, Level::INFO, "exporting spans works again")
            }
        };
        let error = self.last_error.as_ref().map(|(_, error)| error.as_str());
        let is_rejection = self.is_rejection;
        let fields = Fields {
            // What is over has no cause any more.
            error: error.filter(|_| level != Level::INFO),
            failed: (!is_rejection).then_some(stats.requests_failed),
            rejected: is_rejection.then_some(stats.rejected),
            ..Fields::default()
        };
        self.speaker.say(topic, level, message, fields);
    }

    fn observe_warnings(&mut self, now: Instant, stats: &Stats) {
        let said = self.endpoint_warned.observe(now, stats.warnings, true);
        let warning = stats.last_warning.as_ref().map(|(_, text)| text.as_str());
        if let Some(Transition::Begins(times) | Transition::GoesOn(times)) = said {
            let fields = Fields {
                times: Some(times),
                warning,
                ..Fields::default()
            };
            let message = "the endpoint took the spans, and warns";
            self.speaker
                .say(Topic::EndpointWarning, Level::WARN, message, fields);
        }
    }

    fn observe_shed(&mut self, now: Instant, stats: &Stats) {
        let said = self.shed.observe(now, stats.truncated_for_memory, true);
        if let Some(Transition::Begins(left_out) | Transition::GoesOn(left_out)) = said {
            self.say_left_out("spans leave out data", left_out);
        }
    }

    fn say_left_out(&mut self, what: &str, left_out: u64) {
        let fields = Fields {
            left_out: Some(left_out),
            ..Fields::default()
        };
        let message = format!("{what} for want of memory; {MEMORY}");
        self.speaker
            .say(Topic::Memory, Level::WARN, &message, fields);
    }

    fn observe_loss(&mut self, now: Instant, stats: Stats) {
        let said = self.loss.observe(now, stats.lost(), true);
        let error = self.trouble.clone().or_else(|| {
            // An older one has nothing to do with it.
            let is_new = at(&stats.last_error) != at(&self.told.last_error);
            let (_, error) = stats.last_error.as_ref().filter(|_| is_new)?;
            Some(error.clone())
        });
        let (spans, words) = match said {
            None => return,
            Some(Transition::Begins(spans)) => (spans, "spans are being lost"),
            Some(Transition::GoesOn(spans)) => (spans, "spans are still being lost"),
            Some(Transition::Ends(spans)) => {
                let fields = Fields {
                    spans: Some(spans),
                    ..Fields::default()
                };
                let message = "no more spans are being lost";
                self.speaker.say(Topic::Loss, Level::INFO, message, fields);
                self.told = stats;
                return;
            }
        };
        let (reasons, cure) = self.reasons(&stats);
        let fields = Fields {
            spans: Some(spans),
            reasons: Some(&reasons),
            error: error.as_deref(),
            ..Fields::default()
        };
        let message = format!("{words}; {cure}");
        self.speaker.say(Topic::Loss, Level::WARN, &message, fields);
        self.told = stats;
    }

    /// What was lost since it was last spoken of, as `queue_full 3, refused 1`, and what helps.
    fn reasons(&self, stats: &Stats) -> (String, &'static str) {
        let new = |reason| stats.dropped(reason) - self.told.dropped(reason);
        let mut text = String::new();
        let mut most = (0, DropReason::Internal);
        for reason in DropReason::ALL {
            let count = match reason {
                // No loss: it was asked for.
                DropReason::TailDropped => 0,
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
            &self.trouble,
            stats.requests_failed > self.told.requests_failed,
        ) {
            (Some(_), _) => State::TakesNothing,
            (None, true) => State::Fails,
            (None, false) => State::Works,
        };
        (text, cure::of(most.1, state))
    }
}

const MEMORY: &str = "raise max_memory (with_max_memory), or limit what values may take: \
                      OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT";

fn at(error: &Option<(SystemTime, String)>) -> Option<SystemTime> {
    error.as_ref().map(|(at, _)| *at)
}

#[cfg(test)]
mod tests;
