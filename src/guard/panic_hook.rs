//! [`PanicHook`]: a panic becomes an exception event of its span. A panic that ends the process also ends
//! and sends all open spans.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt;
use std::panic::{self, PanicHookInfo};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::{AfterPanic, GuardedSpans, PipelineHandle, Release, ShutdownGuard};
use crate::attribute::KeyValue;
use crate::context::layer_registry::{Exception, ExceptionSeverity};
use crate::error::panic_text;
use crate::semconv;
use crate::suppress;
use crate::sync::{Arc, AtomicBool, Ordering, lock};

/// The thread that exports while another one panics.
const THREAD: &str = "otlp-panic";

impl ShutdownGuard {
    /// A hook that records panics; it does nothing until [`PanicHook::install`].
    ///
    /// ```no_run
    /// # fn main() -> Result<(), tracing_otlp::Error> {
    /// let (layer, guard) = tracing_otlp::builder().build()?;
    /// guard.panic_hook().install();
    /// # Ok(()) }
    /// ```
    pub fn panic_hook(&self) -> PanicHook {
        PanicHook {
            pipeline: self.handle(),
            open_spans: self.open_spans.clone(),
            release: self.release.clone(),
            after_panic: Arc::clone(&self.after_panic),
            timeout: self.timeout,
            every_panic_is_fatal: false,
        }
    }
}

/// Records panics in the traces, from [`ShutdownGuard::panic_hook`].
///
/// Each panic becomes an event `exception` of the span that is current on its thread, or a log record if
/// [exceptions](crate::config::LogsConfig::exceptions) are, with `exception.type` = `panic`, message, location, and the backtrace if `RUST_BACKTRACE` is set; the status
/// of the span is an error. The span ends as the panic unwinds, or later.
///
/// A panic that ends the process also ends every open span, with the attribute
/// `tracing_otlp.unfinished` = `true`, and sends the queued spans within a deadline. The hook assumes that
/// of a panic with `panic = "abort"` and of one on the main thread, outside of tokio's tasks. A panic that a
/// task or a thread catches ends only its own span. An endpoint that refuses connections is given up after
/// about 0.3 s, as by a shutdown.
///
/// The previous hook still runs, and first, so that its message is not late. Panics of the pipeline's own
/// threads are not recorded. A second panic during the export waits for it, until the same deadline; a
/// panic in the hook itself aborts the process.
#[must_use = "a hook does nothing until it is installed"]
#[derive(Clone)]
pub struct PanicHook {
    pipeline: PipelineHandle,
    open_spans: Option<GuardedSpans>,
    release: Option<Release>,
    after_panic: AfterPanic,
    timeout: Duration,
    every_panic_is_fatal: bool,
}

impl PanicHook {
    /// The longest wait for the endpoint when a panic ends the process, with that of a guard that is dropped
    /// as the panic unwinds. Default: [`shutdown_timeout`](crate::config::BatchConfig::shutdown_timeout).
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Whether every panic ends the process: if a hook installed earlier ends it, or if panics reach a
    /// boundary that they must not cross (`extern "C"`, a destructor). This hook then exports before the
    /// earlier one runs. Default: `false`.
    pub fn with_every_panic_fatal(mut self, is_fatal: bool) -> Self {
        self.every_panic_is_fatal = is_fatal;
        self
    }

    /// Installs the hook in front of the current one, for the life of the process. Panics if the calling
    /// thread is panicking, as [`std::panic::set_hook`] does.
    pub fn install(self) {
        let Some(open_spans) = self.open_spans.clone() else {
            return;
        };
        let previous = panic::take_hook();
        let is_exporting = AtomicBool::new(false);
        panic::set_hook(Box::new(move |info| {
            // Neither the worker nor the thread that exports can wait for itself.
            let is_ours = suppress::is_suppressed() || thread::current().name() == Some(THREAD);
            if is_ours || self.is_forked() {
                return previous(info);
            }
            let is_fatal = self.is_fatal();
            note(&open_spans, info, is_fatal);
            if is_fatal && self.every_panic_is_fatal {
                self.export(&is_exporting);
            }
            previous(info);
            if is_fatal && !self.every_panic_is_fatal {
                self.export(&is_exporting);
            }
        }));
    }

    fn is_forked(&self) -> bool {
        let processor = self.pipeline.processor.as_ref();
        processor.is_none_or(crate::processor::BatchProcessor::is_forked)
    }

    fn is_fatal(&self) -> bool {
        // std names the main thread so, and no other. tokio catches the panic of a task, which a runtime of
        // one thread runs on the main thread too.
        let is_main = || thread::current().name() == Some("main");
        self.every_panic_is_fatal
            || cfg!(panic = "abort")
            || (is_main() && tokio::task::try_id().is_none())
    }

    /// Ends the open spans and sends the queued ones, and notes what is left of the time for the guard.
    fn export(&self, is_exporting: &AtomicBool) {
        let Some(deadline) = Instant::now().checked_add(self.timeout) else {
            return;
        };
        self.export_until(deadline, is_exporting);
        let left = deadline.saturating_duration_since(Instant::now());
        *lock(&self.after_panic) = Some((thread::current().id(), left));
    }

    /// On a thread of its own: a lock that this thread holds must not delay the end of the process beyond the
    /// deadline.
    fn export_until(&self, deadline: Instant, is_exporting: &AtomicBool) {
        if is_exporting.swap(true, Ordering::AcqRel) {
            // Another thread exports: the process must live until it has finished.
            while is_exporting.load(Ordering::Acquire) && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(2));
            }
            return;
        }
        let (done, ended) = mpsc::channel();
        let hook = self.clone();
        let export = move || {
            if let Some(open_spans) = &hook.open_spans {
                (open_spans.end_all)();
            }
            if let Some(release) = &hook.release {
                release();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            // The process ends: no caller is left for the error.
            let _ = hook.pipeline.force_flush_blocking(left);
            let _ = done.send(());
        };
        let thread = thread::Builder::new().name(THREAD.to_owned());
        if thread.spawn(export).is_ok() {
            self.wait(&ended, deadline);
        }
        is_exporting.store(false, Ordering::Release);
    }

    /// Waits for the export, to the deadline. The process may live on, so no shutdown can give the endpoint up.
    fn wait(&self, ended: &mpsc::Receiver<()>, deadline: Instant) {
        let began = Instant::now();
        let is_unreachable = self.open_spans.as_ref().map(|spans| &spans.is_unreachable);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let ended = ended.recv_timeout(left.min(LOOK));
            if left.is_zero() || ended != Err(mpsc::RecvTimeoutError::Timeout) {
                return;
            }
            if began.elapsed() >= PATIENCE && is_unreachable.is_some_and(|is| is()) {
                return;
            }
        }
    }
}

/// How long the hook waits at least for an endpoint at which nobody listens: a flush makes attempts meanwhile.
const PATIENCE: Duration = Duration::from_millis(300);
/// How often it looks whether somebody does.
const LOOK: Duration = Duration::from_millis(20);

/// Records the panic on the current span.
fn note(open_spans: &GuardedSpans, info: &PanicHookInfo<'_>, is_fatal: bool) {
    let message = message_of(info);
    let mut attributes = vec![
        KeyValue::new(semconv::EXCEPTION_TYPE, "panic"),
        KeyValue::new(semconv::EXCEPTION_MESSAGE, message.to_owned()),
    ];
    if let Some(place) = info.location() {
        let file = place.file().to_owned();
        attributes.push(KeyValue::new(semconv::CODE_FILE_PATH, file));
        let line = i64::from(place.line());
        attributes.push(KeyValue::new(semconv::CODE_LINE_NUMBER, line));
    }
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        let backtrace = backtrace.to_string();
        attributes.push(KeyValue::new(semconv::EXCEPTION_STACKTRACE, backtrace));
    }
    (open_spans.note_panic)(&Exception {
        name: semconv::EXCEPTION_EVENT,
        target: module_path!(),
        severity: match is_fatal {
            true => ExceptionSeverity::Fatal,
            false => ExceptionSeverity::Error,
        },
        message,
        attributes: &attributes,
    });
}

fn message_of<'a>(info: &'a PanicHookInfo<'_>) -> &'a str {
    panic_text(info.payload()).unwrap_or("a value that is no text")
}

impl fmt::Debug for PanicHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PanicHook")
            .field("timeout", &self.timeout)
            .field("every_panic_is_fatal", &self.every_panic_is_fatal)
            .finish_non_exhaustive()
    }
}

const _: fn() = || {
    fn promised<T: Send + Sync + 'static>() {}
    promised::<PanicHook>();
    promised::<Arc<PanicHook>>();
};
