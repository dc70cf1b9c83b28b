//! Every setting, resolved: plain values with the specification's defaults.
//!
//! Precedence, highest first: code, the signal's variable, the general variable, the default
//! (ENV-7). Rooms below the builder receive these values and never read the environment.

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
    /// Which traces are recorded, unless the builder was given a sampler. Default
    /// [`SamplerConfig::ParentBasedAlwaysOn`]; `OTEL_TRACES_SAMPLER`, `OTEL_TRACES_SAMPLER_ARG`.
    pub sampler: SamplerConfig,
    /// Which traces are exported once they are over; `None`: all that are recorded. Default `None`.
    pub tail: Option<TailConfig>,
    /// The formats in which context travels between processes, in their order; `Some` of nothing:
    /// none. Default `None`: [`PropagatorKind::DEFAULT`], unless the process has others already;
    /// `OTEL_PROPAGATORS` (PROP-2).
    pub propagators: Option<Vec<PropagatorKind>>,
    /// The connection to the endpoint.
    pub exporter: ExporterConfig,
    /// How metrics leave, of a pipeline that has some.
    pub metrics: MetricsConfig,
    /// Whether there are logs, and how they leave.
    pub logs: LogsConfig,
    /// The queue and its batches.
    pub batch: BatchConfig,
    /// The worker's thread and runtime.
    pub worker: WorkerConfig,
    /// How much one span may hold.
    pub limits: SpanLimits,
    /// What the layer records beside a span's own fields.
    pub capture: CaptureConfig,
    /// Who is speaking.
    pub resource: ResourceConfig,
    /// From which level on reports of the pipeline are written to standard error where no layer of the
    /// subscriber shows them: there is no fmt layer, or its filter hides the target `tracing_otlp`.
    /// Default [`LevelFilter::INFO`]; `OTEL_LOG_LEVEL`, in which `none` is [`LevelFilter::OFF`].
    ///
    /// Each kind of report is written once when it begins, every ten minutes while it goes on, and once
    /// when it is over. A pipeline waits three seconds for its subscriber before it writes. With a
    /// [handler](crate::OtlpBuilder::with_diagnostic_handler) nothing is written.
    pub stderr_level: LevelFilter,
    /// What was found wrong while settings were read. Never printed here: the worker does it.
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

/// What `OTEL_TRACES_EXPORTER` may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum TracesExporter {
    /// Send to an OTLP endpoint.
    #[default]
    Otlp,
    /// Print each span to standard output.
    Console,
    /// Show the traces in the browser: see [`viewer()`](crate::viewer()). The variable alone does so
    /// only in a build with `debug_assertions`; a release build needs code that says it.
    #[cfg(feature = "viewer")]
    Viewer,
    /// Write OTLP as lines of JSON to standard output; `otlp/stdout`.
    #[cfg(feature = "file")]
    OtlpStdout,
    /// Export nothing; context is still made and propagated.
    None,
}

/// The samplers that `OTEL_TRACES_SAMPLER` can name. Parent-based ones ask the parent first (SMP-3).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub enum SamplerConfig {
    /// Every root, and children as their parents: the specification's default (SMP-2).
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
    /// This part of the traces, between 0 and 1, whatever a parent says.
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
    /// What is used where nobody says anything: W3C's two.
    pub const DEFAULT: &[Self] = &[Self::TraceContext, Self::Baggage];
}

/// How OTLP is spoken; `OTEL_EXPORTER_OTLP_PROTOCOL`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protocol {
    /// gRPC, by default on port 4317.
    Grpc,
    /// HTTP with protobuf bodies, by default on port 4318.
    HttpProtobuf,
    /// HTTP with JSON bodies, by default on port 4318 (feature `http-json`; without it, an error at
    /// build). Larger and slower than protobuf: for endpoints that take nothing else.
    HttpJson,
}

/// How requests are compressed; `OTEL_EXPORTER_OTLP_COMPRESSION`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// With gzip (feature `gzip`; without it, an error at build).
    Gzip,
    /// With Zstandard (feature `zstd`; without it, an error at build): smaller than gzip for a fraction
    /// of its time. OpenTelemetry's specification names `none` and `gzip` only; its Collector reads
    /// this too.
    Zstd,
}

/// A PEM document: where it lies, or its text.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pem {
    /// A file, read when the pipeline is built, for each new connection, and again each second in which
    /// something is sent: what changes counts for a new connection, which is made at once. A file that
    /// cannot be used any more leaves a warning, and what it held before stays until it can.
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

/// The connection to the endpoint and its manners.
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
    /// [`headers`](Self::headers) hold an `authorization`. `unix:/run/otel.sock` is a socket of a Unix
    /// system, over either protocol.
    pub endpoint: Option<String>,
    /// The URL of traces, used as it is; wins over [`endpoint`](Self::endpoint).
    /// `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`.
    pub traces_endpoint: Option<String>,
    /// The same of metrics, of a pipeline that has some; what is appended otherwise is
    /// `v1/metrics`. `OTEL_EXPORTER_OTLP_METRICS_ENDPOINT`.
    pub metrics_endpoint: Option<String>,
    /// The same of logs, of a pipeline that has some: `v1/logs`.
    /// `OTEL_EXPORTER_OTLP_LOGS_ENDPOINT`.
    pub logs_endpoint: Option<String>,
    /// Plaintext for a gRPC endpoint given without a scheme. Default false;
    /// `OTEL_EXPORTER_OTLP_INSECURE`.
    pub insecure: bool,
    /// The proxies on the way there. Default none; `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`,
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
    /// Where headers come from that change while the pipeline runs, beside [`headers`](Self::headers).
    /// Default none.
    pub header_provider: Option<HeaderProvider>,
    /// Default none; `OTEL_EXPORTER_OTLP_COMPRESSION`.
    pub compression: Compression,
    /// The longest one export may take, its attempts and waits included; `None`: no limit. In a
    /// pipeline the time in which the endpoint is down does not count. Default 10 s;
    /// `OTEL_EXPORTER_OTLP_TIMEOUT`.
    pub timeout: Option<Duration>,
    /// The longest a connection may take to be made. Default 5 s.
    pub connect_timeout: Duration,
    /// Requests under way at once (OTLP-9). Default 4.
    pub max_concurrent_exports: usize,
    /// The largest request, in bytes before compression (OTLP-12). Default 64 MiB.
    pub max_request_size: usize,
    /// The largest response, in bytes, also after decompression (OTLP-13). Default 4 MiB.
    pub max_response_size: usize,
    /// When and how often an attempt is repeated.
    pub retry: RetryConfig,
    /// A product put before the exporter's own in `User-Agent`, such as `shop/1.2` (OTLP-3).
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
    /// Without what tells who is asking: for a proxy, and for where an answer leads.
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

/// Exponential back-off with jitter (OTLP-8). All attempts share the export's one deadline.
///
/// After three answers in a row that ask to come later, over all requests, the endpoint is down, as
/// when it refuses connections: requests wait for it, and one at a time asks, at least every 2 s.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RetryConfig {
    /// The first wait, before jitter. Default 500 ms.
    pub initial_backoff: Duration,
    /// The longest wait, before jitter. Default 5 s.
    pub max_backoff: Duration,
    /// What each wait is multiplied with. Default 1.5.
    pub multiplier: f64,
    /// Attempts of one request that the endpoint answered or may have seen while it was up, the
    /// first included. Default 5.
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
    /// Spans in one request, and how many waiting spans start one. At most
    /// [`max_queue_size`](Self::max_queue_size), and where nobody sets it the lesser of that and
    /// 2,048: four times the specification's, because a request costs the same whatever it
    /// holds (a third of all CPU at 50,000 spans a second). `OTEL_BSP_MAX_EXPORT_BATCH_SIZE`.
    pub max_export_batch_size: usize,
    /// Bytes that open spans, queue, requests in flight and what is kept for reuse may hold together.
    /// A bound, not a use. Default 64 MiB.
    ///
    /// A quarter is for open spans and another for the queue, an eighth for what spans take that hold
    /// much; none of them can take the part of another. The rest is whose need comes first, and what
    /// lies idle yields. No span holds more than a sixteenth, less 64 KiB of 64 MiB.
    pub max_memory: usize,
    /// How long a guard that is dropped waits for what is queued. Default 5 s. An endpoint that refuses
    /// connections is given up after three attempts, which take 0.3 s.
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

/// How much one span may hold (LIM-1); what exceeds it is dropped and counted on the wire.
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

/// Who is speaking: what is known from code and variables, and what is looked up beside it.
///
/// [`Resource::resolve`](crate::Resource::resolve) makes the resource of it.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct ResourceConfig {
    /// Attributes; of entries with the same key the last one wins, and each of them wins over what
    /// is looked up. `OTEL_RESOURCE_ATTRIBUTES`, then `OTEL_SERVICE_NAME`, then code (RES-4).
    pub attributes: Vec<KeyValue>,
    /// The schema of [`attributes`](Self::attributes). Default empty: none of their own.
    pub schema_url: String,
    /// `service.instance.id`, a random UUID for each pipeline (RES-6). Default on.
    pub instance_id: bool,
    /// `process.pid` and `process.executable.name` (RES-7). Default on.
    pub process: bool,
    /// `process.executable.path`. Default off: it shows how the machine is laid out.
    pub executable_path: bool,
    /// `process.command_args`. Default off: arguments may hold secrets (RES-7).
    pub command_args: bool,
    /// `host.name`, `host.arch` and, from the machine id, `host.id` (RES-8). Default on.
    pub host: bool,
    /// `os.type` (RES-8). Default on.
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
    /// Of the attributes the keys: a value may be a secret.
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

/// What the layer records beside a span's own fields. Names as in tracing-opentelemetry.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CaptureConfig {
    /// `code.file.path` and `code.line.number` of spans and events (CODE-1). Default on.
    pub location: bool,
    /// `target` of spans and events. Default on.
    pub target: bool,
    /// `thread.id` and `thread.name` of the thread that made the span (THR-1). Default off.
    pub threads: bool,
    /// `target` of the spans that the middleware makes, where [`target`](Self::target) is on.
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
    /// A span that was entered ends when it closes, not at its last exit. Default off.
    pub end_on_close: bool,
    /// Spans that are open for longer than this are shown to the exporter about once a second, before
    /// they end: see [`Exporter::show_open`](crate::export::Exporter::show_open) for who sees them. `None`
    /// (the default): never, and then nothing is looked at.
    pub show_open_after: Option<Duration>,
    /// One instrumentation scope for each target instead of one for all. Default off.
    pub scope_per_target: bool,
    /// The name of the instrumentation scope (TR-13). Default `tracing-otlp`.
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
