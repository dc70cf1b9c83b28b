//! The pipeline's reports about itself: [`Diagnostic`].
//!
//! A pipeline reports lost spans, an endpoint that is down, rejected spans and wrong settings as `tracing`
//! events with the target `tracing_otlp`. Most programs only let their subscriber show these events, and
//! do not need this module. A program that handles the reports itself sets
//! [`OtlpBuilder::with_diagnostic_handler`](crate::OtlpBuilder::with_diagnostic_handler) and gets each of
//! them as a [`Diagnostic`].
//!
//! # How it works inside
//!
//! Callbacks and exporters only count. The worker reads the counters when it is awake and reports the
//! begin of a condition, at most once a minute that it continues, and its end.

mod cure;
mod event_sink;
mod hint;
mod logs;
mod loss;
mod members;
mod shedding;
mod throttle;

use std::time::{Duration, Instant, SystemTime};

use tracing::Level;

pub use self::event_sink::Diagnostic;
pub(crate) use self::event_sink::{EventSink, Handler, ReportFields, Speaker, TARGET, Topic};
pub(crate) use self::hint::{
    HINTS, Hint, METRIC_FIELDS, PRESUMED_RANDOM, RATIO_BELOW_PARENT, TOO_MANY_SCOPES,
};
use self::logs::LogDiagnostics;
use self::members::MemberDiagnostics;
use self::shedding::SheddingDiagnostics;
use self::throttle::{Reach, Reachability, Throttle, Transition};
use crate::signal::Signal;
use crate::stats::{Counters, EndpointStats, Stats};
use crate::sync::Arc;

/// The shortest time between two readings of the counters.
const POLL: Duration = Duration::from_millis(250);

/// The first reports wait this long for a subscriber: a program may install it after it builds the pipeline.
const PATIENCE: Duration = Duration::from_secs(3);

/// Turns changes of the counters into reports, and remembers the values that were reported.
#[derive(Debug)]
pub(crate) struct Diagnostics {
    speaker: Speaker,
    counters: Arc<Counters>,
    warnings: Vec<String>,
    hints: &'static [&'static Hint],
    next_poll: Option<Instant>,
    /// End of the wait for a subscriber.
    patient_until: Instant,
    loss: Throttle,
    /// The counters at the last report of a loss.
    reported: Stats,
    left_out: Throttle,
    shedding: SheddingDiagnostics,
    outage: Throttle,
    errors: u64,
    last_error: Option<(SystemTime, String)>,
    /// `Stats::requests_ok` at the last error.
    ok_before: u64,
    /// `Stats::requests_failed` and `Stats::rejected` at the last error.
    failed_before: u64,
    rejected_before: u64,
    /// The last error is of a partial success: its request ended well, and spans were rejected (OTLP-5).
    is_rejection: bool,
    /// The exporter's last error; `None`: it can send.
    exporter_error: Option<String>,
    /// The exporter was probed since the last reading.
    has_probed: bool,
    reach: Reach,
    members: [MemberDiagnostics; 2],
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
            next_poll: None,
            patient_until: Instant::now() + PATIENCE,
            loss: Throttle::default(),
            reported: Stats::default(),
            left_out: Throttle::default(),
            shedding: SheddingDiagnostics::default(),
            outage: Throttle::default(),
            errors: 0,
            last_error: None,
            ok_before: 0,
            failed_before: 0,
            rejected_before: 0,
            is_rejection: false,
            exporter_error: None,
            has_probed: false,
            reach: Reach::default(),
            members: [Signal::Traces, Signal::Logs].map(MemberDiagnostics::of),
            restarts: Throttle::default(),
            endpoint_warned: Throttle::default(),
            logs: None,
        }
    }

    /// Also reports on log records, by their counters.
    pub(crate) fn with_logs(mut self, counters: Option<Arc<Counters>>) -> Self {
        self.logs = counters.map(LogDiagnostics::new);
        self
    }

    /// The reports are of the exporter `place`; `None`: of the pipeline's own.
    pub(crate) fn of(mut self, place: Option<String>) -> Self {
        self.speaker = self.speaker.of(place);
        self
    }

    /// Reads the counters, at most once in [`POLL`], and reports changes. `is_closing`: a shutdown is under
    /// way; [`finish`](Self::finish) reports its losses, once.
    pub(crate) fn observe(&mut self, now: Instant, is_closing: bool) {
        if self.next_poll.is_some_and(|at| now < at) {
            return;
        }
        if now < self.patient_until && !self.speaker.has_subscriber() {
            return;
        }
        self.next_poll = now.checked_add(POLL);
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
        self.observe_left_out(now, &stats);
        self.shedding.observe(now, &stats, &mut self.speaker);
        if !is_closing {
            self.observe_loss(now, stats);
        }
        if let Some(logs) = &mut self.logs {
            logs.observe(now, self.exporter_error.is_some(), &mut self.speaker);
        }
    }

    /// Whether warnings wait for a subscriber.
    pub(crate) fn has_pending_warnings(&self) -> bool {
        !self.warnings.is_empty()
    }

    /// Reports on single addresses of the endpoint of a signal.
    pub(crate) fn note_members(&mut self, now: Instant, signal: Signal, members: &[EndpointStats]) {
        let [spans, logs] = &mut self.members;
        let of_signal = match signal {
            Signal::Traces => spans,
            Signal::Logs => logs,
        };
        of_signal.observe(now, members, &mut self.speaker);
    }

    /// Notes the part of all traces that is shed now.
    pub(crate) fn note_shed_ratio(&mut self, ratio: f64) {
        self.shedding.ratio = ratio;
    }

    /// Notes the result of a probe: the exporter's last error for `signal`, or that it can send.
    pub(crate) fn note_health(&mut self, signal: Signal, error: Option<String>) {
        match (signal, &mut self.logs) {
            (Signal::Traces, _) => self.note_span_health(error),
            (Signal::Logs, Some(logs)) => logs.note_health(error),
            (Signal::Logs, None) => {}
        }
    }

    fn note_span_health(&mut self, error: Option<String>) {
        if let Some(error) = &error {
            self.note_error(&self.counters.snapshot());
            self.counters.set_last_error(error.clone());
            // `observe_reach` reports this error: `observe_outage` must not report it again.
            self.last_error = self.counters.snapshot().last_error;
        }
        self.exporter_error = error;
        self.has_probed = true;
    }

    /// The exporter's error at the last probe; `None`: it can send.
    pub(crate) fn last_error(&self) -> Option<&str> {
        let logs = self.logs.as_ref();
        let of_logs = || logs.and_then(LogDiagnostics::last_error);
        self.exporter_error.as_deref().or_else(of_logs)
    }

    /// Reports the losses that were not reported yet, at the end of the worker.
    pub(crate) fn finish(&mut self) {
        self.warn_once();
        if let Some(logs) = &mut self.logs {
            logs.finish(&mut self.speaker);
        }
        let stats = self.counters.snapshot();
        let lost = stats.lost().saturating_sub(self.loss.reported);
        if lost > 0 {
            let (reasons, cure) = self.reasons(&stats);
            let error = stats.last_error.map(|(_, error)| error);
            let fields = ReportFields {
                spans: Some(lost),
                reasons: Some(&reasons),
                error: error.as_deref(),
                ..ReportFields::default()
            };
            let message = format!("spans were lost by the time of shutdown; {cure}");
            self.speaker.say(Topic::Loss, Level::WARN, &message, fields);
            self.loss.reported += lost;
        }
        let left_out = stats
            .truncated_for_memory
            .saturating_sub(self.left_out.reported);
        if left_out > 0 {
            self.say_left_out("spans have left out data", left_out);
            self.left_out.reported += left_out;
        }
    }

    fn warn_once(&mut self) {
        let mut say = |text: &str| {
            let fields = ReportFields::default();
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
            let fields = ReportFields {
                times: Some(times),
                error,
                ..ReportFields::default()
            };
            let message = "the worker panicked and was started again";
            self.speaker
                .say(Topic::Worker, Level::ERROR, message, fields);
        }
    }

    fn observe_reach(&mut self, now: Instant) {
        // Without a probe the state of the endpoint is unknown.
        if !std::mem::take(&mut self.has_probed) {
            return;
        }
        let said = self.reach.observe(now, self.exporter_error.is_some());
        let (level, message) = match said {
            None => return,
            Some(Reachability::Lost) => (
                Level::WARN,
                "the endpoint takes no spans now, they wait in the queue",
            ),
            Some(Reachability::StillLost) => (Level::WARN, "the endpoint still takes no spans"),
            Some(Reachability::Found) => (Level::INFO, "the endpoint takes spans again"),
        };
        let fields = ReportFields {
            error: self.exporter_error.as_deref(),
            ..ReportFields::default()
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
        let fields = ReportFields {
            // The report of the end names no cause.
            error: error.filter(|_| level != Level::INFO),
            failed: (!is_rejection).then_some(stats.requests_failed),
            rejected: is_rejection.then_some(stats.rejected),
            ..ReportFields::default()
        };
        self.speaker.say(topic, level, message, fields);
    }

    fn observe_warnings(&mut self, now: Instant, stats: &Stats) {
        let said = self.endpoint_warned.observe(now, stats.warnings, true);
        let warning = stats.last_warning.as_ref().map(|(_, text)| text.as_str());
        if let Some(Transition::Begins(times) | Transition::GoesOn(times)) = said {
            let fields = ReportFields {
                times: Some(times),
                warning,
                ..ReportFields::default()
            };
            let message = "the endpoint took the spans, and warns";
            self.speaker
                .say(Topic::EndpointWarning, Level::WARN, message, fields);
        }
    }

    fn observe_left_out(&mut self, now: Instant, stats: &Stats) {
        let said = self.left_out.observe(now, stats.truncated_for_memory, true);
        if let Some(Transition::Begins(left_out) | Transition::GoesOn(left_out)) = said {
            self.say_left_out("spans leave out data", left_out);
        }
    }

    fn say_left_out(&mut self, what: &str, left_out: u64) {
        let fields = ReportFields {
            left_out: Some(left_out),
            ..ReportFields::default()
        };
        let message = format!("{what} for want of memory; {MEMORY}");
        self.speaker
            .say(Topic::Memory, Level::WARN, &message, fields);
    }
}

const MEMORY: &str = "raise max_memory (with_max_memory), or limit what values may take: \
                      OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT";

fn at(error: &Option<(SystemTime, String)>) -> Option<SystemTime> {
    error.as_ref().map(|(at, _)| *at)
}

#[cfg(test)]
mod tests;
