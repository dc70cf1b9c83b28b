//! The `OTEL_*` variables, read once (ENV-1…7).
//!
//! Each line of [`OtlpConfig::from_source`] is one setting: its field, its variables (the first that
//! is set and valid wins), and its parser.

mod logs;
#[cfg(feature = "metrics")]
mod metrics;

use std::ffi::OsString;

use crate::attribute::KeyValue;
use crate::config::spelling::misspelled;
use crate::config::{
    BatchConfig, ConfigWarning, ConnectionConfig, OtlpConfig, Pem, PropagatorKind, ProxyConfig,
    ResourceConfig, SamplerConfig, SpanLimits, TracesExporterKind, parse,
};
use crate::semconv;

impl OtlpConfig {
    /// The defaults, changed by the process's `OTEL_*` variables.
    ///
    /// An empty variable counts as unset, and so does an unusable one, which also leaves a
    /// [`ConfigWarning`] in [`warnings`](Self::warnings). White space around a value is ignored.
    /// Nothing fails and nothing is printed. Misspelled variables leave one warning.
    pub fn from_env() -> Self {
        let mut config = Self::from_source(|name| std::env::var_os(name));
        let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        config.warnings.extend(misspelled(names));
        config
    }

    /// As [`from_env`](Self::from_env), with variables from elsewhere.
    ///
    /// ```
    /// use tracing_otlp::OtlpConfig;
    ///
    /// let config = OtlpConfig::from_source(|name| {
    ///     (name == "OTEL_BSP_MAX_QUEUE_SIZE").then(|| "1000".into())
    /// });
    /// assert_eq!(config.batch.max_queue_size, 1000);
    /// ```
    pub fn from_source(source: impl Fn(&str) -> Option<OsString>) -> Self {
        let mut env = Env {
            source: &source,
            warnings: Vec::new(),
        };
        let mut config = Self::default();
        set(&mut config.disabled, env.flag(&["OTEL_SDK_DISABLED"]));
        set(&mut config.traces_exporter, env.traces_exporter());
        set(&mut config.sampler, env.sampler());
        config.propagators = env.propagators();
        config.connection = env.connection(SignalVariables::Traces);
        #[cfg(feature = "metrics")]
        env.metrics(&mut config);
        env.logs(&mut config);
        env.batch(&mut config.batch);
        env.limits(&mut config.limits);
        env.resource(&mut config.resource);
        let level = env.read(&["OTEL_LOG_LEVEL"], parse::log_level);
        set(&mut config.stderr_level, level);
        env.refuse_config_file();
        config.warnings = env.warnings;
        config
    }
}

/// Whether `NO_COLOR` or `TERM` ask for text without colours.
pub(crate) fn wants_no_color() -> bool {
    let no_color = std::env::var_os("NO_COLOR");
    no_color.is_some_and(|value| !value.is_empty())
        || std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}

impl BatchConfig {
    /// Sets the batch size to the default, or to the queue's if that is smaller. For a batch size that
    /// neither a variable nor code set.
    pub(crate) fn fit_batch_to_queue(&mut self) {
        self.max_export_batch_size = Self::default()
            .max_export_batch_size
            .min(self.max_queue_size);
    }
}

/// The signal whose variables take precedence over the general ones.
#[derive(Clone, Copy)]
enum SignalVariables {
    Traces,
    #[cfg(feature = "metrics")]
    Metrics,
    Logs,
}

impl SignalVariables {
    const ENDPOINT: [&str; 4] = [
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
        "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
    ];
    const PROTOCOL: [&str; 4] = [
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
        "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL",
        "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL",
        "OTEL_EXPORTER_OTLP_PROTOCOL",
    ];
    const INSECURE: [&str; 4] = [
        "OTEL_EXPORTER_OTLP_TRACES_INSECURE",
        "OTEL_EXPORTER_OTLP_METRICS_INSECURE",
        "OTEL_EXPORTER_OTLP_LOGS_INSECURE",
        "OTEL_EXPORTER_OTLP_INSECURE",
    ];
    const CERTIFICATE: [&str; 4] = [
        "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE",
        "OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE",
        "OTEL_EXPORTER_OTLP_LOGS_CERTIFICATE",
        "OTEL_EXPORTER_OTLP_CERTIFICATE",
    ];
    const CLIENT_KEY: [&str; 4] = [
        "OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY",
        "OTEL_EXPORTER_OTLP_METRICS_CLIENT_KEY",
        "OTEL_EXPORTER_OTLP_LOGS_CLIENT_KEY",
        "OTEL_EXPORTER_OTLP_CLIENT_KEY",
    ];
    const CLIENT_CERTIFICATE: [&str; 4] = [
        "OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE",
        "OTEL_EXPORTER_OTLP_METRICS_CLIENT_CERTIFICATE",
        "OTEL_EXPORTER_OTLP_LOGS_CLIENT_CERTIFICATE",
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
    ];
    const HEADERS: [&str; 4] = [
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
        "OTEL_EXPORTER_OTLP_METRICS_HEADERS",
        "OTEL_EXPORTER_OTLP_LOGS_HEADERS",
        "OTEL_EXPORTER_OTLP_HEADERS",
    ];
    const COMPRESSION: [&str; 4] = [
        "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION",
        "OTEL_EXPORTER_OTLP_METRICS_COMPRESSION",
        "OTEL_EXPORTER_OTLP_LOGS_COMPRESSION",
        "OTEL_EXPORTER_OTLP_COMPRESSION",
    ];
    const TIMEOUT: [&str; 4] = [
        "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
        "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT",
        "OTEL_EXPORTER_OTLP_LOGS_TIMEOUT",
        "OTEL_EXPORTER_OTLP_TIMEOUT",
    ];

    /// The signal's variable, then the general one.
    fn of(self, names: [&'static str; 4]) -> [&'static str; 2] {
        let own = match self {
            Self::Traces => names[0],
            #[cfg(feature = "metrics")]
            Self::Metrics => names[1],
            Self::Logs => names[2],
        };
        [own, names[3]]
    }
}

/// The source of variables, and the warnings so far.
struct Env<'a> {
    source: &'a dyn Fn(&str) -> Option<OsString>,
    warnings: Vec<ConfigWarning>,
}

impl Env<'_> {
    /// The connection of a signal: its variables, then the general ones.
    fn connection(&mut self, signal: SignalVariables) -> ConnectionConfig {
        let mut connection = ConnectionConfig::default();
        let [own, general] = signal.of(SignalVariables::ENDPOINT);
        connection.endpoint = self.text(&[general]);
        connection
            .variables
            .endpoint
            .clone_from(&connection.endpoint);
        let own = self.text(&[own]);
        let (url, variable) = match signal {
            SignalVariables::Traces => (
                &mut connection.traces_endpoint,
                &mut connection.variables.traces,
            ),
            #[cfg(feature = "metrics")]
            SignalVariables::Metrics => (
                &mut connection.metrics_endpoint,
                &mut connection.variables.metrics,
            ),
            SignalVariables::Logs => (
                &mut connection.logs_endpoint,
                &mut connection.variables.logs,
            ),
        };
        variable.clone_from(&own);
        *url = own;
        connection.protocol = self.read(&signal.of(SignalVariables::PROTOCOL), parse::protocol);
        set(
            &mut connection.insecure,
            self.flag(&signal.of(SignalVariables::INSECURE)),
        );
        connection.proxy = self.proxy();
        connection.certificate = self.file(&signal.of(SignalVariables::CERTIFICATE));
        connection.client_key = self.file(&signal.of(SignalVariables::CLIENT_KEY));
        connection.client_certificate = self.file(&signal.of(SignalVariables::CLIENT_CERTIFICATE));
        self.headers(&signal.of(SignalVariables::HEADERS), &mut connection);
        let compression = self.read(&signal.of(SignalVariables::COMPRESSION), parse::compression);
        set(&mut connection.compression, compression);
        let timeout = self.read(&signal.of(SignalVariables::TIMEOUT), parse::timeout);
        set(&mut connection.timeout, timeout);
        connection
    }

    /// The proxies, as reqwest and curl read them. In a CGI script (`REQUEST_METHOD` is set) `HTTP_PROXY`
    /// may be a client's header `Proxy`, so proxies are not read.
    fn proxy(&mut self) -> ProxyConfig {
        if (self.source)("REQUEST_METHOD").is_some() {
            return ProxyConfig::none();
        }
        let all = self.read(&["ALL_PROXY", "all_proxy"], parse::proxy);
        let http = self.read(&["HTTP_PROXY", "http_proxy"], parse::proxy);
        let https = self.read(&["HTTPS_PROXY", "https_proxy"], parse::proxy);
        let mut proxy = ProxyConfig::none();
        proxy.http = http.or_else(|| all.clone());
        proxy.https = https.or(all);
        proxy.no_proxy = self.text(&["NO_PROXY", "no_proxy"]);
        proxy
    }

    fn batch(&mut self, batch: &mut BatchConfig) {
        let delay = self.read(&["OTEL_BSP_SCHEDULE_DELAY"], parse::duration);
        set(&mut batch.schedule_delay, delay);
        let timeout = self.read(&["OTEL_BSP_EXPORT_TIMEOUT"], parse::timeout);
        set(&mut batch.export_timeout, timeout);
        let queue = self.read(&["OTEL_BSP_MAX_QUEUE_SIZE"], parse::positive);
        set(&mut batch.max_queue_size, queue);
        let queue = batch.max_queue_size;
        let size = self.read(
            &["OTEL_BSP_MAX_EXPORT_BATCH_SIZE"],
            |text| match parse::positive(text)? {
                size if size <= queue => Ok(size),
                _ => Err(format!(
                    "a batch can't exceed the queue, which holds {queue}"
                )),
            },
        );
        match size {
            Some(size) => batch.max_export_batch_size = size,
            None => batch.fit_batch_to_queue(),
        }
    }

    /// The limit of the signal, else the general one, else the default.
    fn limits(&mut self, limits: &mut SpanLimits) {
        if let Some(length) = self.read(
            &[
                "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
                "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
            ],
            parse::integer,
        ) {
            limits.attribute_value_length_limit = Some(length);
        }
        const GENERAL: &str = "OTEL_ATTRIBUTE_COUNT_LIMIT";
        let counts: [(&mut usize, &[&str]); 5] = [
            (
                &mut limits.attribute_count_limit,
                &["OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", GENERAL],
            ),
            (
                &mut limits.attributes_per_event_limit,
                &["OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", GENERAL],
            ),
            (
                &mut limits.attributes_per_link_limit,
                &["OTEL_LINK_ATTRIBUTE_COUNT_LIMIT", GENERAL],
            ),
            (
                &mut limits.event_count_limit,
                &["OTEL_SPAN_EVENT_COUNT_LIMIT"],
            ),
            (
                &mut limits.link_count_limit,
                &["OTEL_SPAN_LINK_COUNT_LIMIT"],
            ),
        ];
        for (limit, names) in counts {
            set(limit, self.read(names, parse::integer));
        }
    }

    /// `OTEL_SERVICE_NAME` is read last, because a later attribute wins.
    fn resource(&mut self, resource: &mut ResourceConfig) {
        let name = "OTEL_RESOURCE_ATTRIBUTES";
        if let Some(raw) = self.raw_masked(name) {
            match parse::resource_attributes(raw.trim_ascii()) {
                Ok(attributes) => resource.attributes.extend(attributes),
                // A value may be a secret: the message has the entry's position, not its text.
                Err(why) => self.warn(ConfigWarning::masked(name, why)),
            }
        }
        if let Some(name) = self.text(&["OTEL_SERVICE_NAME"]) {
            resource
                .attributes
                .push(KeyValue::new(semconv::SERVICE_NAME, name));
        }
    }

    /// A list without a usable entry counts as unset.
    fn traces_exporter(&mut self) -> Option<TracesExporterKind> {
        let name = "OTEL_TRACES_EXPORTER";
        let raw = self.raw(name)?;
        let (exporter, complaint) = parse::traces_exporter(&raw);
        if let Some(why) = complaint {
            self.warn(ConfigWarning::new(name, &raw, why));
        }
        exporter
    }

    /// A list without a usable entry counts as unset; `none` is an empty list.
    fn propagators(&mut self) -> Option<Vec<PropagatorKind>> {
        let name = "OTEL_PROPAGATORS";
        let raw = self.raw(name)?;
        let (propagators, complaint) = parse::propagators(&raw);
        if let Some(why) = complaint {
            self.warn(ConfigWarning::new(name, &raw, why));
        }
        propagators
    }

    /// The argument is read only if a sampler with a ratio is named.
    fn sampler(&mut self) -> Option<SamplerConfig> {
        let sampler = self.read(&["OTEL_TRACES_SAMPLER"], parse::sampler)?;
        let with_ratio: fn(f64) -> SamplerConfig = match sampler {
            SamplerConfig::TraceIdRatio(_) => SamplerConfig::TraceIdRatio,
            SamplerConfig::ParentBasedTraceIdRatio(_) => SamplerConfig::ParentBasedTraceIdRatio,
            _ => return Some(sampler),
        };
        let ratio = self.read(&["OTEL_TRACES_SAMPLER_ARG"], parse::ratio);
        Some(ratio.map_or(sampler, with_ratio))
    }

    /// The signal's headers replace all general ones, unless none of them is usable.
    fn headers(&mut self, names: &[&str], connection: &mut ConnectionConfig) {
        for name in names {
            let Some(raw) = self.raw_masked(name) else {
                continue;
            };
            let (headers, complaint) = parse::headers(&raw);
            if let Some(why) = complaint {
                self.warn(ConfigWarning::masked(name, why));
            }
            if !headers.is_empty() {
                connection.headers = headers;
                return;
            }
        }
    }

    /// The specification lets a configuration file replace the variables (CFG-1). This crate reads none
    /// and warns.
    fn refuse_config_file(&mut self) {
        let name = "OTEL_CONFIG_FILE";
        if let Some(raw) = self.raw(name) {
            self.warn(ConfigWarning::new(
                name,
                &raw,
                "configuration files are not supported; the other variables are used",
            ));
        }
    }

    fn text(&mut self, names: &[&str]) -> Option<String> {
        self.read(names, |text| Ok(text.to_owned()))
    }

    fn file(&mut self, names: &[&str]) -> Option<Pem> {
        self.read(names, |text| Ok(Pem::File(text.into())))
    }

    /// The first variable that is set decides: what is not `true` is false (ENV-3).
    fn flag(&mut self, names: &[&str]) -> Option<bool> {
        let (name, raw) = names
            .iter()
            .find_map(|name| Some((name, self.raw(name)?)))?;
        Some(parse::boolean(raw.trim_ascii()).unwrap_or_else(|why| {
            self.warn(ConfigWarning::new(name, &raw, why));
            false
        }))
    }

    /// The first variable that is set and valid; those before it leave a warning (ENV-4, ENV-6).
    fn read<T>(
        &mut self,
        names: &[&str],
        parse: impl Fn(&str) -> Result<T, parse::Cure>,
    ) -> Option<T> {
        for name in names {
            let Some(raw) = self.raw(name) else {
                continue;
            };
            match parse(raw.trim_ascii()) {
                Ok(value) => return Some(value),
                Err(why) => self.warn(ConfigWarning::new(name, &raw, why)),
            }
        }
        None
    }

    fn raw(&mut self, name: &str) -> Option<String> {
        self.unicode(name, ConfigWarning::new)
    }

    fn raw_masked(&mut self, name: &str) -> Option<String> {
        self.unicode(name, |name, _, why| ConfigWarning::masked(name, why))
    }

    /// The variable's text; `None` if it is unset, blank, or not UTF-8, which is a warning (ENV-2).
    fn unicode(
        &mut self,
        name: &str,
        warning: fn(&str, &str, &'static str) -> ConfigWarning,
    ) -> Option<String> {
        match (self.source)(name)?.into_string() {
            Ok(text) if text.trim_ascii().is_empty() => None,
            Ok(text) => Some(text),
            Err(raw) => {
                self.warn(warning(name, &raw.to_string_lossy(), "not UTF-8"));
                None
            }
        }
    }

    /// Adds a warning once: a general variable is read for several settings.
    fn warn(&mut self, warning: ConfigWarning) {
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }
}

fn set<T>(setting: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *setting = value;
    }
}

/// The methods of `OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS` (HTTP-4), if it is set. The middleware
/// reads them here, because no builder passes it a configuration.
#[cfg(feature = "tower")]
pub(crate) fn known_http_methods() -> Option<Vec<String>> {
    let text = std::env::var("OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS").ok()?;
    let methods: Vec<_> = parse::list(&text).map(str::to_owned).collect();
    (!methods.is_empty()).then_some(methods)
}
