//! [`EventSink`]: a diagnostic goes to the layer's subscriber, to the application's handler, and to
//! standard error if no layer has shown it.
//!
//! `tracing` cannot tell whether a layer shows an event: an event is also enabled if a span only records it.
//! A layer that shows an event formats its message, so the message notes that it was formatted.

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::io::{self, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use tracing::dispatcher::{self, Dispatch, WeakDispatch};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::NoSubscriber;
use tracing::{Level, error, info, warn};

use crate::sync::{Arc, Mutex, lock};

/// The target of all our own events.
pub(crate) const TARGET: &str = "tracing_otlp";

/// The shortest time between two lines of one topic on standard error.
const REPEAT: Duration = Duration::from_secs(600);

/// A report of the pipeline about itself, for the handler of
/// [`OtlpBuilder::with_diagnostic_handler`](crate::OtlpBuilder::with_diagnostic_handler).
///
/// `Display` writes the whole report in one line.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Diagnostic<'a> {
    level: Level,
    message: &'a str,
    fields: ReportFields<'a>,
}

impl<'a> Diagnostic<'a> {
    /// `ERROR`: a defect of this crate or of an exporter. `WARN`: a condition that the user can mend.
    /// `INFO`: the end of such a condition.
    pub fn level(&self) -> Level {
        self.level
    }

    /// The condition and its cure, in words.
    pub fn message(&self) -> &'a str {
        self.message
    }

    /// The error or warning of the endpoint or the system, with its cure, if that is the cause.
    pub fn error(&self) -> Option<&'a str> {
        self.fields.error.or(self.fields.warning)
    }
}

impl fmt::Display for Diagnostic<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ReportFields {
            spans,
            reasons,
            records,
            times,
            left_out,
            traces,
            failed,
            rejected,
            ..
        } = self.fields;
        f.write_str(self.message)?;
        let counts = [
            ("spans", spans),
            ("traces", traces),
            ("records", records),
            ("times", times),
            ("left_out", left_out),
            ("failed", failed),
            ("rejected", rejected),
        ];
        let counts = counts.into_iter().filter_map(|(key, n)| Some((key, n?)));
        let mut sep = " (";
        for (key, count) in counts {
            write!(f, "{sep}{key}={count}")?;
            sep = ", ";
        }
        if let Some(reasons) = reasons {
            write!(f, "{sep}reasons: {reasons}")?;
            sep = ", ";
        }
        if sep == ", " {
            f.write_str(")")?;
        }
        match self.error() {
            Some(error) => write!(f, ": {error}"),
            None => Ok(()),
        }
    }
}

/// The fields of our events.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct ReportFields<'a> {
    pub(super) spans: Option<u64>,
    /// Traces that were not recorded.
    pub(super) traces: Option<u64>,
    pub(super) records: Option<u64>,
    /// The reasons of a loss, as `queue_full 3, refused 1`.
    pub(super) reasons: Option<&'a str>,
    pub(super) times: Option<u64>,
    pub(super) warning: Option<&'a str>,
    pub(super) left_out: Option<u64>,
    pub(crate) error: Option<&'a str>,
    pub(super) failed: Option<u64>,
    pub(super) rejected: Option<u64>,
}

/// The topic of a diagnostic. Each topic is throttled on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Topic {
    /// Reported once.
    Setting,
    Worker,
    Reach,
    /// Of one of several addresses, by a hash of it.
    Member(u8),
    Export,
    Rejection,
    EndpointWarning,
    Memory,
    Shedding,
    Loss,
    LogSupport,
    LogReach,
    LogRejection,
    LogWarning,
    LogLoss,
    #[cfg_attr(not(feature = "metrics"), expect(dead_code, reason = "of metrics"))]
    Metrics,
}

/// Called with each diagnostic, on the worker's thread.
pub(crate) type Handler = Box<dyn Fn(&Diagnostic<'_>) + Send + Sync>;

/// The receivers of diagnostics.
pub(crate) struct EventSink {
    dispatch: Mutex<Option<WeakDispatch>>,
    handler: Option<Handler>,
    /// The least severe level for standard error, for diagnostics that no layer has shown.
    stderr: LevelFilter,
}

impl Default for EventSink {
    fn default() -> Self {
        Self::new(None, LevelFilter::INFO)
    }
}

impl fmt::Debug for EventSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventSink")
            .field("has_handler", &self.handler.is_some())
            .field("stderr", &self.stderr)
            .finish_non_exhaustive()
    }
}

impl EventSink {
    pub(crate) fn new(handler: Option<Handler>, stderr: LevelFilter) -> Self {
        Self {
            dispatch: Mutex::default(),
            handler,
            stderr,
        }
    }

    pub(crate) fn set_dispatch(&self, dispatch: WeakDispatch) {
        *lock(&self.dispatch) = Some(dispatch);
    }

    /// Whether a subscriber takes warnings. `tracing` sets the maximum level only after it has installed a
    /// subscriber, and drops every event until then.
    pub(super) fn has_subscriber(&self) -> bool {
        let is_enabled = || tracing::enabled!(target: TARGET, Level::WARN);
        let dispatch = self.dispatch();
        // A subscriber is foreign code.
        let takes = catch_unwind(AssertUnwindSafe(|| match dispatch {
            Some(dispatch) => dispatcher::with_default(&dispatch, is_enabled),
            None => !dispatcher::get_default(|d| d.is::<NoSubscriber>()) && is_enabled(),
        }));
        takes.unwrap_or(false)
    }

    fn dispatch(&self) -> Option<Dispatch> {
        lock(&self.dispatch)
            .as_ref()
            .and_then(WeakDispatch::upgrade)
    }

    /// Emits the event to the subscriber of our layer, else to the global default. True: a layer has
    /// formatted the message.
    fn emit(&self, diagnostic: &Diagnostic<'_>) -> bool {
        let is_read = Cell::new(false);
        let message = ReadMarker {
            text: diagnostic.message,
            is_read: &is_read,
        };
        let event = || event(diagnostic.level, &message, &diagnostic.fields);
        let dispatch = self.dispatch();
        // A subscriber is foreign code.
        let _ = catch_unwind(AssertUnwindSafe(|| match dispatch {
            Some(dispatch) => dispatcher::with_default(&dispatch, event),
            None => event(),
        }));
        is_read.get()
    }
}

/// A text that notes when it is formatted.
struct ReadMarker<'a> {
    text: &'a str,
    is_read: &'a Cell<bool>,
}

impl fmt::Display for ReadMarker<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.is_read.set(true);
        f.write_str(self.text)
    }
}

fn event(level: Level, message: &ReadMarker<'_>, fields: &ReportFields<'_>) {
    macro_rules! with_fields {
        ($event:ident) => {
            $event!(
                target: TARGET,
                spans = fields.spans,
                traces = fields.traces,
                records = fields.records,
                reasons = fields.reasons.map(display),
                times = fields.times,
                warning = fields.warning,
                left_out = fields.left_out,
                error = fields.error,
                failed = fields.failed,
                rejected = fields.rejected,
                "{message}"
            )
        };
    }
    match level {
        Level::ERROR => with_fields!(error),
        Level::WARN => with_fields!(warn),
        _ => with_fields!(info),
    }
}

/// Sends diagnostics to an [`EventSink`], and throttles the lines on standard error.
#[derive(Debug, Default)]
pub(crate) struct Speaker {
    event_sink: Arc<EventSink>,
    /// What the messages begin with, if they are not of the pipeline's own exporter.
    place: Option<String>,
    /// The last line of a topic, and whether its condition continues.
    written: HashMap<Topic, (Instant, bool)>,
}

impl Speaker {
    pub(super) fn new(event_sink: Arc<EventSink>) -> Self {
        Self {
            event_sink,
            ..Self::default()
        }
    }

    pub(super) fn of(self, place: Option<String>) -> Self {
        Self { place, ..self }
    }

    pub(super) fn has_subscriber(&self) -> bool {
        self.event_sink.has_subscriber()
    }

    pub(crate) fn say(
        &mut self,
        topic: Topic,
        level: Level,
        message: &str,
        fields: ReportFields<'_>,
    ) {
        let of_place = self.place.as_ref().map(|at| format!("{at}: {message}"));
        let diagnostic = Diagnostic {
            level,
            message: of_place.as_deref().unwrap_or(message),
            fields,
        };
        let is_read = self.event_sink.emit(&diagnostic);
        if let Some(handler) = &self.event_sink.handler {
            // Foreign code, under no lock.
            let _ = catch_unwind(AssertUnwindSafe(|| handler(&diagnostic)));
            return;
        }
        if is_read
            || level > self.event_sink.stderr
            || !self.may_write(topic, level, Instant::now())
        {
            return;
        }
        let line = format!("tracing-otlp: {level} {diagnostic}\n");
        // `eprintln!` panics if standard error is closed.
        let _ = io::stderr().lock().write_all(line.as_bytes());
    }

    /// Allows the begin of a condition, then one line in [`REPEAT`], and the end only after a begin.
    fn may_write(&mut self, topic: Topic, level: Level, now: Instant) -> bool {
        if topic == Topic::Setting {
            return true;
        }
        if level > Level::WARN {
            let goes_on = self.written.get_mut(&topic).map(|(_, goes_on)| goes_on);
            return goes_on.is_some_and(std::mem::take);
        }
        let lately = |at: &Instant| now.saturating_duration_since(*at) < REPEAT;
        if self.written.get(&topic).is_some_and(|(at, _)| lately(at)) {
            return false;
        }
        self.written.insert(topic, (now, true));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standard_error_hears_of_a_topic_seldom_and_of_its_end_once() {
        let mut speaker = Speaker::default();
        let begun = Instant::now();
        let mut may = |topic, level, seconds| {
            speaker.may_write(topic, level, begun + Duration::from_secs(seconds))
        };
        assert!(!may(Topic::Reach, Level::INFO, 0), "nothing had begun");
        assert!(may(Topic::Reach, Level::WARN, 0));
        assert!(!may(Topic::Reach, Level::WARN, 60));
        assert!(may(Topic::Loss, Level::WARN, 60), "another topic");
        assert!(may(Topic::Reach, Level::INFO, 70));
        assert!(!may(Topic::Reach, Level::INFO, 71));
        assert!(!may(Topic::Reach, Level::WARN, 80));
        assert!(!may(Topic::Reach, Level::INFO, 90), "its beginning was not");
        assert!(may(Topic::Reach, Level::WARN, 600));
        assert!(may(Topic::Setting, Level::WARN, 0) && may(Topic::Setting, Level::WARN, 0));
    }

    #[test]
    fn a_diagnostic_is_one_line_with_all_that_is_known() {
        let mut diagnostic = Diagnostic {
            level: Level::WARN,
            message: "spans are being lost",
            fields: ReportFields::default(),
        };
        assert_eq!(diagnostic.to_string(), "spans are being lost");
        diagnostic.fields = ReportFields {
            spans: Some(3),
            reasons: Some("queue_full 2, refused 1"),
            error: Some("HTTP 400"),
            ..ReportFields::default()
        };
        assert_eq!(
            diagnostic.to_string(),
            "spans are being lost (spans=3, reasons: queue_full 2, refused 1): HTTP 400"
        );
        assert_eq!(diagnostic.error(), Some("HTTP 400"));
    }
}
