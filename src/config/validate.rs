//! Validates the settings when the pipeline is built: the first impossible value is an error.

use std::fmt::Display;
use std::time::Duration;

use http::HeaderValue;

use crate::config::parse::{self, MAX_DURATION, MAX_INTEGER};
use crate::config::request_header;
use crate::config::{
    BatchConfig, ConnectionConfig, LogBatchConfig, LogsExporterKind, OtlpConfig, ResourceConfig,
    RetryConfig, SamplerConfig, TailConfig, WorkerConfig,
};
use crate::error::Error;
use crate::text;

/// A smaller budget cannot hold a batch and the spans of the next one.
const LEAST_MEMORY: usize = 256 << 10;
/// A smaller bound cannot hold an ordinary trace.
const LEAST_HELD: usize = 64 << 10;
/// The stack that tonic and rustls need, with a margin.
const LEAST_STACK: usize = 128 << 10;
const MOST_THREADS: usize = 512;
const MOST_EXPORTS: usize = 1024;
const MOST_ATTEMPTS: u32 = 1000;

impl OtlpConfig {
    /// Checks whether a pipeline can be built from these values.
    ///
    /// # Errors
    ///
    /// The first impossible value, with its setting and the cure; [`Error::is_config`] is true. The
    /// exporter checks endpoint and certificates.
    pub fn validate(&self) -> Result<(), Error> {
        self.sampler.validate()?;
        self.batch.validate()?;
        if let Some(tail) = &self.tail {
            tail.validate(self.batch.max_memory)?;
        }
        self.connection.validate()?;
        let has_logs = self.logs.exporter == Some(LogsExporterKind::Otlp);
        if let Some(connection) = self.logs.connection.as_ref().filter(|_| has_logs) {
            connection.validate()?;
        }
        self.logs.batch.validate()?;
        #[cfg(feature = "metrics")]
        self.metrics.validate()?;
        self.worker.validate()?;
        self.resource.validate()
    }
}

impl SamplerConfig {
    fn validate(self) -> Result<(), Error> {
        match self {
            Self::TraceIdRatio(ratio) | Self::ParentBasedTraceIdRatio(ratio)
                if !(0.0..=1.0).contains(&ratio) =>
            {
                Err(bad("sampler", ratio, "use a ratio from 0 to 1"))
            }
            _ => Ok(()),
        }
    }
}

impl BatchConfig {
    pub(crate) fn validate(&self) -> Result<(), Error> {
        let queue = self.max_queue_size;
        count("batch.max_queue_size", queue, MAX_INTEGER)?;
        let size = self.max_export_batch_size;
        count("batch.max_export_batch_size", size, queue)?;
        if self.max_memory < LEAST_MEMORY {
            return Err(bad(
                "batch.max_memory",
                self.max_memory,
                format!("use at least {LEAST_MEMORY} bytes"),
            ));
        }
        duration("batch.schedule_delay", self.schedule_delay)?;
        limit("batch.export_timeout", self.export_timeout)?;
        duration("batch.shutdown_timeout", self.shutdown_timeout)
    }
}

impl LogBatchConfig {
    fn validate(&self) -> Result<(), Error> {
        let queue = self.max_queue_size;
        count("logs.batch.max_queue_size", queue, MAX_INTEGER)?;
        let size = self.max_export_batch_size;
        count("logs.batch.max_export_batch_size", size, queue)?;
        duration("logs.batch.schedule_delay", self.schedule_delay)?;
        limit("logs.batch.export_timeout", self.export_timeout)
    }
}

#[cfg(feature = "metrics")]
impl crate::config::MetricsConfig {
    fn validate(&self) -> Result<(), Error> {
        positive("metrics.interval", self.interval)?;
        limit("metrics.export_timeout", self.export_timeout)
    }
}

impl TailConfig {
    fn validate(&self, max_memory: usize) -> Result<(), Error> {
        if !(0.0..=1.0).contains(&self.ratio) {
            return Err(bad("tail.ratio", self.ratio, "use a ratio from 0 to 1"));
        }
        limit("tail.slower_than", self.slower_than)?;
        // A NaN is in no range.
        let possible = |q: f64| q > 0.0 && q < 1.0;
        if let Some(quantile) = self.slower_than_quantile.filter(|q| !possible(*q)) {
            let cure = "use a quantile above 0 and below 1, such as 0.99";
            return Err(bad("tail.slower_than_quantile", quantile, cure));
        }
        let keeps_slow = self.slower_than.is_some() || self.slower_than_quantile.is_some();
        if self.ratio == 0.0 && !self.keep_errors && !keeps_slow {
            let cure = "nothing would be kept: use a ratio above 0, keep_errors, slower_than or \
                        slower_than_quantile";
            return Err(bad("tail.ratio", self.ratio, cure));
        }
        count("tail.max_spans", self.max_spans, MAX_INTEGER)?;
        let most = max_memory / 2;
        if !(LEAST_HELD..=most).contains(&self.max_bytes) {
            return Err(bad(
                "tail.max_bytes",
                self.max_bytes,
                format!("use {LEAST_HELD} to {most} bytes, half of batch.max_memory"),
            ));
        }
        positive("tail.max_hold", self.max_hold)
    }
}

impl ConnectionConfig {
    pub(crate) fn validate(&self) -> Result<(), Error> {
        limit("connection.timeout", self.timeout)?;
        positive("connection.connect_timeout", self.connect_timeout)?;
        count(
            "connection.max_concurrent_exports",
            self.max_concurrent_exports,
            MOST_EXPORTS,
        )?;
        // gRPC writes the length of a message into 32 bits.
        let longest = usize::try_from(u32::MAX).unwrap_or(usize::MAX);
        count(
            "connection.max_request_size",
            self.max_request_size,
            longest,
        )?;
        count(
            "connection.max_response_size",
            self.max_response_size,
            longest,
        )?;
        self.retry.validate()?;
        for (setting, url) in [
            ("connection.proxy.http", &self.proxy.http),
            ("connection.proxy.https", &self.proxy.https),
        ] {
            if let Some(url) = url {
                parse::proxy(url).map_err(|why| bad(setting, text::url(url), why))?;
            }
        }
        for (name, value) in &self.headers {
            let text = value.to_str().unwrap_or("\0");
            request_header::checked(name.as_str(), text)
                .map_err(|why| bad("connection.headers", name, why))?;
        }
        if let Some(prefix) = &self.user_agent_prefix {
            let usable = HeaderValue::from_str(prefix).is_ok() && !prefix.trim().is_empty();
            if !usable {
                return Err(bad(
                    "connection.user_agent_prefix",
                    prefix,
                    "use visible ASCII such as `shop/1.2`",
                ));
            }
        }
        match (&self.client_key, &self.client_certificate) {
            (Some(_), None) => Err(bad(
                "connection.client_certificate",
                "none",
                "a client key needs its certificate \
                 (OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE or with_client_identity)",
            )),
            (None, Some(_)) => Err(bad(
                "connection.client_key",
                "none",
                "a client certificate needs its key \
                 (OTEL_EXPORTER_OTLP_CLIENT_KEY or with_client_identity)",
            )),
            _ => Ok(()),
        }
    }
}

impl RetryConfig {
    fn validate(&self) -> Result<(), Error> {
        positive("connection.retry.initial_backoff", self.initial_backoff)?;
        positive("connection.retry.max_backoff", self.max_backoff)?;
        if self.max_backoff < self.initial_backoff {
            return Err(bad(
                "connection.retry.max_backoff",
                format!("{:?}", self.max_backoff),
                format!("use at least initial_backoff, {:?}", self.initial_backoff),
            ));
        }
        // A NaN is in no range.
        if !(1.0..=100.0).contains(&self.multiplier) {
            return Err(bad(
                "connection.retry.multiplier",
                self.multiplier,
                "use 1 to 100",
            ));
        }
        if !(1..=MOST_ATTEMPTS).contains(&self.max_attempts) {
            return Err(bad(
                "connection.retry.max_attempts",
                self.max_attempts,
                format!("use 1 (no retry) to {MOST_ATTEMPTS}"),
            ));
        }
        Ok(())
    }
}

impl WorkerConfig {
    fn validate(&self) -> Result<(), Error> {
        if let Some(threads) = self.threads {
            count("worker.threads", threads, MOST_THREADS)?;
        }
        if let Some(size) = self.stack_size.filter(|&size| size < LEAST_STACK) {
            return Err(bad(
                "worker.stack_size",
                size,
                format!("use at least {LEAST_STACK} bytes"),
            ));
        }
        // The standard library panics at a NUL in a thread's name.
        if self.thread_name.is_empty() || self.thread_name.contains('\0') {
            return Err(bad(
                "worker.thread_name",
                &self.thread_name,
                "use a name without NUL",
            ));
        }
        Ok(())
    }
}

impl ResourceConfig {
    fn validate(&self) -> Result<(), Error> {
        match self.attributes.iter().find(|a| a.key.is_empty()) {
            Some(_) => Err(bad(
                "resource.attributes",
                "",
                "a key must not be empty (TR-8)",
            )),
            None => Ok(()),
        }
    }
}

fn count(setting: &str, value: usize, most: usize) -> Result<(), Error> {
    if (1..=most).contains(&value) {
        return Ok(());
    }
    let cure = match setting {
        "batch.max_export_batch_size" => format!("use 1 to {most}, the size of the queue"),
        _ => format!("use 1 to {most}"),
    };
    Err(bad(setting, value, cure))
}

fn duration(setting: &str, value: Duration) -> Result<(), Error> {
    if value <= MAX_DURATION {
        return Ok(());
    }
    Err(bad(
        setting,
        format!("{value:?}"),
        format!("use at most {MAX_DURATION:?} (365 days)"),
    ))
}

fn positive(setting: &str, value: Duration) -> Result<(), Error> {
    if value.is_zero() {
        return Err(bad(setting, "0ns", "use more than zero"));
    }
    duration(setting, value)
}

fn limit(setting: &str, value: Option<Duration>) -> Result<(), Error> {
    match value {
        None => Ok(()),
        Some(value) if value.is_zero() => Err(bad(setting, "0ns", "use None for no limit")),
        Some(value) => duration(setting, value),
    }
}

fn bad(setting: &str, value: impl Display, cure: impl Into<String>) -> Error {
    Error::config(setting, value.to_string(), cure)
}
