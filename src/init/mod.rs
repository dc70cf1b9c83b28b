//! A global subscriber in one call, [`init()`]: filters, log lines on standard error and OTLP (feature
//! `init`).
//!
//! You need this module if your program has no subscriber of its own. [`SubscriberBuilder`] has
//! settings. To add OTLP to an existing subscriber, use [`builder()`](crate::builder) instead.

mod filter;

use std::borrow::Cow;
use std::fmt as text;
use std::io::IsTerminal as _;

use tracing_core::dispatcher;
use tracing_core::subscriber::NoSubscriber;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry, fmt};

use self::filter::{Filters, decides_about_reports};
use crate::builder::{OtlpBuilder, builder};
use crate::error::Error;
use crate::fmt::with_trace_ids;
use crate::guard::ShutdownGuard;
use crate::registry::registry;

/// Sets the global subscriber: log lines on standard error, with `trace_id` and `span_id` within a
/// trace, spans to the OTLP endpoint of the `OTEL_*` variables, and panics on their spans
/// ([`PanicHook`](crate::guard::PanicHook)).
///
/// `RUST_LOG` filters the lines (default `info`). Spans are exported from level INFO on, and more
/// verbose ones if they pass `RUST_LOG`: see [`subscriber()`], which also has settings.
///
/// ```no_run
/// # fn main() -> Result<(), tracing_otlp::Error> {
/// let _guard = tracing_otlp::init()?; // lives until the end of `main`
/// tracing::info_span!("startup").in_scope(|| tracing::info!("hello"));
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// As [`SubscriberBuilder::init`].
pub fn init() -> Result<ShutdownGuard, Error> {
    subscriber().init()
}

/// Builds the subscriber that [`init()`] sets, with settings.
///
/// ```no_run
/// # fn main() -> Result<(), tracing_otlp::Error> {
/// let _guard = tracing_otlp::subscriber()
///     .with_service_name("shop")
///     .with_default_filter("info,shop=debug")
///     .with_writer(std::io::stdout)
///     .with_otlp(|otlp| otlp.with_endpoint("http://collector:4317"))
///     .init()?;
/// # Ok(()) }
/// ```
pub fn subscriber() -> SubscriberBuilder {
    SubscriberBuilder {
        otlp: builder(),
        default_filter: "info".to_owned(),
        writer: Some(BoxMakeWriter::new(std::io::stderr)),
        ansi: std::io::stderr().is_terminal() && !is_set("NO_COLOR"),
        #[cfg(feature = "json")]
        json: false,
        panic_hook: true,
    }
}

/// A subscriber with log lines and an OTLP pipeline: from [`subscriber()`].
///
/// Two filters apply, in the syntax of [`EnvFilter`](tracing_subscriber::EnvFilter):
///
/// | What | Variable | Default |
/// | --- | --- | --- |
/// | Log lines | `RUST_LOG` | `info`, or [`with_default_filter`](Self::with_default_filter) |
/// | Spans and their events | `OTEL_RUST_TRACING_FILTER` | spans that pass `info` or the filter of the lines |
///
/// So `RUST_LOG=warn` reduces the log and keeps the traces. The filter of the lines also admits
/// `tracing_otlp=info`, the reports of this crate about its endpoint, unless it lists that target or is
/// `off`: then the hidden reports are not written to standard error either.
#[must_use = "a builder does nothing until `init` is called"]
pub struct SubscriberBuilder {
    otlp: OtlpBuilder,
    default_filter: String,
    /// `None`: no log lines.
    writer: Option<BoxMakeWriter>,
    ansi: bool,
    #[cfg(feature = "json")]
    json: bool,
    panic_hook: bool,
}

type Lines = Box<dyn Layer<Registry> + Send + Sync>;

impl SubscriberBuilder {
    /// `service.name`, as [`OtlpBuilder::with_service_name`].
    pub fn with_service_name(self, name: impl Into<Cow<'static, str>>) -> Self {
        self.with_otlp(|otlp| otlp.with_service_name(name))
    }

    /// Changes the settings of the pipeline.
    pub fn with_otlp(mut self, change: impl FnOnce(OtlpBuilder) -> OtlpBuilder) -> Self {
        self.otlp = change(self.otlp);
        self
    }

    /// The filter of the lines if `RUST_LOG` is not set or empty. Default: `info`.
    pub fn with_default_filter(mut self, directives: impl Into<String>) -> Self {
        self.default_filter = directives.into();
        self
    }

    /// The writer of the lines, such as `std::io::stdout` or a file. Default: standard error. Lines for
    /// another writer have no colours, unless [`with_ansi`](Self::with_ansi) turns them on.
    pub fn with_writer<W>(mut self, writer: W) -> Self
    where
        W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
    {
        self.writer = Some(BoxMakeWriter::new(writer));
        self.ansi = false;
        self
    }

    /// Spans only, without log lines. The pipeline then writes its own reports to standard error
    /// ([`with_stderr_level`](OtlpBuilder::with_stderr_level)).
    pub fn without_lines(mut self) -> Self {
        self.writer = None;
        self
    }

    /// Whether the lines have colours. Default: true if standard error is a terminal and `NO_COLOR` is
    /// not set.
    pub fn with_ansi(mut self, ansi: bool) -> Self {
        self.ansi = ansi;
        self
    }

    /// Whether the lines are JSON, with the ids as fields of the object. Default: false.
    #[cfg(feature = "json")]
    #[cfg_attr(docsrs, doc(cfg(feature = "json")))]
    pub fn with_json(mut self, json: bool) -> Self {
        self.json = json;
        self
    }

    /// Whether panics are recorded on their spans, and open spans exported if a panic ends the process:
    /// [`PanicHook`](crate::guard::PanicHook). The hook that the process had runs first. Default true.
    pub fn with_panic_hook(mut self, panic_hook: bool) -> Self {
        self.panic_hook = panic_hook;
        self
    }

    /// Starts the pipeline and sets the global subscriber.
    ///
    /// The guard flushes the pipeline when it is dropped: keep it until the end of `main`.
    ///
    /// # Errors
    ///
    /// As [`OtlpBuilder::build`]; also if a filter cannot be parsed. [`Error::is_subscriber`] if a global
    /// subscriber is set already: then nothing is started or set.
    pub fn init(self) -> Result<ShutdownGuard, Error> {
        if has_global_subscriber() {
            return Err(Error::subscriber(SET_ALREADY));
        }
        let variable = |name: &str| std::env::var(name).ok();
        let filters = Filters::new(&self.default_filter, variable)?;
        let otlp = match decides_about_reports(&self.default_filter, variable) {
            // The filter hides the reports on purpose, so they are not written elsewhere.
            true => self.otlp.with_stderr_level(LevelFilter::OFF),
            false => self.otlp,
        };
        let lines = self.writer.map(|writer| {
            let layer = fmt::layer().with_ansi(self.ansi).with_writer(writer);
            #[cfg(feature = "json")]
            if self.json {
                return layer.json().map_event_format(with_trace_ids).boxed();
            }
            layer.map_event_format(with_trace_ids).boxed()
        });
        let (layer, guard) = otlp.build()?;
        match filters {
            // Lines keep the fields of each span in its extensions, and a filter of one layer needs a
            // `Registry` as well.
            Filters::Same(filter) if lines.is_none() => {
                registry().with(layer).with(filter).try_init()
            }
            // A filter of the whole subscriber costs a span less than one for each layer.
            Filters::Same(filter) => {
                let registry = tracing_subscriber::registry();
                let lines: Option<Lines> = lines;
                registry.with(lines).with(layer).with(filter).try_init()
            }
            Filters::Apart {
                lines: filter,
                spans,
            } => {
                let registry = tracing_subscriber::registry();
                let lines = lines.map(|lines| lines.with_filter(filter));
                registry
                    .with(lines)
                    .with(layer.with_filter(spans))
                    .try_init()
            }
        }
        // Another thread was first, or the `log` crate has a logger.
        .map_err(|e| Error::subscriber(SET_ALREADY).with_source(e))?;
        if self.panic_hook {
            guard.panic_hook().install();
        }
        Ok(guard)
    }
}

const SET_ALREADY: &str = "a global subscriber, or a logger of the `log` crate, is set already: call init() \
                           once, and first";

/// Whether the process has a global subscriber. A thread's own subscriber hides it, so then a thread
/// without one looks.
fn has_global_subscriber() -> bool {
    let is_here = || dispatcher::get_default(|current| !current.is::<NoSubscriber>());
    let elsewhere = || std::thread::Builder::new().spawn(is_here).ok()?.join().ok();
    is_here() && elsewhere().unwrap_or(false)
}

fn is_set(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|value| !value.is_empty())
}

impl text::Debug for SubscriberBuilder {
    fn fmt(&self, f: &mut text::Formatter<'_>) -> text::Result {
        f.debug_struct("SubscriberBuilder")
            .field("otlp", &self.otlp)
            .field("default_filter", &self.default_filter)
            .field("has_lines", &self.writer.is_some())
            .field("ansi", &self.ansi)
            .finish_non_exhaustive()
    }
}
