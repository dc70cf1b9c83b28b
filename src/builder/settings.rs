//! The `with_*` methods: one for each setting that a user reaches for. The setting itself is described
//! where it stands, in `config`.

use std::borrow::Cow;
use std::future::Future;
use std::mem;
use std::time::Duration;

use tracing_core::LevelFilter;

use super::OtlpBuilder;
use crate::attribute::{KeyValue, Value};
use crate::config::{
    Compression, HeaderProvider, Pem, PropagatorKind, Protocol, ProvidedHeaders, ProxyConfig,
    RetryConfig, SpanLimits, TailConfig, TracesExporterKind, request_header,
};
use crate::error::Error;
use crate::resource::Resource;
use crate::semconv;

/// The pipeline as a whole.
impl OtlpBuilder {
    /// Whether the pipeline records and exports nothing: see
    /// [`OtlpConfig::disabled`](crate::OtlpConfig::disabled).
    pub fn with_disabled(self, disabled: bool) -> Self {
        self.configure(move |c| c.disabled = disabled)
    }

    /// The exporter of spans: see [`OtlpConfig::traces_exporter`](crate::OtlpConfig::traces_exporter).
    pub fn with_traces_exporter_kind(self, exporter: TracesExporterKind) -> Self {
        self.configure(move |c| c.traces_exporter = exporter)
    }

    /// The level of the pipeline's reports on standard error: see
    /// [`OtlpConfig::stderr_level`](crate::OtlpConfig::stderr_level).
    pub fn with_stderr_level(self, level: LevelFilter) -> Self {
        self.configure(move |c| c.stderr_level = level)
    }

    /// Tail sampling: holds each local trace until its end, and exports failed traces, slow ones or a
    /// ratio: see [`TailConfig`](crate::config::TailConfig).
    pub fn with_tail_sampling(self, tail: impl Into<Option<TailConfig>>) -> Self {
        let tail = tail.into();
        self.configure(move |c| c.tail = tail)
    }

    /// The formats in which context travels between processes: see
    /// [`OtlpConfig::propagators`](crate::OtlpConfig::propagators).
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
}

/// The connection to the endpoint.
impl OtlpBuilder {
    /// The base URL of the endpoint: see
    /// [`ConnectionConfig::endpoint`](crate::config::ConnectionConfig::endpoint). It also wins over the URL of one
    /// signal from a variable.
    pub fn with_endpoint(self, url: impl Into<String>) -> Self {
        let url = url.into();
        self.configure(move |c| c.connection.set_endpoint(url))
    }

    /// With several endpoints: all spans of a trace to the same one: see
    /// [`ConnectionConfig::trace_affinity`](crate::config::ConnectionConfig::trace_affinity).
    pub fn with_trace_affinity(self, on: bool) -> Self {
        self.configure(move |c| c.connection.trace_affinity = on)
    }

    /// The URL of traces, used as it is: see
    /// [`ConnectionConfig::traces_endpoint`](crate::config::ConnectionConfig::traces_endpoint).
    pub fn with_traces_endpoint(self, url: impl Into<String>) -> Self {
        let url = url.into();
        self.configure(move |c| {
            c.connection.traces_endpoint = Some(url);
            c.connection.variables.traces = None;
        })
    }

    /// The URL of logs, used as it is: see
    /// [`ConnectionConfig::logs_endpoint`](crate::config::ConnectionConfig::logs_endpoint).
    pub fn with_logs_endpoint(self, url: impl Into<String>) -> Self {
        let url = url.into();
        self.configure(move |c| {
            if let Some(connection) = &mut c.logs.connection {
                connection.logs_endpoint = Some(url.clone());
                connection.variables.logs = None;
            }
            c.connection.logs_endpoint = Some(url);
            c.connection.variables.logs = None;
        })
    }

    /// gRPC or HTTP: see [`ConnectionConfig::protocol`](crate::config::ConnectionConfig::protocol).
    pub fn with_protocol(self, protocol: Protocol) -> Self {
        self.configure(move |c| c.connection.protocol = Some(protocol))
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
                c.connection.headers.retain(|(known, _)| *known != name);
                c.connection.headers.push((name, value));
            }),
            Err(why) => {
                let name = name.as_ref();
                self.error
                    .get_or_insert_with(|| Error::config("connection.headers", name, why));
                self
            }
        }
    }

    /// The longest one export may take; `None`: no limit: see
    /// [`ConnectionConfig::timeout`](crate::config::ConnectionConfig::timeout).
    pub fn with_timeout(self, timeout: impl Into<Option<Duration>>) -> Self {
        let timeout = timeout.into();
        self.configure(move |c| c.connection.timeout = timeout)
    }

    /// The longest that connecting may take: see
    /// [`ConnectionConfig::connect_timeout`](crate::config::ConnectionConfig::connect_timeout).
    pub fn with_connect_timeout(self, timeout: Duration) -> Self {
        self.configure(move |c| c.connection.connect_timeout = timeout)
    }

    /// The compression of requests: see
    /// [`ConnectionConfig::compression`](crate::config::ConnectionConfig::compression).
    pub fn with_compression(self, compression: Compression) -> Self {
        self.configure(move |c| c.connection.compression = compression)
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
        self.configure(move |c| c.connection.header_provider = Some(provider))
    }

    /// A file with headers, one a line as `name: value`, that is read again when it changes; in place of
    /// [`with_header_provider`](Self::with_header_provider). An invalid file is an error of the build;
    /// later it leaves a warning, and its last valid content stays. Default none.
    pub fn with_headers_file(self, path: impl Into<std::path::PathBuf>) -> Self {
        let provider = HeaderProvider::file(path);
        self.configure(move |c| c.connection.header_provider = Some(provider))
    }

    /// Plaintext for a gRPC endpoint without a scheme: see
    /// [`ConnectionConfig::insecure`](crate::config::ConnectionConfig::insecure).
    pub fn with_insecure(self, insecure: bool) -> Self {
        self.configure(move |c| c.connection.insecure = insecure)
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
        self.configure(move |c| c.connection.proxy = proxy)
    }

    /// Certificate authorities to trust instead of the system's: see
    /// [`ConnectionConfig::certificate`](crate::config::ConnectionConfig::certificate).
    pub fn with_certificate(self, authorities: Pem) -> Self {
        self.configure(move |c| c.connection.certificate = Some(authorities))
    }

    /// The client's certificate chain and private key: see
    /// [`ConnectionConfig::client_certificate`](crate::config::ConnectionConfig::client_certificate).
    pub fn with_client_identity(self, certificate: Pem, key: Pem) -> Self {
        self.configure(move |c| {
            c.connection.client_certificate = Some(certificate);
            c.connection.client_key = Some(key);
        })
    }

    /// The most concurrent requests: see
    /// [`ConnectionConfig::max_concurrent_exports`](crate::config::ConnectionConfig::max_concurrent_exports).
    pub fn with_max_concurrent_exports(self, requests: usize) -> Self {
        self.configure(move |c| c.connection.max_concurrent_exports = requests)
    }

    /// Waits and number of attempts: see [`RetryConfig`](crate::config::RetryConfig).
    pub fn with_retry(self, retry: RetryConfig) -> Self {
        self.configure(move |c| c.connection.retry = retry)
    }

    /// A product put before the exporter's own in `User-Agent`: see
    /// [`ConnectionConfig::user_agent_prefix`](crate::config::ConnectionConfig::user_agent_prefix).
    pub fn with_user_agent_prefix(self, product: impl Into<String>) -> Self {
        let product = product.into();
        self.configure(move |c| c.connection.user_agent_prefix = Some(product))
    }
}

/// The queue and its worker.
impl OtlpBuilder {
    /// The most spans that wait to be sent: see
    /// [`BatchConfig::max_queue_size`](crate::config::BatchConfig::max_queue_size).
    pub fn with_max_queue_size(self, spans: usize) -> Self {
        self.configure(move |c| c.batch.max_queue_size = spans)
    }

    /// The most spans in one request: see
    /// [`BatchConfig::max_export_batch_size`](crate::config::BatchConfig::max_export_batch_size).
    pub fn with_max_export_batch_size(mut self, spans: usize) -> Self {
        self.batch_size_is_set = true;
        self.configure(move |c| c.batch.max_export_batch_size = spans)
    }

    /// The longest a span waits for its batch to fill: see
    /// [`BatchConfig::schedule_delay`](crate::config::BatchConfig::schedule_delay).
    pub fn with_schedule_delay(self, delay: Duration) -> Self {
        self.configure(move |c| c.batch.schedule_delay = delay)
    }

    /// The longest one export may take before it is cancelled; `None`: no limit: see
    /// [`BatchConfig::export_timeout`](crate::config::BatchConfig::export_timeout).
    pub fn with_export_timeout(self, timeout: impl Into<Option<Duration>>) -> Self {
        let timeout = timeout.into();
        self.configure(move |c| c.batch.export_timeout = timeout)
    }

    /// The most bytes of the whole pipeline: see
    /// [`BatchConfig::max_memory`](crate::config::BatchConfig::max_memory).
    pub fn with_max_memory(self, bytes: usize) -> Self {
        self.configure(move |c| c.batch.max_memory = bytes)
    }

    /// Whole traces go, not random spans, while spans come faster than the endpoint takes them: see
    /// [`BatchConfig::shedding`](crate::config::BatchConfig::shedding).
    pub fn with_shedding(self, on: bool) -> Self {
        self.configure(move |c| c.batch.shedding = on)
    }

    /// The longest that the drop of a guard waits for queued spans: see
    /// [`BatchConfig::shutdown_timeout`](crate::config::BatchConfig::shutdown_timeout).
    pub fn with_shutdown_timeout(self, timeout: Duration) -> Self {
        self.configure(move |c| c.batch.shutdown_timeout = timeout)
    }

    /// Threads of the worker's runtime: see
    /// [`WorkerConfig::threads`](crate::config::WorkerConfig::threads).
    pub fn with_worker_threads(self, threads: impl Into<Option<usize>>) -> Self {
        let threads = threads.into();
        self.configure(move |c| c.worker.threads = threads)
    }
}

/// The limits of one span. What exceeds them is dropped, and the span carries the count.
impl OtlpBuilder {
    /// The limits of one span: see [`SpanLimits`](crate::config::SpanLimits).
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
}
