//! The `with_*` methods: one for each setting that a user reaches for.

use std::borrow::Cow;
use std::future::Future;
use std::mem;
use std::time::Duration;

use tracing_core::LevelFilter;

use super::OtlpBuilder;
use crate::attribute::{KeyValue, Value};
use crate::config::{
    Compression, HeaderProvider, Pem, PropagatorKind, Protocol, ProvidedHeaders, ProxyConfig,
    RetryConfig, SpanLimits, TailConfig, TracesExporter, request_header,
};
use crate::error::Error;
use crate::resource::Resource;
use crate::semconv;

/// The pipeline as a whole.
impl OtlpBuilder {
    /// If true, records and exports nothing. Default false; `OTEL_SDK_DISABLED`.
    pub fn with_disabled(self, disabled: bool) -> Self {
        self.configure(move |c| c.disabled = disabled)
    }

    /// The exporter of spans. Default [`TracesExporter::Otlp`]; `OTEL_TRACES_EXPORTER`.
    pub fn with_traces_exporter(self, exporter: TracesExporter) -> Self {
        self.configure(move |c| c.traces_exporter = exporter)
    }

    /// The level of the pipeline's reports on standard error. Default [`LevelFilter::INFO`];
    /// [`LevelFilter::OFF`]: none; `OTEL_LOG_LEVEL`. See
    /// [`OtlpConfig::stderr_level`](crate::OtlpConfig::stderr_level).
    pub fn with_stderr_level(self, level: LevelFilter) -> Self {
        self.configure(move |c| c.stderr_level = level)
    }

    /// Tail sampling: holds each local trace until its end, and exports failed traces, slow ones or a
    /// ratio: see [`TailConfig`]. Default `None`: exports every sampled span.
    pub fn with_tail_sampling(self, tail: impl Into<Option<TailConfig>>) -> Self {
        let tail = tail.into();
        self.configure(move |c| c.tail = tail)
    }

    /// The formats in which context travels between processes, in their order; without any, none.
    /// Default W3C's trace context and baggage; `OTEL_PROPAGATORS`.
    ///
    /// The build sets them as the [global ones](crate::propagation#which-formats-and-who-decides), unless
    /// code has [set](crate::propagation::set_global) others.
    ///
    /// ```
    /// use tracing_otlp::config::PropagatorKind;
    ///
    /// let builder = tracing_otlp::builder().with_propagators([PropagatorKind::B3Multi]);
    /// ```
    pub fn with_propagators(self, kinds: impl IntoIterator<Item = PropagatorKind>) -> Self {
        let kinds: Vec<_> = kinds.into_iter().collect();
        self.configure(move |c| c.propagators = Some(kinds))
    }
}

/// The resource: the attributes that identify this process.
impl OtlpBuilder {
    /// The logical name of the service, `service.name`. Default `unknown_service:<executable>`;
    /// `OTEL_SERVICE_NAME`.
    pub fn with_service_name(self, name: impl Into<Cow<'static, str>>) -> Self {
        self.with_resource_attribute(semconv::SERVICE_NAME, Value::String(name.into()))
    }

    /// The version of the service, `service.version`. Default none.
    pub fn with_service_version(self, version: impl Into<Cow<'static, str>>) -> Self {
        self.with_resource_attribute(semconv::SERVICE_VERSION, Value::String(version.into()))
    }

    /// The group that the service belongs to, `service.namespace`. Default none.
    pub fn with_service_namespace(self, namespace: impl Into<Cow<'static, str>>) -> Self {
        self.with_resource_attribute(semconv::SERVICE_NAMESPACE, Value::String(namespace.into()))
    }

    /// An attribute of the resource. It wins over variables, over detected attributes and over an
    /// earlier call with the same key; `OTEL_RESOURCE_ATTRIBUTES`.
    ///
    /// An empty key is an error of the build.
    pub fn with_resource_attribute(
        self,
        key: impl Into<Cow<'static, str>>,
        value: impl Into<Value>,
    ) -> Self {
        self.with_resource_attributes([KeyValue::new(key, value)])
    }

    /// Attributes of the resource, as [`with_resource_attribute`](Self::with_resource_attribute).
    pub fn with_resource_attributes(self, attributes: impl IntoIterator<Item = KeyValue>) -> Self {
        let attributes: Vec<_> = attributes.into_iter().collect();
        self.configure(move |c| c.resource.attributes.extend(attributes))
    }

    /// A whole resource, merged over earlier attributes; it also wins over detected attributes.
    pub fn with_resource(self, resource: Resource) -> Self {
        self.configure(move |c| {
            let merged = Resource::new(mem::take(&mut c.resource.attributes))
                .with_schema_url(mem::take(&mut c.resource.schema_url))
                .merge(&resource);
            c.resource.schema_url = merged.schema_url().to_owned();
            let attributes = merged.iter();
            let attributes = attributes.map(|(k, v)| KeyValue::new(k.to_owned(), v.clone()));
            c.resource.attributes = attributes.collect();
        })
    }

    /// Looks up `service.instance.id`, a random UUID for each pipeline. Default on.
    pub fn with_instance_id(self, on: bool) -> Self {
        self.configure(move |c| c.resource.instance_id = on)
    }

    /// Looks up `process.pid` and `process.executable.name`. Default on.
    pub fn with_process_attributes(self, on: bool) -> Self {
        self.configure(move |c| c.resource.process = on)
    }

    /// Looks up `process.executable.path`. Default off: it shows how the machine is laid out.
    pub fn with_executable_path(self, on: bool) -> Self {
        self.configure(move |c| c.resource.executable_path = on)
    }

    /// Looks up `process.command_args`. Default off: arguments may hold secrets.
    pub fn with_command_args(self, on: bool) -> Self {
        self.configure(move |c| c.resource.command_args = on)
    }

    /// Looks up `host.name`, `host.id` and `host.arch`. Default on.
    pub fn with_host_attributes(self, on: bool) -> Self {
        self.configure(move |c| c.resource.host = on)
    }

    /// Looks up `os.type`. Default on.
    pub fn with_os_attributes(self, on: bool) -> Self {
        self.configure(move |c| c.resource.os = on)
    }
}

/// The connection to the endpoint.
impl OtlpBuilder {
    /// The base URL: HTTP appends `v1/traces` to it, gRPC uses it as it is.
    ///
    /// Default `http://localhost:4318` for HTTP, `http://localhost:4317` for gRPC;
    /// `OTEL_EXPORTER_OTLP_ENDPOINT`. As code, it also wins over `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`.
    pub fn with_endpoint(mut self, url: impl Into<String>) -> Self {
        self.endpoint_is_set = true;
        let url = url.into();
        self.configure(move |c| c.exporter.endpoint = Some(url))
    }

    /// The URL of traces, used as it is; wins over [`with_endpoint`](Self::with_endpoint). Default
    /// none; `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`.
    pub fn with_traces_endpoint(self, url: impl Into<String>) -> Self {
        let url = url.into();
        self.configure(move |c| c.exporter.traces_endpoint = Some(url))
    }

    /// The URL of logs, used as it is; wins over [`with_endpoint`](Self::with_endpoint). Default none;
    /// `OTEL_EXPORTER_OTLP_LOGS_ENDPOINT`.
    pub fn with_logs_endpoint(self, url: impl Into<String>) -> Self {
        let url = url.into();
        self.configure(move |c| {
            if let Some(connection) = &mut c.logs.connection {
                connection.logs_endpoint = Some(url.clone());
            }
            c.exporter.logs_endpoint = Some(url);
        })
    }

    /// gRPC or HTTP. Default: gRPC if the endpoint's port is 4317, else HTTP with protobuf;
    /// `OTEL_EXPORTER_OTLP_PROTOCOL`.
    pub fn with_protocol(self, protocol: Protocol) -> Self {
        self.configure(move |c| c.exporter.protocol = Some(protocol))
    }

    /// A header (gRPC: metadata) of every request; replaces one of the same name, also from a
    /// variable. Default none; `OTEL_EXPORTER_OTLP_HEADERS`.
    ///
    /// The value is sent as it is, never percent-decoded, and shows in no log. A name or value
    /// that no header may have, and a header that the exporter sets itself, are errors of the
    /// build.
    pub fn with_header(mut self, name: impl AsRef<str>, value: impl AsRef<str>) -> Self {
        match request_header::checked(name.as_ref(), value.as_ref()) {
            Ok((name, value)) => self.configure(move |c| {
                c.exporter.headers.retain(|(known, _)| *known != name);
                c.exporter.headers.push((name, value));
            }),
            Err(why) => {
                let name = name.as_ref();
                self.error
                    .get_or_insert_with(|| Error::config("exporter.headers", name, why));
                self
            }
        }
    }

    /// The longest one export may take, its attempts and waits included, without the time in which the
    /// endpoint is down; `None`: no limit. Default 10 s; `OTEL_EXPORTER_OTLP_TIMEOUT`, in milliseconds.
    pub fn with_timeout(self, timeout: impl Into<Option<Duration>>) -> Self {
        let timeout = timeout.into();
        self.configure(move |c| c.exporter.timeout = timeout)
    }

    /// The longest that connecting may take. Default 5 s.
    pub fn with_connect_timeout(self, timeout: Duration) -> Self {
        self.configure(move |c| c.exporter.connect_timeout = timeout)
    }

    /// The compression of requests. Default none; `OTEL_EXPORTER_OTLP_COMPRESSION`.
    pub fn with_compression(self, compression: Compression) -> Self {
        self.configure(move |c| c.exporter.compression = compression)
    }

    /// Headers that expire, such as access tokens. `provide` runs on the worker; for the moments see
    /// [`HeaderProvider`]. Default none.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tracing_otlp::config::ProvidedHeaders;
    /// # async fn fetch_token() -> std::io::Result<String> { Ok("token".to_owned()) }
    ///
    /// let builder = tracing_otlp::builder().with_header_provider(|| async {
    ///     let token = fetch_token().await?;
    ///     let headers = ProvidedHeaders::bearer(token)?;
    ///     Ok::<_, Box<dyn std::error::Error + Send + Sync>>(headers.expires_in(Duration::from_secs(3600)))
    /// });
    /// ```
    pub fn with_header_provider<P, F, E>(self, provide: P) -> Self
    where
        P: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<ProvidedHeaders, E>> + Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let provider = HeaderProvider::new(provide);
        self.configure(move |c| c.exporter.header_provider = Some(provider))
    }

    /// A file with headers, one a line as `name: value`, that is read again when it changes; in place of
    /// [`with_header_provider`](Self::with_header_provider). An invalid file is an error of the build;
    /// later it leaves a warning, and its last valid content stays. Default none.
    pub fn with_headers_file(self, path: impl Into<std::path::PathBuf>) -> Self {
        let provider = HeaderProvider::file(path);
        self.configure(move |c| c.exporter.header_provider = Some(provider))
    }

    /// Plaintext if the endpoint has no scheme (gRPC). Default false;
    /// `OTEL_EXPORTER_OTLP_INSECURE`.
    pub fn with_insecure(self, insecure: bool) -> Self {
        self.configure(move |c| c.exporter.insecure = insecure)
    }

    /// The proxy on the way to the endpoint, by its URL, or several by [`ProxyConfig`];
    /// [`ProxyConfig::none`] ignores those of the environment. Default none; `HTTP_PROXY`,
    /// `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`, and the same in lower case.
    ///
    /// ```
    /// # use tracing_otlp::config::ProxyConfig;
    /// let builder = tracing_otlp::builder().with_proxy("http://user:password@proxy.corp:3128");
    /// # builder.with_proxy(ProxyConfig::none());
    /// ```
    pub fn with_proxy(self, proxy: impl Into<ProxyConfig>) -> Self {
        let proxy = proxy.into();
        self.configure(move |c| c.exporter.proxy = proxy)
    }

    /// Certificate authorities to trust instead of the system's. Default none;
    /// `OTEL_EXPORTER_OTLP_CERTIFICATE`.
    pub fn with_certificate(self, authorities: Pem) -> Self {
        self.configure(move |c| c.exporter.certificate = Some(authorities))
    }

    /// The client's certificate chain and private key. Default none;
    /// `OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE` and `OTEL_EXPORTER_OTLP_CLIENT_KEY`.
    pub fn with_client_identity(self, certificate: Pem, key: Pem) -> Self {
        self.configure(move |c| {
            c.exporter.client_certificate = Some(certificate);
            c.exporter.client_key = Some(key);
        })
    }

    /// The most concurrent requests, 1 to 1,024. Default 4.
    pub fn with_max_concurrent_exports(self, requests: usize) -> Self {
        self.configure(move |c| c.exporter.max_concurrent_exports = requests)
    }

    /// The largest request, in bytes before compression. Default 64 MiB.
    pub fn with_max_request_size(self, bytes: usize) -> Self {
        self.configure(move |c| c.exporter.max_request_size = bytes)
    }

    /// The largest response, in bytes, also after decompression. Default 4 MiB.
    pub fn with_max_response_size(self, bytes: usize) -> Self {
        self.configure(move |c| c.exporter.max_response_size = bytes)
    }

    /// Waits and number of attempts. Default [`RetryConfig::default`].
    pub fn with_retry(self, retry: RetryConfig) -> Self {
        self.configure(move |c| c.exporter.retry = retry)
    }

    /// A product put before the exporter's own in `User-Agent`, such as `shop/1.2`. Default none.
    pub fn with_user_agent_prefix(self, product: impl Into<String>) -> Self {
        let product = product.into();
        self.configure(move |c| c.exporter.user_agent_prefix = Some(product))
    }
}

/// The queue and its worker.
impl OtlpBuilder {
    /// The most spans that wait to be sent. Default 65,536; `OTEL_BSP_MAX_QUEUE_SIZE`.
    ///
    /// A batch size that is not set in code follows a smaller queue.
    pub fn with_max_queue_size(self, spans: usize) -> Self {
        self.configure(move |c| c.batch.max_queue_size = spans)
    }

    /// Spans in one request, at most those of the queue. Default 2,048;
    /// `OTEL_BSP_MAX_EXPORT_BATCH_SIZE`.
    pub fn with_max_export_batch_size(mut self, spans: usize) -> Self {
        self.batch_size_is_set = true;
        self.configure(move |c| c.batch.max_export_batch_size = spans)
    }

    /// The longest a span waits for its batch to fill. Default 5 s; `OTEL_BSP_SCHEDULE_DELAY`, in
    /// milliseconds.
    pub fn with_schedule_delay(self, delay: Duration) -> Self {
        self.configure(move |c| c.batch.schedule_delay = delay)
    }

    /// The longest one export may take before it is cancelled, without the time in which the endpoint
    /// is down; `None`: no limit. Default 30 s; `OTEL_BSP_EXPORT_TIMEOUT`, in milliseconds.
    pub fn with_export_timeout(self, timeout: impl Into<Option<Duration>>) -> Self {
        let timeout = timeout.into();
        self.configure(move |c| c.batch.export_timeout = timeout)
    }

    /// The most bytes of the whole pipeline, at least 256 KiB. Default 64 MiB. See
    /// [`BatchConfig::max_memory`](crate::config::BatchConfig::max_memory).
    pub fn with_max_memory(self, bytes: usize) -> Self {
        self.configure(move |c| c.batch.max_memory = bytes)
    }

    /// The longest that the drop of a guard waits for queued spans. Default 5 s.
    pub fn with_shutdown_timeout(self, timeout: Duration) -> Self {
        self.configure(move |c| c.batch.shutdown_timeout = timeout)
    }

    /// Threads of the worker's runtime; `None`: it runs on the worker's own thread. Default `None`.
    pub fn with_worker_threads(self, threads: impl Into<Option<usize>>) -> Self {
        let threads = threads.into();
        self.configure(move |c| c.worker.threads = threads)
    }

    /// The name of the worker's thread. Default `otlp-worker`.
    pub fn with_worker_thread_name(self, name: impl Into<String>) -> Self {
        let name = name.into();
        self.configure(move |c| c.worker.thread_name = name)
    }

    /// Bytes of stack of each thread of the worker, at least 128 KiB; `None`: the platform's
    /// default, which is the default.
    pub fn with_worker_stack_size(self, bytes: impl Into<Option<usize>>) -> Self {
        let bytes = bytes.into();
        self.configure(move |c| c.worker.stack_size = bytes)
    }
}

/// The limits of one span. What exceeds them is dropped, and the span carries the count.
impl OtlpBuilder {
    /// All limits at once. Default [`SpanLimits::default`].
    pub fn with_span_limits(self, limits: SpanLimits) -> Self {
        self.configure(move |c| c.limits = limits)
    }

    /// Characters of a string, bytes of a byte array, of spans and of log records; `None`: no limit, the
    /// default. `OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT`; of one signal alone,
    /// `OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT` and `OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT`.
    pub fn with_max_attribute_value_length(self, length: impl Into<Option<usize>>) -> Self {
        let length = length.into();
        self.configure(move |c| {
            c.limits.attribute_value_length_limit = length;
            c.logs.limits.attribute_value_length_limit = length;
        })
    }

    /// Attributes of a span. Default 128; `OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT`,
    /// `OTEL_ATTRIBUTE_COUNT_LIMIT`.
    pub fn with_max_attributes_per_span(self, count: usize) -> Self {
        self.configure(move |c| c.limits.attribute_count_limit = count)
    }

    /// Events of a span. Default 128; `OTEL_SPAN_EVENT_COUNT_LIMIT`.
    pub fn with_max_events_per_span(self, count: usize) -> Self {
        self.configure(move |c| c.limits.event_count_limit = count)
    }

    /// Links of a span. Default 128; `OTEL_SPAN_LINK_COUNT_LIMIT`.
    pub fn with_max_links_per_span(self, count: usize) -> Self {
        self.configure(move |c| c.limits.link_count_limit = count)
    }

    /// Attributes of an event. Default 128; `OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT`,
    /// `OTEL_ATTRIBUTE_COUNT_LIMIT`.
    pub fn with_max_attributes_per_event(self, count: usize) -> Self {
        self.configure(move |c| c.limits.attributes_per_event_limit = count)
    }

    /// Attributes of a link. Default 128; `OTEL_LINK_ATTRIBUTE_COUNT_LIMIT`,
    /// `OTEL_ATTRIBUTE_COUNT_LIMIT`.
    pub fn with_max_attributes_per_link(self, count: usize) -> Self {
        self.configure(move |c| c.limits.attributes_per_link_limit = count)
    }
}

/// The attributes that the layer records beside a span's own fields. Names as in
/// tracing-opentelemetry.
impl OtlpBuilder {
    /// `code.file.path` and `code.line.number` of spans and events. Default on.
    pub fn with_location(self, on: bool) -> Self {
        self.configure(move |c| c.capture.location = on)
    }

    /// `target` of spans and events. Default on.
    ///
    /// OpenTelemetry's conventions do not define this attribute, nor `level`, `busy_ns` and `idle_ns`.
    /// To write only attributes of the conventions, turn off this and
    /// [`with_event_level`](Self::with_event_level).
    pub fn with_target(self, on: bool) -> Self {
        self.configure(move |c| c.capture.target = on)
    }

    /// `target` of the spans that the [middleware](crate::middleware) makes, which is
    /// `tracing_otlp::server` or `tracing_otlp::client`. Default on; without
    /// [`with_target`](Self::with_target) there is none in any case.
    pub fn with_middleware_target(self, on: bool) -> Self {
        self.configure(move |c| c.capture.middleware_target = on)
    }

    /// `thread.id` and `thread.name` of the thread that made the span. Default off.
    pub fn with_threads(self, on: bool) -> Self {
        self.configure(move |c| c.capture.threads = on)
    }

    /// `level` of spans. Default off.
    pub fn with_level(self, on: bool) -> Self {
        self.configure(move |c| c.capture.level = on)
    }

    /// `level` of span events. Default on.
    pub fn with_event_level(self, on: bool) -> Self {
        self.configure(move |c| c.capture.event_level = on)
    }

    /// `busy_ns` and `idle_ns`: time entered and time between. Default off.
    pub fn with_tracked_inactivity(self, on: bool) -> Self {
        self.configure(move |c| c.capture.tracked_inactivity = on)
    }

    /// A `&dyn Error` field also sets `exception.message` and `exception.stacktrace`. Default on.
    pub fn with_error_fields_to_exceptions(self, on: bool) -> Self {
        self.configure(move |c| c.capture.error_fields_to_exceptions = on)
    }

    /// An event with a field `error` and no message sets the span's status. Default on.
    pub fn with_error_events_to_status(self, on: bool) -> Self {
        self.configure(move |c| c.capture.error_events_to_status = on)
    }

    /// An event with a field `error` and no message is named `exception`. Default on.
    pub fn with_error_events_to_exceptions(self, on: bool) -> Self {
        self.configure(move |c| c.capture.error_events_to_exceptions = on)
    }

    /// A `&dyn Error` field of an event also sets the span's `exception.*`. Default on.
    pub fn with_error_records_to_exceptions(self, on: bool) -> Self {
        self.configure(move |c| c.capture.error_records_to_exceptions = on)
    }

    /// An entered span ends when it closes, not at its last exit. Default off.
    pub fn with_end_on_close(self, on: bool) -> Self {
        self.configure(move |c| c.capture.end_on_close = on)
    }

    /// Spans that are open for longer than this are shown to the exporter before they end. Default:
    /// never ([`show_open_after`](crate::config::CaptureConfig::show_open_after)).
    pub fn with_open_spans_after(self, time: Duration) -> Self {
        self.configure(move |c| c.capture.show_open_after = Some(time))
    }

    /// The instrumentation scope of all spans; an empty version is none. Default this crate's name
    /// and version.
    pub fn with_instrumentation_scope(
        self,
        name: impl Into<String>,
        version: impl Into<String>,
    ) -> Self {
        let (name, version) = (name.into(), version.into());
        self.configure(move |c| {
            c.capture.scope_name = name;
            c.capture.scope_version = Some(version).filter(|v| !v.is_empty());
        })
    }

    /// One instrumentation scope for each target instead of one for all. Default off.
    pub fn with_scope_per_target(self, on: bool) -> Self {
        self.configure(move |c| c.capture.scope_per_target = on)
    }
}
