//! The settings of a pipeline as plain values: [`OtlpConfig`] and its parts, with the specification's
//! defaults.
//!
//! You need this module to set what the builder has no method for
//! ([`OtlpBuilder::configure`](crate::OtlpBuilder::configure)), to read settings from the `OTEL_*`
//! variables or another source ([`OtlpConfig::from_env`], [`OtlpConfig::from_source`]), and to look up
//! a setting's unit, default and variable.
//!
//! Precedence, highest first: code, the signal's variable, the general variable, the default.

mod env;
mod headers;
mod logs;
mod metrics;
pub(crate) mod parse;
mod proxy;
mod spelling;
mod tail;
mod validate;
mod warning;

#[cfg(test)]
mod tests;

#[cfg(feature = "tower")]
pub(crate) use env::known_http_methods;
pub(crate) use env::wants_no_color;
pub(crate) use headers::read as read_headers;
pub use headers::{HeaderProvider, ProvidedHeaders};
pub use logs::{
    Events, LogBatchConfig, LogLimits, LogsConfig, LogsExporter, SpanFields, UnsampledLogs,
};
pub use metrics::{MetricsConfig, MetricsTemporality};
pub use proxy::ProxyConfig;
pub use tail::TailConfig;
pub use warning::ConfigWarning;

use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use tracing_core::LevelFilter;

use crate::attribute::KeyValue;
use crate::text;

/// All settings of one pipeline.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct OtlpConfig {
    /// Record and export nothing. Default false; `OTEL_SDK_DISABLED`.
    pub disabled: bool,
    /// Where spans go. Default [`TracesExporter::Otlp`]; `OTEL_TRACES_EXPORTER`.
    pub traces_exporter: TracesExporter,
    /// The sampler, unless the builder has one. Default
    /// [`SamplerConfig::ParentBasedAlwaysOn`]; `OTEL_TRACES_SAMPLER`, `OTEL_TRACES_SAMPLER_ARG`.
    pub sampler: SamplerConfig,
    /// Tail sampling: the recorded traces that are exported. Default `None`: all.
    pub tail: Option<TailConfig>,
    /// The formats in which context travels between processes, in their order; an empty list: none.
    /// Default `None`: [`PropagatorKind::DEFAULT`], unless the process has others already;
    /// `OTEL_PROPAGATORS`.
    pub propagators: Option<Vec<PropagatorKind>>,
    /// The connection to the endpoint.
    pub exporter: ExporterConfig,
    /// The export of metrics, in a pipeline with metrics.
    pub metrics: MetricsConfig,
    /// Log records and their export.
    pub logs: LogsConfig,
    /// The queue and its batches.
    pub batch: BatchConfig,
    /// The worker's thread and runtime.
    pub worker: WorkerConfig,
    /// How much one span may hold.
    pub limits: SpanLimits,
    /// The attributes that the layer records beside a span's own fields.
    pub capture: CaptureConfig,
    /// The resource: the attributes that identify this process.
    pub resource: ResourceConfig,
    /// The pipeline writes its reports from this level on to standard error, if no layer of the
    /// subscriber shows them: there is no fmt layer, or its filter hides the target `tracing_otlp`.
    /// Default [`LevelFilter::INFO`]; `OTEL_LOG_LEVEL`, in which `none` is [`LevelFilter::OFF`].
    ///
    /// It writes each kind of report once at its begin, every ten minutes while it lasts, and once at its
    /// end. A pipeline waits three seconds for its subscriber before it writes. With a
    /// [handler](crate::OtlpBuilder::with_diagnostic_handler) it writes nothing.
    pub stderr_level: LevelFilter,
    /// The settings that were ignored or changed while reading. The worker reports them once it runs.
    pub warnings: Vec<ConfigWarning>,
}

impl Default for OtlpConfig {
    fn default() -> Self {
        Self {
            disabled: false,
            traces_exporter: TracesExporter::default(),
            sampler: SamplerConfig::default(),
            tail: None,
            propagators: None,
            exporter: ExporterConfig::default(),
            metrics: MetricsConfig::default(),
            logs: LogsConfig::default(),
            batch: BatchConfig::default(),
            worker: WorkerConfig::default(),
            limits: SpanLimits::default(),
            capture: CaptureConfig::default(),
            resource: ResourceConfig::default(),
            stderr_level: LevelFilter::INFO,
            warnings: Vec::new(),
        }
    }
}

/// The exporters that `OTEL_TRACES_EXPORTER` can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum TracesExporter {
    /// Send to an OTLP endpoint.
    #[default]
    Otlp,
    /// Print each span to standard output.
    Console,
    /// Show the traces in the browser: see [`viewer()`](crate::viewer()). The variable alone does so
    /// only in a build with `debug_assertions`; a release build needs this value in code.
    #[cfg(feature = "viewer")]
    Viewer,
    /// Write OTLP as lines of JSON to standard output; `otlp/stdout`.
    #[cfg(feature = "file")]
    OtlpStdout,
    /// Export nothing; spans still have contexts, which are propagated.
    None,
}

/// The samplers that `OTEL_TRACES_SAMPLER` can name. In the parent-based ones a child follows its
/// parent.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub enum SamplerConfig {
    /// Every root, and children as their parents: the specification's default.
    #[default]
    ParentBasedAlwaysOn,
    /// No root, and children as their parents.
    ParentBasedAlwaysOff,
    /// This part of the roots, between 0 and 1, and children as their parents.
    ParentBasedTraceIdRatio(f64),
    /// Every span.
    AlwaysOn,
    /// No span.
    AlwaysOff,
    /// This part of the traces, between 0 and 1, independent of the parent.
    TraceIdRatio(f64),
}

/// The formats that `OTEL_PROPAGATORS` can name; each is a type of
/// [`propagation`](crate::propagation).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PropagatorKind {
    /// W3C Trace Context: `tracecontext`.
    TraceContext,
    /// W3C Baggage: `baggage`.
    Baggage,
    /// Zipkin's B3 in one header: `b3`.
    B3,
    /// Zipkin's B3 in several headers: `b3multi`.
    B3Multi,
    /// Jaeger's own headers, deprecated: `jaeger`.
    Jaeger,
    /// AWS X-Ray: `xray`.
    XRay,
}

impl PropagatorKind {
    /// The default formats: W3C Trace Context and W3C Baggage.
    pub const DEFAULT: &[Self] = &[Self::TraceContext, Self::Baggage];
}

/// The protocol of OTLP; `OTEL_EXPORTER_OTLP_PROTOCOL`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protocol {
    /// gRPC, by default on port 4317.
    Grpc,
    /// HTTP with protobuf bodies, by default on port 4318.
    HttpProtobuf,
    /// HTTP with JSON bodies, by default on port 4318 (feature `http-json`; without it, an error at
    /// build). Larger and slower than protobuf: for endpoints that accept nothing else.
    HttpJson,
}

/// The compression of requests; `OTEL_EXPORTER_OTLP_COMPRESSION`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Compression {
    /// No compression.
    #[default]
    None,
    /// With gzip (feature `gzip`; without it, an error at build).
    Gzip,
    /// With Zstandard (feature `zstd`; without it, an error at build): smaller than gzip for a fraction
    /// of its time. OpenTelemetry's specification names `none` and `gzip` only; its Collector reads
    /// this too.
    Zstd,
}

/// A PEM document: a file's path, or the text.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pem {
    /// A file, read when the pipeline is built, for each new connection, and again each second with a
    /// request. A changed file leads to a new connection at once. A file that becomes unusable leaves a
    /// warning, and its last usable content stays in effect.
    File(PathBuf),
    /// The document itself.
    Text(Vec<u8>),
}

impl std::fmt::Debug for Pem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Text(_) => f.write_str("Text(..)"),
        }
    }
}

/// The connection to the endpoint: address, security, headers, limits and retries.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct ExporterConfig {
    /// gRPC or HTTP. Default: gRPC if the endpoint's port is 4317, else HTTP with protobuf;
    /// `OTEL_EXPORTER_OTLP_PROTOCOL`.
    pub protocol: Option<Protocol>,
    /// The base URL: HTTP appends `v1/traces`, gRPC uses it as it is. Default
    /// `http://localhost:4318` (HTTP) or `http://localhost:4317` (gRPC);
    /// `OTEL_EXPORTER_OTLP_ENDPOINT`.
    ///
    /// `user:password@` before the host, percent-encoded, is sent as basic authentication, unless
    /// [`headers`](Self::headers) hold an `authorization`. `unix:/run/otel.sock` is a Unix domain socket,
    /// over either protocol.
    pub endpoint: Option<String>,
    /// The URL of traces, used as it is; wins over [`endpoint`](Self::endpoint).
    /// `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`.
    pub traces_endpoint: Option<String>,
    /// The URL of metrics, used as it is. Default: [`endpoint`](Self::endpoint) with `v1/metrics`.
    /// `OTEL_EXPORTER_OTLP_METRICS_ENDPOINT`.
    pub metrics_endpoint: Option<String>,
    /// The URL of logs, used as it is. Default: [`endpoint`](Self::endpoint) with `v1/logs`.
    /// `OTEL_EXPORTER_OTLP_LOGS_ENDPOINT`.
    pub logs_endpoint: Option<String>,
    /// Plaintext for a gRPC endpoint given without a scheme. Default false;
    /// `OTEL_EXPORTER_OTLP_INSECURE`.
    pub insecure: bool,
    /// The proxies to the endpoint. Default none; `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`,
    /// and the same in lower case.
    pub proxy: ProxyConfig,
    /// Certificate authorities to trust instead of the system's; `OTEL_EXPORTER_OTLP_CERTIFICATE`.
    pub certificate: Option<Pem>,
    /// The client's private key; `OTEL_EXPORTER_OTLP_CLIENT_KEY`.
    pub client_key: Option<Pem>,
    /// The client's certificate chain; `OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE`.
    pub client_certificate: Option<Pem>,
    /// Headers (gRPC: metadata) of every request; `OTEL_EXPORTER_OTLP_HEADERS`. Their values never
    /// show in `Debug` or in an error.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The source of headers that change while the pipeline runs, beside [`headers`](Self::headers).
    /// Default none.
    pub header_provider: Option<HeaderProvider>,
    /// The compression of requests. Default none; `OTEL_EXPORTER_OTLP_COMPRESSION`.
    pub compression: Compression,
    /// The longest one export may take, its attempts and waits included; `None`: no limit. In a
    /// pipeline the time in which the endpoint is down does not count. Default 10 s;
    /// `OTEL_EXPORTER_OTLP_TIMEOUT`.
    pub timeout: Option<Duration>,
    /// The longest that connecting may take. Default 5 s.
    pub connect_timeout: Duration,
    /// The most concurrent requests. Default 4.
    pub max_concurrent_exports: usize,
    /// The largest request, in bytes before compression. Default 64 MiB.
    pub max_request_size: usize,
    /// The largest response, in bytes, also after decompression. Default 4 MiB.
    pub max_response_size: usize,
    /// Waits and number of attempts.
    pub retry: RetryConfig,
    /// A product put before the exporter's own in `User-Agent`, such as `shop/1.2`.
    pub user_agent_prefix: Option<String>,
}

impl Default for ExporterConfig {
    fn default() -> Self {
        Self {
            protocol: None,
            endpoint: None,
            traces_endpoint: None,
            metrics_endpoint: None,
            logs_endpoint: None,
            insecure: false,
            proxy: ProxyConfig::none(),
            certificate: None,
            client_key: None,
            client_certificate: None,
            headers: Vec::new(),
            header_provider: None,
            compression: Compression::None,
            timeout: Some(Duration::from_secs(10)),
            connect_timeout: Duration::from_secs(5),
            max_concurrent_exports: 4,
            max_request_size: 64 << 20,
            max_response_size: 4 << 20,
            retry: RetryConfig::default(),
            user_agent_prefix: None,
        }
    }
}

impl ExporterConfig {
    /// Without credentials: for a proxy, and for the target of a redirect.
    #[cfg_attr(
        not(any(feature = "grpc", feature = "http")),
        expect(dead_code, reason = "nothing is connected to")
    )]
    pub(crate) fn without_identity(&self) -> Self {
        Self {
            headers: Vec::new(),
            header_provider: None,
            client_key: None,
            client_certificate: None,
            ..self.clone()
        }
    }
}

impl std::fmt::Debug for ExporterConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        let shown = |url: &Option<String>| url.as_deref().map(text::url);
        f.debug_struct("ExporterConfig")
            .field("protocol", &self.protocol)
            .field("endpoint", &shown(&self.endpoint))
            .field("traces_endpoint", &shown(&self.traces_endpoint))
            .field("metrics_endpoint", &shown(&self.metrics_endpoint))
            .field("proxy", &self.proxy)
            .field("logs_endpoint", &shown(&self.logs_endpoint))
            .field("headers", &names)
            .field("compression", &self.compression)
            .field("timeout", &self.timeout)
            .field("max_concurrent_exports", &self.max_concurrent_exports)
            .finish_non_exhaustive()
    }
}

/// Exponential back-off with jitter. All attempts share the export's deadline.
///
/// After three consecutive responses that ask for a retry, over all requests, the endpoint counts as
/// down, as when it refuses connections: requests wait, and a single one probes it at least every 2 s.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RetryConfig {
    /// The first wait, before jitter. Default 500 ms.
    pub initial_backoff: Duration,
    /// The longest wait, before jitter. Default 5 s.
    pub max_backoff: Duration,
    /// The factor from one wait to the next. Default 1.5.
    pub multiplier: f64,
    /// The most attempts of one request, the first included. Attempts while the endpoint is down do not
    /// count, unless it may have received them. Default 5.
    pub max_attempts: u32,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            initial_backoff: Duration::from_millis(500),
            max_backoff: Duration::from_secs(5),
            multiplier: 1.5,
            max_attempts: 5,
        }
    }
}

/// The queue of closed spans and the batches made of it (`OTEL_BSP_*`).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatchConfig {
    /// The longest a span waits for its batch to fill. Default 5 s; `OTEL_BSP_SCHEDULE_DELAY`.
    pub schedule_delay: Duration,
    /// The longest one export may take before it is cancelled, without the time in which the
    /// endpoint is down; `None`: no limit. Default 30 s; `OTEL_BSP_EXPORT_TIMEOUT`.
    pub export_timeout: Option<Duration>,
    /// Spans that may wait to be sent. Default 65,536; `OTEL_BSP_MAX_QUEUE_SIZE`.
    pub max_queue_size: usize,
    /// The most spans in one request, and the number of waiting spans that starts one. At most
    /// [`max_queue_size`](Self::max_queue_size). Default: the lesser of that and 2,048, which is four
    /// times the specification's, because a request has a fixed cost (a third of all CPU at 50,000
    /// spans a second). `OTEL_BSP_MAX_EXPORT_BATCH_SIZE`.
    pub max_export_batch_size: usize,
    /// The most bytes that open spans, the queue, requests in flight and buffers for reuse may hold
    /// together. A bound, not a reservation. Default 64 MiB.
    ///
    /// A quarter is reserved for open spans, another for the queue, and an eighth for large spans; none
    /// can use the part of another. The rest serves the first request, and idle buffers are freed for it.
    /// No span holds more than a sixteenth, less 64 KiB of 64 MiB.
    pub max_memory: usize,
    /// The longest that the drop of a guard waits for queued spans. Default 5 s. If the endpoint refuses
    /// connections, the drop stops after three attempts, which take 0.3 s.
    pub shutdown_timeout: Duration,
}

impl Default for BatchConfig {
    fn default() -> Self {
        Self {
            schedule_delay: Duration::from_millis(5000),
            export_timeout: Some(Duration::from_millis(30_000)),
            max_queue_size: 65_536,
            max_export_batch_size: 2048,
            max_memory: 64 << 20,
            shutdown_timeout: Duration::from_secs(5),
        }
    }
}

/// The runtime on which the worker sends, always its own.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerConfig {
    /// `None`: a current-thread runtime on the worker's thread. `Some(n)`: a multi-thread runtime
    /// with `n` threads. Default `None`.
    pub threads: Option<usize>,
    /// The name of the worker's thread. Default `otlp-worker`.
    pub thread_name: String,
    /// Bytes of stack of each thread; `None`: the platform's default.
    pub stack_size: Option<usize>,
}

impl Default for WorkerConfig {
    fn default() -> Self {
        Self {
            threads: None,
            thread_name: "otlp-worker".to_owned(),
            stack_size: None,
        }
    }
}

/// The limits of one span. What exceeds them is dropped, and the span carries the count.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpanLimits {
    /// Characters of a string value, bytes of a byte array; `None`: no limit (the default).
    /// `OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT`, `OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT`.
    pub attribute_value_length_limit: Option<usize>,
    /// Attributes of a span. Default 128; `OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT`,
    /// `OTEL_ATTRIBUTE_COUNT_LIMIT`.
    pub attribute_count_limit: usize,
    /// Events of a span. Default 128; `OTEL_SPAN_EVENT_COUNT_LIMIT`.
    pub event_count_limit: usize,
    /// Links of a span. Default 128; `OTEL_SPAN_LINK_COUNT_LIMIT`.
    pub link_count_limit: usize,
    /// Attributes of an event. Default 128; `OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT`,
    /// `OTEL_ATTRIBUTE_COUNT_LIMIT`.
    pub attributes_per_event_limit: usize,
    /// Attributes of a link. Default 128; `OTEL_LINK_ATTRIBUTE_COUNT_LIMIT`,
    /// `OTEL_ATTRIBUTE_COUNT_LIMIT`.
    pub attributes_per_link_limit: usize,
}

impl Default for SpanLimits {
    fn default() -> Self {
        Self {
            attribute_value_length_limit: None,
            attribute_count_limit: 128,
            event_count_limit: 128,
            link_count_limit: 128,
            attributes_per_event_limit: 128,
            attributes_per_link_limit: 128,
        }
    }
}

/// The resource's attributes from code and variables, and the detectors that add to them.
///
/// [`Resource::resolve`](crate::Resource::resolve) makes the resource of it.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct ResourceConfig {
    /// Attributes; of entries with the same key the last one wins, and each of them wins over a detected
    /// one. `OTEL_RESOURCE_ATTRIBUTES`, then `OTEL_SERVICE_NAME`, then code.
    pub attributes: Vec<KeyValue>,
    /// The schema URL of [`attributes`](Self::attributes). Default empty.
    pub schema_url: String,
    /// `service.instance.id`, a random UUID for each pipeline. Default on.
    pub instance_id: bool,
    /// `process.pid` and `process.executable.name`. Default on.
    pub process: bool,
    /// `process.executable.path`. Default off: it discloses directories of the machine.
    pub executable_path: bool,
    /// `process.command_args`. Default off: arguments may hold secrets.
    pub command_args: bool,
    /// `host.name`, `host.arch` and, from the machine id, `host.id`. Default on.
    pub host: bool,
    /// `os.type`. Default on.
    pub os: bool,
}

impl Default for ResourceConfig {
    fn default() -> Self {
        Self {
            attributes: Vec::new(),
            schema_url: String::new(),
            instance_id: true,
            process: true,
            executable_path: false,
            command_args: false,
            host: true,
            os: true,
        }
    }
}

impl std::fmt::Debug for ResourceConfig {
    /// Shows only the keys of attributes: a value may be a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let keys: Vec<_> = self.attributes.iter().map(|a| &a.key).collect();
        f.debug_struct("ResourceConfig")
            .field("attributes", &keys)
            .field("schema_url", &text::url(&self.schema_url))
            .field("instance_id", &self.instance_id)
            .field("process", &self.process)
            .field("executable_path", &self.executable_path)
            .field("command_args", &self.command_args)
            .field("host", &self.host)
            .field("os", &self.os)
            .finish()
    }
}

/// The attributes that the layer records beside a span's own fields. Names as in
/// tracing-opentelemetry.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CaptureConfig {
    /// `code.file.path` and `code.line.number` of spans and events. Default on.
    pub location: bool,
    /// `target` of spans and events. Default on.
    pub target: bool,
    /// `thread.id` and `thread.name` of the thread that made the span. Default off.
    pub threads: bool,
    /// `target` of the spans that the middleware makes, if [`target`](Self::target) is on.
    /// Default on.
    pub middleware_target: bool,
    /// `level` of spans. Default off.
    pub level: bool,
    /// `level` of span events. Default on.
    pub event_level: bool,
    /// `busy_ns` and `idle_ns`: time entered and time between. Default off.
    pub tracked_inactivity: bool,
    /// A `&dyn Error` field also sets `exception.message` and `exception.stacktrace`. Default on.
    pub error_fields_to_exceptions: bool,
    /// An event with a field `error` and no message sets the span's status. Default on.
    pub error_events_to_status: bool,
    /// An event with a field `error` and no message is named `exception`. Default on.
    pub error_events_to_exceptions: bool,
    /// A `&dyn Error` field of an event also sets the span's `exception.*`. Default on.
    pub error_records_to_exceptions: bool,
    /// An entered span ends when it closes, not at its last exit. Default off.
    pub end_on_close: bool,
    /// Spans that are open for longer than this are shown to the exporter about once a second, before
    /// they end: see [`Exporter::show_open`](crate::export::Exporter::show_open). Default `None`: never.
    pub show_open_after: Option<Duration>,
    /// One instrumentation scope for each target instead of one for all. Default off.
    pub scope_per_target: bool,
    /// The name of the instrumentation scope. Default `tracing-otlp`.
    pub scope_name: String,
    /// The version of the instrumentation scope. Default this crate's.
    pub scope_version: Option<String>,
}

impl Default for CaptureConfig {
    fn default() -> Self {
        Self {
            location: true,
            target: true,
            middleware_target: true,
            threads: false,
            level: false,
            event_level: true,
            tracked_inactivity: false,
            error_fields_to_exceptions: true,
            error_events_to_status: true,
            error_events_to_exceptions: true,
            error_records_to_exceptions: true,
            end_on_close: false,
            show_open_after: None,
            scope_per_target: false,
            scope_name: env!("CARGO_PKG_NAME").to_owned(),
            scope_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        }
    }
}
