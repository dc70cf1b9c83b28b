//! [`OtlpBuilder`]: builds a pipeline from settings. The only module that connects the others.

mod additional;
mod assemble;
mod capture;
mod destinations;
mod exporters;
#[cfg(feature = "metrics")]
mod metrics;
mod overrides;
mod settings;
mod target;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail by panicking")]
mod contention;
#[cfg(test)]
mod tests;

use std::fmt;

use tracing_subscriber::filter::Targets;

use self::overrides::CodeOverrides;
use crate::config::{BatchConfig, ConfigWarning, Events, LogsExporterKind, OtlpConfig};
use crate::context::IdGenerator;
use crate::diagnostics::Diagnostic;
use crate::error::Error;
use crate::export::Exporter;
use crate::export::endpoint::port_doubt;
use crate::guard::ShutdownGuard;
use crate::layer::OtlpLayer;
use crate::propagation::Propagator;
use crate::runtime_config::ConfigStore;
use crate::sampler::Sampler;
use crate::signal::Signal;

/// Starts building a pipeline from the `OTEL_*` variables; the `with_*` methods override them.
pub fn builder() -> OtlpBuilder {
    OtlpBuilder {
        base: Base::Env,
        edits: Vec::new(),
        batch_size_is_set: false,
        error: None,
        parts: CodeOverrides::default(),
    }
}

/// Builds a pipeline: a layer and a guard.
///
/// Precedence, highest first: these methods, the signal's variable (`OTEL_EXPORTER_OTLP_TRACES_*`),
/// the general variable, the default. A base URL from code wins over the URL of one signal from a variable,
/// also by [`configure`](Self::configure) and [`with_config`](Self::with_config). Variables are read when the pipeline is built. An invalid
/// variable leaves a warning; if it would change the destination of spans or the security of the
/// connection, it is an error of the build, and so is an invalid value from code.
#[must_use = "a builder does nothing until it is built"]
pub struct OtlpBuilder {
    base: Base,
    edits: Vec<Edit>,
    /// The batch size came from code, so a queue smaller than it is an error, not a reason to
    /// lower it.
    batch_size_is_set: bool,
    /// The first invalid value that no setting can hold; an error of the build.
    error: Option<Error>,
    /// The parts from code that are no plain settings: exporter, sampler, propagator, ids.
    parts: CodeOverrides,
}

type Edit = Box<dyn FnOnce(&mut OtlpConfig) + Send>;

/// What the edits change.
enum Base {
    Env,
    Given(Box<OtlpConfig>),
}

impl OtlpBuilder {
    /// Without the `OTEL_*` variables: the defaults, changed by code alone.
    pub fn without_env(self) -> Self {
        self.with_config(OtlpConfig::default())
    }

    /// Starts from these settings instead of the variables.
    ///
    /// ```no_run
    /// use tracing_otlp::OtlpConfig;
    ///
    /// let mut config = OtlpConfig::from_env();
    /// config.connection.retry.max_attempts = 2;
    /// let builder = tracing_otlp::builder().with_config(config);
    /// ```
    pub fn with_config(mut self, config: OtlpConfig) -> Self {
        self.base = Base::Given(Box::new(config));
        self
    }

    /// Changes any setting, also one without a method of its own, in order with the others.
    ///
    /// ```no_run
    /// let builder = tracing_otlp::builder().configure(|config| {
    ///     config.connection.retry.max_attempts = 2;
    /// });
    /// ```
    pub fn configure(mut self, edit: impl FnOnce(&mut OtlpConfig) + Send + 'static) -> Self {
        self.edits.push(Box::new(edit));
        self
    }

    /// Sends spans to `exporter` instead of an OTLP endpoint.
    ///
    /// The settings of the connection then have no effect; those of queue, worker and shutdown do.
    /// `OTEL_SDK_DISABLED=true` still disables the pipeline.
    pub fn with_exporter(mut self, exporter: impl Exporter) -> Self {
        self.parts.exporter = Some(target::ExportTarget::new(exporter));
        self
    }

    /// Turns logs on: `events` sets whether `tracing` events become log records only, or span events too.
    /// Records go to the endpoint of the spans, over the same connection, unless settings of logs differ.
    ///
    /// Without this, and without `OTEL_LOGS_EXPORTER`, there are no logs. The variable sets the destination:
    /// `none` turns logs off, for an endpoint without logs, and events then stay span events.
    ///
    /// ```no_run
    /// use tracing_otlp::Events;
    ///
    /// let builder = tracing_otlp::builder().with_logs(Events::AsLogs);
    /// ```
    pub fn with_logs(self, events: Events) -> Self {
        self.configure(move |config| {
            config.logs.events = events;
            config.logs.exporter.get_or_insert(LogsExporterKind::Otlp);
        })
    }

    /// Sends log records, not spans, to `exporter`, which must [support](Exporter::supports) them. Default:
    /// the exporter of the spans, if it comes from code and supports logs, else
    /// [`LogsConfig::exporter`](crate::config::LogsConfig::exporter).
    pub fn with_logs_exporter(mut self, exporter: impl Exporter) -> Self {
        if !exporter.supports(Signal::Logs) {
            let name = std::any::type_name_of_val(&exporter);
            self.error.get_or_insert_with(|| {
                let cure = "give an exporter whose `supports` says yes to logs";
                Error::config("logs.exporter", name, cure)
            });
        }
        self.parts.logs_exporter = Some(target::ExportTarget::new(exporter));
        self.configure(|config| {
            config.logs.exporter.get_or_insert(LogsExporterKind::Otlp);
        })
    }

    /// The filter of log records, by target and level; spans and their events are not affected. Default:
    /// all events become records. [`ConfigStore::set_log_filter`] changes it while the pipeline runs.
    ///
    /// ```
    /// let builder = tracing_otlp::builder()
    ///     .with_logs(tracing_otlp::Events::AsBoth)
    ///     .with_log_filter("warn,shop=info".parse()?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn with_log_filter(mut self, filter: Targets) -> Self {
        self.parts.log_filter = Some(filter);
        self
    }

    /// The sampler. Default: all roots, and children as their parents.
    ///
    /// ```
    /// use tracing_otlp::sampler::{ParentBased, TraceIdRatio};
    ///
    /// let tenth = ParentBased::new(TraceIdRatio::new(0.1));
    /// let builder = tracing_otlp::builder().with_sampler(tenth);
    /// ```
    pub fn with_sampler(mut self, sampler: impl Sampler) -> Self {
        self.parts.sampler = Some(Box::new(sampler));
        self
    }

    /// The settings that can change while the pipeline runs: the sampler and the filters.
    ///
    /// The store's sampler replaces that of `OTEL_TRACES_SAMPLER`; [`with_sampler`](Self::with_sampler)
    /// sets the sampler of the store.
    ///
    /// ```
    /// use tracing_otlp::ConfigStore;
    /// use tracing_otlp::sampler::{ParentBased, TraceIdRatio};
    ///
    /// let store = ConfigStore::default();
    /// let builder = tracing_otlp::builder().with_config_store(store.clone());
    /// // later, to reduce the number of spans
    /// store.set_sampler(ParentBased::new(TraceIdRatio::new(0.01)));
    /// ```
    pub fn with_config_store(mut self, store: ConfigStore) -> Self {
        self.parts.store = Some(store);
        self
    }

    /// The propagator of contexts between processes, in place of those of the settings.
    ///
    /// The build sets it as the [global one](crate::propagation#which-formats-and-who-decides), unless code
    /// has [set](crate::propagation::set_global) another.
    ///
    /// ```
    /// use tracing_otlp::propagation::{CompositePropagator, XRayPropagator};
    ///
    /// let xray = CompositePropagator::from_env().with(XRayPropagator);
    /// let builder = tracing_otlp::builder().with_propagator(xray);
    /// ```
    pub fn with_propagator(mut self, propagator: impl Propagator) -> Self {
        self.parts.propagator = Some(Box::new(propagator));
        self
    }

    /// Connects the current context with `opentelemetry::Context`: an entered span or an open
    /// [scope](crate::context::scope) is the active span there, and a current span of that API is the
    /// parent of `tracing` spans. Default off. On, entering a span costs about four times as much
    /// (`cargo bench --all-features --bench context`); off, it costs nothing.
    ///
    /// If one pipeline of the process has it on, it applies to the scopes of all.
    #[cfg(feature = "opentelemetry")]
    #[cfg_attr(docsrs, doc(cfg(feature = "opentelemetry")))]
    pub fn with_context_activation(mut self, on: bool) -> Self {
        self.parts.activates = on;
        self
    }

    /// The generator of trace and span ids. Default: random ids; [`XRayIds`](crate::context::XRayIds) makes
    /// those of AWS X-Ray.
    pub fn with_id_generator(mut self, ids: impl IdGenerator) -> Self {
        self.parts.ids = Some(Box::new(ids));
        self
    }

    /// A handler of the pipeline's own reports: invalid settings, an endpoint that accepts no spans, lost
    /// spans, and the end of such a state. Default: none.
    ///
    /// Each report is also an event of the target `tracing_otlp`. Without a handler, reports that no layer
    /// shows are written to standard error ([`with_stderr_level`](Self::with_stderr_level)).
    ///
    /// The worker's thread calls the handler a few times a minute at most, and the export waits for it. A
    /// panic of the handler is caught, and its spans are not recorded.
    ///
    /// ```
    /// let builder = tracing_otlp::builder().with_diagnostic_handler(|diagnostic| {
    ///     // to a metric, an alert, a log of another kind
    ///     eprintln!("{} {diagnostic}", diagnostic.level());
    /// });
    /// ```
    pub fn with_diagnostic_handler(
        mut self,
        handler: impl Fn(&Diagnostic<'_>) + Send + Sync + 'static,
    ) -> Self {
        self.parts.diagnostics = Some(Box::new(handler));
        self
    }

    /// Starts the pipeline: the worker's thread, without I/O. Add the layer to a subscriber, and keep the
    /// guard until the application ends.
    ///
    /// # Errors
    ///
    /// An invalid setting, with its value and the cure ([`Error::is_config`]), or a failure to start the
    /// thread or the runtime ([`Error::is_worker`]).
    ///
    /// ```no_run
    /// use tracing_subscriber::prelude::*;
    ///
    /// # fn main() -> Result<(), tracing_otlp::Error> {
    /// let (layer, _guard) = tracing_otlp::builder().with_service_name("shop").build()?;
    /// tracing_subscriber::registry().with(layer).init();
    /// # Ok(()) }
    /// ```
    pub fn build(mut self) -> Result<(OtlpLayer, ShutdownGuard), Error> {
        let parts = std::mem::take(&mut self.parts);
        assemble::assemble(&self.resolve()?, parts)
    }

    /// The final settings: the base, then the edits in their order, validated.
    pub(crate) fn resolve(self) -> Result<OtlpConfig, Error> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let mut config = match self.base {
            Base::Env => OtlpConfig::from_env(),
            Base::Given(config) => *config,
        };
        let before = config.batch.clone();
        let connection_before = config.connection.clone();
        let logs_batch_size = config.logs.batch.max_export_batch_size;
        #[cfg(feature = "metrics")]
        let metrics = config.metrics.connection.clone();
        let logs = config.logs.connection.clone();
        for edit in self.edits {
            edit(&mut config);
        }
        // Unless code has set the connection of metrics, or of logs, itself.
        #[cfg(feature = "metrics")]
        if let Some(exporter) = &mut config.metrics.connection
            && metrics.as_ref() == Some(exporter)
        {
            exporter.follow(&connection_before, &config.connection);
        }
        if let (Some(mut known), Some(connection)) = (logs, &mut config.logs.connection)
            && {
                // `with_logs_endpoint` changes it in both.
                known.logs_endpoint.clone_from(&connection.logs_endpoint);
                known == *connection
            }
        {
            connection.follow(&connection_before, &config.connection);
        }
        config.settle_urls();
        let logs_queue = config.logs.batch.max_queue_size;
        let logs_size = &mut config.logs.batch.max_export_batch_size;
        if *logs_size == logs_batch_size {
            *logs_size = logs_batch_size.min(logs_queue);
        }
        if !self.batch_size_is_set {
            follow_queue(&mut config, &before);
        }
        // A pipeline that sends nothing does not validate the settings of sending.
        if !config.disabled {
            config.validate()?;
            config.warnings.extend(port_doubt(&config.connection));
        }
        Ok(config)
    }
}

/// If code makes the queue smaller, a batch size from a variable or the default follows, as if a
/// variable had made the queue smaller.
fn follow_queue(config: &mut OtlpConfig, before: &BatchConfig) {
    let size = before.max_export_batch_size;
    let queue = config.batch.max_queue_size;
    let untouched = config.batch.max_export_batch_size == size && size <= before.max_queue_size;
    if !untouched || size <= queue {
        return;
    }
    config.batch.fit_batch_to_queue();
    if size
        != BatchConfig::default()
            .max_export_batch_size
            .min(before.max_queue_size)
    {
        config.warnings.push(ConfigWarning::new(
            "batch.max_export_batch_size",
            &size.to_string(),
            format!("a batch can't exceed the queue, which holds {queue}"),
        ));
    }
}

const _: fn() = || {
    fn can_be_sent<T: Send + 'static>() {}
    can_be_sent::<OtlpBuilder>();
};

impl fmt::Debug for OtlpBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let base: &dyn fmt::Debug = match &self.base {
            Base::Env => &"OTEL_* variables",
            Base::Given(config) => config,
        };
        f.debug_struct("OtlpBuilder")
            .field("base", base)
            .field("edits", &self.edits.len())
            .field("error", &self.error)
            .finish()
    }
}
