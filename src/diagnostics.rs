//! The worker speaks for everybody: a few `tracing` events with the target `tracing_otlp`.
//!
//! Callbacks and exporters only count. The worker looks at the counters when it is up, and says when
//! something begins, at most once a minute that it goes on, and when it is over (EH-2, PAIN 30).

mod cure;
mod episode;
mod hint;
mod logs;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant, SystemTime};

use tracing::dispatcher::{self, Dispatch, WeakDispatch};
use tracing::subscriber::NoSubscriber;
use tracing::{Level, error, info, warn};

use self::cure::State;
use self::episode::{Episode, Reach, Say, Word};
pub(crate) use self::hint::{HINTS, Hint, PRESUMED_RANDOM, RATIO_BELOW_PARENT, TOO_MANY_SCOPES};
use self::logs::LogDiagnostics;
use crate::signal::Signal;
use crate::stats::{Counters, DropReason, Stats};
use crate::sync::{Arc, Mutex, lock};

/// The target of all our own events.
pub(crate) const TARGET: &str = "tracing_otlp";

/// How often the counters are looked at.
const GLANCE: Duration = Duration::from_millis(250);

/// Whom the worker speaks to.
#[derive(Debug, Default)]
pub(crate) struct Voice(Mutex<Option<WeakDispatch>>);

impl Voice {
    pub(crate) fn set_dispatch(&self, dispatch: WeakDispatch) {
        *lock(&self.0) = Some(dispatch);
    }

    /// Runs `say` where our layer is installed, else under the global default.
    fn speak(&self, say: impl FnOnce()) {
        let dispatch = self.dispatch();
        // A subscriber is foreign code.
        let _ = catch_unwind(AssertUnwindSafe(|| match dispatch {
            Some(dispatch) => dispatcher::with_default(&dispatch, say),
            None => say(),
        }));
    }

    /// Whether somebody listens to warnings. A subscriber that is being installed does not yet: its
    /// level is set only afterwards, and until then every event is lost.
    fn is_heard(&self) -> bool {
        let is_enabled = || tracing::enabled!(target: TARGET, Level::WARN);
        let dispatch = self.dispatch();
        // A subscriber is foreign code.
        let heard = catch_unwind(AssertUnwindSafe(|| match dispatch {
            Some(dispatch) => dispatcher::with_default(&dispatch, is_enabled),
            None => !dispatcher::get_default(|d| d.is::<NoSubscriber>()) && is_enabled(),
        }));
        heard.unwrap_or(false)
    }

    fn dispatch(&self) -> Option<Dispatch> {
        lock(&self.0).as_ref().and_then(WeakDispatch::upgrade)
    }
}

/// What the worker has said, and what it has not yet.
#[derive(Debug)]
pub(crate) struct Diagnostics {
    voice: Arc<Voice>,
    counters: Arc<Counters>,
    warnings: Vec<String>,
    hints: &'static [&'static Hint],
    next_glance: Option<Instant>,
    /// How often a subscriber is still looked for ahead of time.
    looks_left: u8,
    loss: Episode,
    /// What was lost, by reason, when last spoken of.
    told: Stats,
    shed: Episode,
    outage: Episode,
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
    restarts: Episode,
    endpoint_warned: Episode,
    logs: Option<LogDiagnostics>,
}

impl Diagnostics {
    pub(crate) fn new(
        voice: Arc<Voice>,
        counters: Arc<Counters>,
        warnings: Vec<String>,
        hints: &'static [&'static Hint],
    ) -> Self {
        Self {
            voice,
            counters,
            warnings,
            hints,
            next_glance: None,
            looks_left: 40,
            loss: Episode::default(),
            told: Stats::default(),
            shed: Episode::default(),
            outage: Episode::default(),
            errors: 0,
            last_error: None,
            ok_before: 0,
            failed_before: 0,
            rejected_before: 0,
            is_rejection: false,
            trouble: None,
            is_news: false,
            reach: Reach::default(),
            restarts: Episode::default(),
            endpoint_warned: Episode::default(),
            logs: None,
        }
    }

    /// Also speaks of log records, by their counters.
    pub(crate) fn with_logs(mut self, counters: Option<Arc<Counters>>) -> Self {
        self.logs = counters.map(LogDiagnostics::new);
        self
    }

    /// Looks at the counters, unless it just did, and says what is new.
    pub(crate) fn observe(&mut self, now: Instant) {
        if self.next_glance.is_some_and(|at| now < at) {
            return;
        }
        // A subscriber often comes after the pipeline: what there is to say waits for it.
        if !self.voice.is_heard() {
            self.looks_left = self.looks_left.saturating_sub(1);
            return;
        }
        self.next_glance = now.checked_add(GLANCE);
        let stats = self.counters.snapshot();
        self.warn_once();
        self.observe_restarts(now, &stats);
        self.observe_reach(now);
        self.observe_outage(now, &stats);
        self.observe_warnings(now, &stats);
        self.observe_shed(now, &stats);
        self.observe_loss(now, stats);
        if let Some(logs) = &mut self.logs {
            logs.observe(now, self.trouble.is_some(), &self.voice);
        }
    }

    /// Whether there is something to say that nobody was there to hear, and somebody may come soon.
    pub(crate) fn has_unsaid(&self) -> bool {
        !self.warnings.is_empty() && self.looks_left > 0
    }

    /// Takes note of why nothing of a signal can be sent just now, or that it can.
    pub(crate) fn hear_of_trouble(&mut self, signal: Signal, trouble: Option<String>) {
        match (signal, &mut self.logs) {
            (Signal::Traces, _) => self.hear_of_span_trouble(trouble),
            (Signal::Logs, Some(logs)) => logs.hear_of_trouble(trouble),
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
    pub(crate) fn trouble(&self) -> Option<&str> {
        let logs = self.logs.as_ref();
        let of_logs = || logs.and_then(LogDiagnostics::trouble);
        self.trouble.as_deref().or_else(of_logs)
    }

    /// The last words: losses that were not spoken of yet.
    pub(crate) fn finish(&mut self) {
        if !self.voice.is_heard() {
            return;
        }
        self.warn_once();
        if let Some(logs) = &mut self.logs {
            logs.finish(&self.voice);
        }
        let stats = self.counters.snapshot();
        let lost = stats.lost().saturating_sub(self.loss.told);
        if lost > 0 {
            let (reasons, cure) = self.reasons(&stats);
            let error = stats.last_error.map(|(_, error)| error);
            let error = error.as_deref();
            self.voice.speak(|| {
                warn!(target: TARGET, spans = lost, %reasons, error, "spans were lost by the time of shutdown; {cure}");
            });
            self.loss.told += lost;
        }
        let left_out = stats.truncated_for_memory.saturating_sub(self.shed.told);
        if left_out > 0 {
            self.voice.speak(|| {
                warn!(target: TARGET, left_out, "spans have left out data for want of memory; {MEMORY}");
            });
            self.shed.told += left_out;
        }
    }

    fn warn_once(&mut self) {
        for warning in self.warnings.drain(..) {
            self.voice.speak(|| warn!(target: TARGET, "{warning}"));
        }
        for hint in self.hints.iter().filter(|hint| hint.is_due()) {
            self.voice.speak(|| warn!(target: TARGET, "{}", hint.text));
        }
    }

    fn observe_restarts(&mut self, now: Instant, stats: &Stats) {
        let said = self.restarts.observe(now, stats.worker_restarts, true);
        if let Some(Say::Begins(times) | Say::GoesOn(times)) = said {
            let error = stats.last_error.as_ref().map(|(_, error)| error.as_str());
            self.voice.speak(|| {
                error!(target: TARGET, times, error, "the worker panicked and was started again");
            });
        }
    }

    fn observe_reach(&mut self, now: Instant) {
        // While nothing is to be sent nobody knows.
        if !std::mem::take(&mut self.is_news) {
            return;
        }
        let said = self.reach.observe(now, self.trouble.is_some());
        let error = self.trouble.as_deref();
        match said {
            None => {}
            Some(Word::Lost) => {
                self.voice.speak(|| {
                    warn!(target: TARGET, error, "the endpoint takes no spans now, they wait in the queue");
                });
            }
            Some(Word::StillLost) => {
                self.voice.speak(|| {
                    warn!(target: TARGET, error, "the endpoint still takes no spans");
                });
            }
            Some(Word::Found) => {
                self.voice
                    .speak(|| info!(target: TARGET, "the endpoint takes spans again"));
            }
        }
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
        self.note_error(stats);
        let works = stats.requests_ok > self.ok_before;
        let said = self.outage.observe(now, self.errors, works);
        let error = self.last_error.as_ref().map(|(_, error)| error.as_str());
        let (failed, rejected) = (stats.requests_failed, stats.rejected);
        match said {
            None => {}
            Some(Say::Begins(_)) if self.is_rejection => {
                self.voice.speak(|| {
                    warn!(target: TARGET, error, rejected, "the endpoint rejects spans");
                });
            }
            Some(Say::GoesOn(_)) if self.is_rejection => {
                self.voice.speak(|| {
                    warn!(target: TARGET, error, rejected, "the endpoint still rejects spans");
                });
            }
            Some(Say::Ends(_)) if self.is_rejection => {
                self.voice.speak(|| {
                    info!(target: TARGET, rejected, "the endpoint rejects no more spans");
                });
            }
            Some(Say::Begins(_)) => {
                self.voice.speak(|| {
                    warn!(target: TARGET, error, failed, "exporting spans fails");
                });
            }
            Some(Say::GoesOn(_)) => {
                self.voice.speak(|| {
                    warn!(target: TARGET, error, failed, "exporting spans still fails");
                });
            }
            Some(Say::Ends(_)) => {
                self.voice.speak(|| {
                    info!(target: TARGET, failed, "exporting spans works again");
                });
            }
        }
    }

    fn observe_warnings(&mut self, now: Instant, stats: &Stats) {
        let said = self.endpoint_warned.observe(now, stats.warnings, true);
        let warning = stats.last_warning.as_ref().map(|(_, text)| text.as_str());
        if let Some(Say::Begins(times) | Say::GoesOn(times)) = said {
            self.voice.speak(|| {
                warn!(target: TARGET, times, warning, "the endpoint took the spans, and warns");
            });
        }
    }

    fn observe_shed(&mut self, now: Instant, stats: &Stats) {
        let said = self.shed.observe(now, stats.truncated_for_memory, true);
        if let Some(Say::Begins(left_out) | Say::GoesOn(left_out)) = said {
            self.voice.speak(|| {
                warn!(target: TARGET, left_out, "spans leave out data for want of memory; {MEMORY}");
            });
        }
    }

    fn observe_loss(&mut self, now: Instant, stats: Stats) {
        let said = self.loss.observe(now, stats.lost(), true);
        let error = self.trouble.clone().or_else(|| {
            // An older one has nothing to do with it.
            let is_new = at(&stats.last_error) != at(&self.told.last_error);
            let (_, error) = stats.last_error.as_ref().filter(|_| is_new)?;
            Some(error.clone())
        });
        let error = error.as_deref();
        match said {
            None => return,
            Some(Say::Begins(spans)) => {
                let (reasons, cure) = self.reasons(&stats);
                self.voice.speak(|| {
                    warn!(target: TARGET, spans, %reasons, error, "spans are being lost; {cure}");
                });
            }
            Some(Say::GoesOn(spans)) => {
                let (reasons, cure) = self.reasons(&stats);
                self.voice.speak(|| {
                    warn!(target: TARGET, spans, %reasons, error, "spans are still being lost; {cure}");
                });
            }
            Some(Say::Ends(spans)) => {
                self.voice.speak(|| {
                    info!(target: TARGET, spans, "no more spans are being lost");
                });
            }
        }
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
