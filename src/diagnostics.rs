//! The worker speaks for everybody: a few `tracing` events with the target `tracing_otlp`.
//!
//! Callbacks and exporters only count. The worker looks at the counters when it is up, and says when
//! something begins, at most once a minute that it goes on, and when it is over (EH-2, PAIN 30).

mod episode;
mod hint;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant, SystemTime};

use tracing::dispatcher::{self, Dispatch, WeakDispatch};
use tracing::subscriber::NoSubscriber;
use tracing::{error, info, warn};

use self::episode::{Episode, Reach, Say, Word};
pub(crate) use self::hint::{HINTS, Hint, PRESUMED_RANDOM, RATIO_BELOW_PARENT};
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

    fn is_heard(&self) -> bool {
        self.dispatch().is_some() || !dispatcher::get_default(|d| d.is::<NoSubscriber>())
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
    loss: Episode,
    /// What was lost, by reason, when last spoken of.
    told: Stats,
    shed: Episode,
    outage: Episode,
    errors: u64,
    last_error: Option<(SystemTime, String)>,
    /// Requests that had ended well when the last error came.
    ok_before: u64,
    /// Why nothing can be sent just now.
    trouble: Option<String>,
    /// Whether it was heard of since it was last looked at.
    is_news: bool,
    reach: Reach,
    restarts: Episode,
    endpoint_warned: Episode,
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
            loss: Episode::default(),
            told: Stats::default(),
            shed: Episode::default(),
            outage: Episode::default(),
            errors: 0,
            last_error: None,
            ok_before: 0,
            trouble: None,
            is_news: false,
            reach: Reach::default(),
            restarts: Episode::default(),
            endpoint_warned: Episode::default(),
        }
    }

    /// Looks at the counters, unless it just did, and says what is new.
    pub(crate) fn observe(&mut self, now: Instant) {
        if self.next_glance.is_some_and(|at| now < at) {
            return;
        }
        // A subscriber often comes after the pipeline: what there is to say waits for it.
        if !self.voice.is_heard() {
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
    }

    /// Takes note of why nothing can be sent just now, or that it can.
    pub(crate) fn hear_of_trouble(&mut self, trouble: Option<String>) {
        if let Some(error) = &trouble {
            self.note_error(&self.counters.snapshot());
            self.counters.set_last_error(error.clone());
            // It has words of its own.
            self.last_error = self.counters.snapshot().last_error;
        }
        self.trouble = trouble;
        self.is_news = true;
    }

    pub(crate) fn knows_trouble(&self) -> bool {
        self.trouble.is_some()
    }

    /// The last words: losses that were not spoken of yet.
    pub(crate) fn finish(&mut self) {
        if !self.voice.is_heard() {
            return;
        }
        self.warn_once();
        let stats = self.counters.snapshot();
        let lost = stats.lost().saturating_sub(self.loss.told);
        if lost > 0 {
            let (reasons, cure) = self.reasons(&stats);
            let error = stats.last_error.map(|(_, error)| error);
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
                    warn!(target: TARGET, error, "the endpoint cannot be reached, spans wait in the queue; {ENDPOINT}");
                });
            }
            Some(Word::StillLost) => {
                self.voice.speak(|| {
                    warn!(target: TARGET, error, "the endpoint still cannot be reached; {ENDPOINT}");
                });
            }
            Some(Word::Found) => {
                self.voice
                    .speak(|| info!(target: TARGET, "the endpoint is reachable again"));
            }
        }
    }

    fn note_error(&mut self, stats: &Stats) {
        let at = |error: &Option<(SystemTime, String)>| error.as_ref().map(|(at, _)| *at);
        if at(&stats.last_error) != at(&self.last_error) {
            self.errors += 1;
            self.last_error.clone_from(&stats.last_error);
            self.ok_before = stats.requests_ok;
        }
    }

    fn observe_outage(&mut self, now: Instant, stats: &Stats) {
        self.note_error(stats);
        let works = stats.requests_ok > self.ok_before;
        let said = self.outage.observe(now, self.errors, works);
        let error = self.last_error.as_ref().map(|(_, error)| error.as_str());
        let failed = stats.requests_failed;
        match said {
            None => {}
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
        match said {
            None => return,
            Some(Say::Begins(spans)) => {
                let (reasons, cure) = self.reasons(&stats);
                self.voice.speak(|| {
                    warn!(target: TARGET, spans, %reasons, "spans are being lost; {cure}");
                });
            }
            Some(Say::GoesOn(spans)) => {
                let (reasons, cure) = self.reasons(&stats);
                self.voice.speak(|| {
                    warn!(target: TARGET, spans, %reasons, "spans are still being lost; {cure}");
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
        (text, cure(most.1))
    }
}

const ENDPOINT: &str = "check OTEL_EXPORTER_OTLP_ENDPOINT and that it is up";

const MEMORY: &str = "raise max_memory (with_max_memory), or limit what values may take: \
                      OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT";

/// What a user can do about losses for `reason`.
fn cure(reason: DropReason) -> &'static str {
    match reason {
        DropReason::QueueFull => {
            "the endpoint is slower than the spans come: sample, speed it up, or raise \
             OTEL_BSP_MAX_QUEUE_SIZE and max_memory (with_max_memory)"
        }
        DropReason::MemoryFull => {
            "open spans use up their memory: raise max_memory (with_max_memory), or close spans \
             earlier"
        }
        DropReason::AfterShutdown => "they closed after shutdown: shut down later",
        DropReason::TooLarge => {
            "a single span is too large: set OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT"
        }
        DropReason::Refused => "the endpoint refuses them: see the error, and the endpoint's log",
        DropReason::Unsent | DropReason::Unconfirmed => {
            "the endpoint does not answer: check OTEL_EXPORTER_OTLP_ENDPOINT and that it is up"
        }
        DropReason::ShutdownTimeout => "shutdown had too little time: raise shutdown_timeout",
        DropReason::TailDropped => "they were dropped as tail sampling is set",
        DropReason::LayerGone => "their layer was dropped while they were open",
        DropReason::Internal => "this is a defect: please report it",
    }
}

#[cfg(test)]
mod tests;
