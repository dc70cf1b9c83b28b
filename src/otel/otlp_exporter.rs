//! The exporters of opentelemetry-otlp at the end of this pipeline, over this crate's connections: they
//! write the requests, [`OtlpClient`] delivers them.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{ExporterBuildError, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use tokio_util::sync::CancellationToken;

use super::exporter::{OfLogs, OfSpans, SdkExporter, SdkSignal};
use crate::config::{ConnectionConfig, OtlpConfig, Protocol};
use crate::error::Error;
use crate::export::{Batch, ConcurrencyPermit, Exporter, OtlpClient, Outcome, RequestEnd};
use crate::signal::Signal;
use crate::stats::DropReason;
use crate::sync::{Arc, Mutex, lock};

/// The span exporter of opentelemetry-otlp, with the settings of `config.connection`, over HTTP with JSON or
/// protobuf.
///
/// It writes the requests. The client of this crate delivers them, as it does its own: all settings of
/// [`ConnectionConfig`] hold, such as headers that are renewed, proxies, TLS and retries, and none
/// is read from the environment again. A batch is sent after the other. Spans go through the types of
/// `opentelemetry_sdk`, which costs more than [`OtlpClient`], and bytes become Base64 text
/// ([`SpanExporterAdapter`](super::SpanExporterAdapter)).
///
/// [`build`](crate::OtlpBuilder::build) uses it where the protocol is `http/json` in a build without the
/// feature `http-json`. Code that prefers it always:
///
/// ```no_run
/// # fn main() -> Result<(), tracing_otlp::Error> {
/// use tracing_otlp::{OtlpConfig, otel};
///
/// let config = OtlpConfig::from_env();
/// let (layer, guard) = tracing_otlp::builder()
///     .with_exporter(otel::otlp_span_exporter(&config)?)
///     .with_config(config)
///     .build()?;
/// # let _ = (layer, guard);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// [`Error::is_config`] if a setting cannot be used, and for the protocol `grpc` and
/// [`trace_affinity`](ConnectionConfig::trace_affinity): only [`OtlpClient`] has them.
pub fn otlp_span_exporter(config: &OtlpConfig) -> Result<impl Exporter + use<>, Error> {
    let (carrier, protocol) = carrier(
        &config.connection,
        config.batch.export_timeout,
        Signal::Traces,
    )?;
    let builder = opentelemetry_otlp::SpanExporter::builder().with_http();
    let exporter = carried_by(&carrier, protocol, builder)
        .build()
        .map_err(refused)?;
    Ok(OtlpSdkExporter::new(OfSpans(exporter), carrier))
}

/// The log exporter of opentelemetry-otlp, as [`otlp_span_exporter`] is for spans, with the settings of
/// [`LogsConfig::connection`](crate::config::LogsConfig::connection) where logs have one of their own.
/// Give it to [`OtlpBuilder::with_logs_exporter`](crate::OtlpBuilder::with_logs_exporter).
///
/// # Errors
///
/// Those of [`otlp_span_exporter`].
pub fn otlp_log_exporter(config: &OtlpConfig) -> Result<impl Exporter + use<>, Error> {
    let (carrier, protocol) = carrier(
        config.logs_connection(),
        config.logs.batch.export_timeout,
        Signal::Logs,
    )?;
    let builder = opentelemetry_otlp::LogExporter::builder().with_http();
    let exporter = carried_by(&carrier, protocol, builder)
        .build()
        .map_err(refused)?;
    Ok(OtlpSdkExporter::new(OfLogs::new(exporter), carrier))
}

/// The carrier knows the endpoint. Without an address from code opentelemetry-otlp reads the environment.
const NOWHERE: &str = "http://localhost";
/// The client keeps the deadline.
const LONG: Duration = Duration::from_secs(86_400);

fn carried_by<B: WithExportConfig + WithHttpConfig>(
    carrier: &Carrier,
    protocol: opentelemetry_otlp::Protocol,
    builder: B,
) -> B {
    builder
        .with_http_client(carrier.clone())
        .with_endpoint(NOWHERE)
        .with_protocol(protocol)
        .with_timeout(LONG)
}

fn carrier(
    connection: &ConnectionConfig,
    cap: Option<Duration>,
    signal: Signal,
) -> Result<(Carrier, opentelemetry_otlp::Protocol), Error> {
    if connection.trace_affinity {
        let cure = "opentelemetry-otlp's exporter sends a batch to one endpoint: switch it off, or use `OtlpClient`";
        return Err(Error::config("exporter.trace_affinity", "true", cure));
    }
    let client = OtlpClient::for_encoded(connection.clone(), cap, signal.into())?;
    let protocol = match client.protocol() {
        Some(Protocol::HttpJson) => opentelemetry_otlp::Protocol::HttpJson,
        Some(Protocol::Grpc) => {
            let cure = "opentelemetry-otlp's exporter is used over HTTP: set OTEL_EXPORTER_OTLP_PROTOCOL to \
                        http/json or http/protobuf, and the endpoint's port to the one of HTTP (4318)";
            return Err(Error::config("protocol", "grpc", cure));
        }
        _ => opentelemetry_otlp::Protocol::HttpBinary,
    };
    let carrier = Carrier {
        client,
        ended: Arc::default(),
    };
    Ok((carrier, protocol))
}

fn refused(error: ExporterBuildError) -> Error {
    let cure = "opentelemetry-otlp cannot build its exporter: see the error";
    Error::config("exporter", error.to_string(), cure)
}

/// The HTTP client of opentelemetry-otlp's exporter.
#[derive(Clone)]
struct Carrier {
    client: OtlpClient,
    /// What became of the last request.
    ended: Arc<Mutex<Option<RequestEnd>>>,
}

#[async_trait]
impl HttpClient for Carrier {
    /// Delivers the body, with all attempts. The head has an address and headers that nobody set.
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let ended = self.client.deliver_encoded(request.into_body()).await;
        let mut response = Response::new(Bytes::new());
        if !ended.is_taken() {
            // One that opentelemetry-otlp does not retry.
            *response.status_mut() = StatusCode::BAD_REQUEST;
        }
        *lock(&self.ended) = Some(ended);
        Ok(response)
    }
}

impl fmt::Debug for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Carrier").finish_non_exhaustive()
    }
}

struct OtlpSdkExporter<S> {
    exporter: SdkExporter<Carried<S>>,
    client: OtlpClient,
}

impl<S: SdkSignal> OtlpSdkExporter<S> {
    fn new(inner: S, carrier: Carrier) -> Self {
        let client = carrier.client.clone();
        let carried = Carried {
            inner,
            carrier,
            outcome: Mutex::default(),
        };
        Self {
            exporter: SdkExporter::new(carried),
            client,
        }
    }
}

/// An exporter whose requests a [`Carrier`] delivers.
struct Carried<S> {
    inner: S,
    carrier: Carrier,
    outcome: Mutex<Option<Outcome>>,
}

impl<S: SdkSignal> SdkSignal for Carried<S> {
    const SIGNAL: Signal = S::SIGNAL;

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }

    async fn export(
        &self,
        batch: Batch,
        cancelled: &CancellationToken,
    ) -> (u64, Option<OTelSdkResult>) {
        let mut readable = 0;
        let mut outcome = Outcome::default();
        // A stack with the first half on top: parts are sent in order.
        let mut todo = vec![batch];
        while let Some(part) = todo.pop() {
            *lock(&self.carrier.ended) = None;
            let (count, exported) = self.inner.export(part.clone(), cancelled).await;
            let ended = lock(&self.carrier.ended).take();
            let of_part = match (ended, exported) {
                (_, None) => return (readable + count, None),
                (Some(ended), _) if ended.is_too_large() => match part.split() {
                    Ok((first, second)) => {
                        todo.extend([second, first]);
                        continue;
                    }
                    Err(_) => ended.outcome(count, S::SIGNAL.items()),
                },
                (Some(ended), _) => ended.outcome(count, S::SIGNAL.items()),
                (None, Some(Ok(()))) => Outcome::delivered(count),
                (None, Some(Err(error))) => {
                    let why = format!("opentelemetry-otlp: {error}");
                    Outcome::dropped(DropReason::Internal, count, why)
                }
            };
            readable += count;
            outcome = outcome.merge(of_part);
        }
        *lock(&self.outcome) = Some(outcome);
        (readable, Some(Ok(())))
    }

    fn end(&self) -> OTelSdkResult {
        self.inner.end()
    }

    fn outcome(&self) -> Option<Outcome> {
        lock(&self.outcome).take()
    }
}

impl<S: SdkSignal> Exporter for OtlpSdkExporter<S> {
    type Permit = ConcurrencyPermit;

    async fn ready(&self) -> ConcurrencyPermit {
        let permit = self.exporter.ready().await;
        self.client.until_up().await;
        permit
    }

    fn send(
        &self,
        permit: ConcurrencyPermit,
        batch: Batch,
    ) -> impl Future<Output = Outcome> + Send + 'static {
        self.exporter.send(permit, batch)
    }

    fn begin_shutdown(&self) {
        Exporter::begin_shutdown(&self.client);
    }

    fn shutdown(&self) {
        Exporter::shutdown(&self.client);
        self.exporter.shutdown();
    }

    fn closed(&self) -> impl Future<Output = ()> + Send + 'static {
        self.exporter.closed()
    }

    fn last_error(&self) -> Option<String> {
        self.client.last_error()
    }

    fn supports(&self, signal: Signal) -> bool {
        signal == S::SIGNAL
    }

    fn keeps_export_timeout(&self) -> bool {
        self.client.keeps_export_timeout()
    }
}

#[cfg(all(test, not(feature = "http-json")))]
mod tests {
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};
    use std::net::TcpListener;
    use std::time::Duration;

    use tracing_subscriber::layer::SubscriberExt as _;

    use crate::config::Protocol;

    /// A build without a JSON encoder of this crate's sends `http/json` all the same.
    #[test]
    fn a_build_without_http_json_sends_json_by_opentelemetry_otlp() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                assert!(reader.read_line(&mut head).unwrap() > 0);
            }
            let head = head.to_lowercase();
            let length = head
                .lines()
                .find_map(|l| l.strip_prefix("content-length: "));
            let mut body = vec![0; length.unwrap().trim().parse().unwrap()];
            reader.read_exact(&mut body).unwrap();
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{{}}").unwrap();
            (head, String::from_utf8(body).unwrap())
        });
        let (layer, guard) = crate::builder()
            .without_env()
            .with_endpoint(endpoint)
            .with_protocol(Protocol::HttpJson)
            .build()
            .unwrap();
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || drop(tracing::info_span!("work")));
        guard
            .force_flush_blocking(Duration::from_secs(120))
            .unwrap();
        let (head, body) = server.join().unwrap();
        assert!(head.contains("content-type: application/json"), "{head}");
        // That crate writes it with white space.
        let compact: String = body.split_whitespace().collect();
        assert!(compact.contains(r#""name":"work""#), "{body}");
    }
}
