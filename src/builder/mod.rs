//! [`OtlpBuilder`]: settings in, a pipeline out. The only room that wires the others together.

mod assemble;
#[cfg(feature = "metrics")]
mod metrics;
mod settings;

#[cfg(test)]
mod tests;

use std::fmt;

use self::assemble::CodeOverrides;
use crate::config::{BatchConfig, ConfigWarning, Events, LogsExporter, OtlpConfig};
use crate::context::IdGenerator;
use crate::diagnostics::Diagnostic;
use crate::error::Error;
use crate::export::Exporter;
use crate::export::endpoint::port_doubt;
use crate::guard::ShutdownGuard;
use crate::layer::OtlpLayer;
use crate::propagation::Propagator;
use crate::runtime_config::{ConfigStore, Detail};
use crate::sampler::Sampler;
use crate::signal::Signal;

/// Starts a pipeline: the `OTEL_*` variables, changed by what the `with_*` methods say.
pub fn builder() -> OtlpBuilder {
    OtlpBuilder {
        base: Base::Env,
        edits: Vec::new(),
        batch_size_is_set: false,
        endpoint_is_set: false,
        error: None,
        parts: CodeOverrides::default(),
    }
}

/// A pipeline in the making.
///
/// Highest first: what these methods say, the signal's variable (`OTEL_EXPORTER_OTLP_TRACES_*`),
/// the general variable, the default (ENV-7). Variables are read when the pipeline is built. A
/// variable that can't be used leaves a warning; what would change where spans go, or how safely, and
/// a value from code that can't be used, is an error of the build.
#[must_use = "a builder does nothing until it is built"]
pub struct OtlpBuilder {
    base: Base,
    edits: Vec<Edit>,
    /// The batch size came from code, so a queue smaller than it is an error, not a reason to
    /// lower it.
    batch_size_is_set: bool,
    /// An endpoint came from code, so one for traces from a variable does not count (ENV-7).
    endpoint_is_set: bool,
    /// The first value that could not even be kept until the build.
    error: Option<Error>,
    /// What is no setting: exporter, sampler, propagator, ids.
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

    /// On top of these settings, instead of the variables.
    ///
    /// ```no_run
    /// use tracing_otlp::OtlpConfig;
    ///
    /// let mut config = OtlpConfig::from_env();
    /// config.exporter.retry.max_attempts = 2;
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
    ///     config.exporter.retry.max_attempts = 2;
    /// });
    /// ```
    pub fn configure(mut self, edit: impl FnOnce(&mut OtlpConfig) + Send + 'static) -> Self {
        self.edits.push(Box::new(edit));
        self
    }

    /// Spans go to `exporter` instead of an OTLP endpoint.
    ///
    /// The settings of the connection then say nothing; those of queue, worker and shutdown do.
    /// `OTEL_SDK_DISABLED=true` still disables the pipeline.
    pub fn with_exporter(mut self, exporter: impl Exporter) -> Self {
        self.parts.exporter = Some(assemble::Target::new(exporter));
        self
    }

    /// `tracing` events also become log records, or become nothing else, as `events` says. They go where the
    /// spans go: to the same endpoint, by the same connection, unless settings of logs say otherwise.
    ///
    /// Without this, and without `OTEL_LOGS_EXPORTER`, there are no logs. The variable decides where they go:
    /// `none` there switches them off for an endpoint that takes none, and then events stay events of
    /// their span.
    ///
    /// ```no_run
    /// use tracing_otlp::Events;
    ///
    /// let builder = tracing_otlp::builder().with_logs(Events::AsLogs);
    /// ```
    pub fn with_logs(self, events: Events) -> Self {
        self.configure(move |config| {
            config.logs.events = events;
            config.logs.exporter.get_or_insert(LogsExporter::Otlp);
        })
    }

    /// Log records go to `exporter`, which must [support](Exporter::supports) them; spans go their own way.
    /// Default: to the exporter of the spans, if that was given in code and takes logs, else where
    /// [`LogsConfig::exporter`](crate::config::LogsConfig::exporter) says.
    pub fn with_logs_exporter(mut self, exporter: impl Exporter) -> Self {
        if !exporter.supports(Signal::Logs) {
            let name = std::any::type_name_of_val(&exporter);
            self.error.get_or_insert_with(|| {
                let cure = "give an exporter whose `supports` says yes to logs";
                Error::config("logs.exporter", name, cure)
            });
        }
        self.parts.logs_exporter = Some(assemble::Target::new(exporter));
        self.configure(|config| {
            config.logs.exporter.get_or_insert(LogsExporter::Otlp);
        })
    }

    /// Which events become log records, by target and level; spans and their events are not touched.
    /// Default all of them. It can be changed while the pipeline runs:
    /// [`ConfigStore::set_log_filter`].
    ///
    /// ```
    /// let builder = tracing_otlp::builder()
    ///     .with_logs(tracing_otlp::Events::AsBoth)
    ///     .with_log_filter("warn,shop=info".parse()?);
    /// # Ok::<(), tracing_otlp::Error>(())
    /// ```
    pub fn with_log_filter(mut self, filter: Detail) -> Self {
        self.parts.log_filter = Some(filter);
        self
    }

    /// Which spans are recorded (SMP-1). Default: all roots, and children as their parents (SMP-2).
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

    /// Settings that can be changed while the pipeline runs: the sampler and the level of detail.
    ///
    /// The store's sampler is used instead of the one that `OTEL_TRACES_SAMPLER` names;
    /// [`with_sampler`](Self::with_sampler) puts another one into the store.
    ///
    /// ```
    /// use tracing_otlp::ConfigStore;
    /// use tracing_otlp::sampler::{ParentBased, TraceIdRatio};
    ///
    /// let store = ConfigStore::default();
    /// let builder = tracing_otlp::builder().with_config_store(store.clone());
    /// // later, when there is too much of it
    /// store.set_sampler(ParentBased::new(TraceIdRatio::new(0.01)));
    /// ```
    pub fn with_config_store(mut self, store: ConfigStore) -> Self {
        self.parts.store = Some(store);
        self
    }

    /// The format in which context travels between processes, in place of those that settings name.
    ///
    /// It becomes the process's when the pipeline is built, unless code
    /// [set](crate::propagation::set_global) another:
    /// [who decides](crate::propagation#which-formats-and-who-decides).
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

    /// While a span is entered, or a [scope](crate::context::scope) open, `opentelemetry::Context` has
    /// it as its active span, and a span of that API that is made current is a parent of `tracing`
    /// spans. Default off: entering a span then costs about four times as much as without
    /// (`cargo bench --all-features --bench context`),
    /// and nothing where it is off.
    ///
    /// Where one pipeline of the process has it on, scopes are shown for all.
    #[cfg(feature = "opentelemetry")]
    #[cfg_attr(docsrs, doc(cfg(feature = "opentelemetry")))]
    pub fn with_context_activation(mut self, on: bool) -> Self {
        self.parts.activates = on;
        self
    }

    /// Who makes the ids of traces and spans (TR-4). Default: random ones; [`XRayIds`](crate::context::XRayIds)
    /// makes those of AWS X-Ray.
    pub fn with_id_generator(mut self, ids: impl IdGenerator) -> Self {
        self.parts.ids = Some(Box::new(ids));
        self
    }

    /// Called with all that the pipeline reports of itself: settings that cannot be used, an endpoint that
    /// takes no spans, spans that are lost, and the end of it. Default: none.
    ///
    /// The same is also an event of the target `tracing_otlp`. Without a handler, what no layer shows is
    /// written to standard error ([`with_stderr_level`](Self::with_stderr_level)); with one, nothing is.
    ///
    /// It is called on the worker's thread, some times a minute at most, and holds up the export while it
    /// runs. A panic of it is caught, spans that it makes are not recorded.
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

    /// Starts the pipeline: its worker's thread, and no I/O. The layer goes into a subscriber, the
    /// guard lives until the application ends.
    ///
    /// # Errors
    ///
    /// A setting that cannot be used, named with its value and the cure
    /// ([`Error::is_config`]), or a thread or runtime that the system refuses
    /// ([`Error::is_worker`]).
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

    /// All settings: the base, the edits in their order, checked.
    pub(crate) fn resolve(self) -> Result<OtlpConfig, Error> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let mut config = match self.base {
            Base::Env => OtlpConfig::from_env(),
            Base::Given(config) => *config,
        };
        if self.endpoint_is_set {
            config.exporter.traces_endpoint = None;
            config.exporter.metrics_endpoint = None;
            config.exporter.logs_endpoint = None;
            if let Some(connection) = &mut config.logs.connection {
                connection.logs_endpoint = None;
            }
            if let Some(exporter) = &mut config.metrics.exporter {
                exporter.metrics_endpoint = None;
            }
        }
        let before = config.batch.clone();
        let connection_before = config.exporter.clone();
        let logs_batch_size = config.logs.batch.max_export_batch_size;
        let metrics = config.metrics.exporter.clone();
        let logs = config.logs.connection.clone();
        for edit in self.edits {
            edit(&mut config);
        }
        // Unless code has spoken of the metrics' connection itself.
        if let Some(exporter) = &mut config.metrics.exporter
            && metrics.as_ref() == Some(exporter)
        {
            exporter.follow(&connection_before, &config.exporter);
        }
        if let Some(connection) = &mut config.logs.connection
            && logs.as_ref() == Some(connection)
        {
            connection.follow(&connection_before, &config.exporter);
        }
        let logs_queue = config.logs.batch.max_queue_size;
        let logs_size = &mut config.logs.batch.max_export_batch_size;
        if *logs_size == logs_batch_size {
            *logs_size = logs_batch_size.min(logs_queue);
        }
        if !self.batch_size_is_set {
            follow_queue(&mut config, &before);
        }
        // Where nothing is sent, no setting of how it is stands in the way.
        if !config.disabled {
            config.validate()?;
            config.warnings.extend(port_doubt(&config.exporter));
        }
        Ok(config)
    }
}

/// Code that makes the queue smaller says nothing of batches: one whose size comes from a variable
/// or the default follows, as if a variable had made the queue smaller.
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
