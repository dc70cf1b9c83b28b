//! The middleware's [`Meter`]: durations, sizes and numbers of requests, by instruments of the OpenTelemetry
//! API by the conventions of HTTP and of RPC (RPC-8).

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Histogram, MeterProvider, UpDownCounter};

use super::DURATION_BOUNDARIES;
use crate::middleware::{
    CallProtocol, ClientLayer, Labels, Measured, Meter, OTHER, Role, SYSTEM, ServerLayer,
};
use crate::sync::Arc;

/// The highest status of HTTP.
const LAST_STATUS: u16 = 599;

/// No measure has more attributes.
const MOST_ATTRIBUTES: usize = 6;

impl ServerLayer {
    /// Measures every request that [`with_filter`](Self::with_filter) admits, also without
    /// a span because of the sampler or the span's level.
    ///
    /// `http.server.request.duration` and `http.server.active_requests`; where sizes are
    /// [recorded](Self::with_request_body_size), `http.server.request.body.size` and
    /// `http.server.response.body.size`; for gRPC only `rpc.server.call.duration`. A request
    /// lasts until its response's body has ended or the call is cancelled, as its span does, and
    /// `error.type` is the same on both.
    ///
    /// ```
    /// # fn routes() -> axum::Router { axum::Router::new() }
    /// use opentelemetry_sdk::metrics::SdkMeterProvider;
    /// use tracing_otlp::middleware::ServerLayer;
    ///
    /// let meters = SdkMeterProvider::builder().build();
    /// let app = routes().layer(ServerLayer::new().with_meter_provider(&meters));
    /// # let _: axum::Router = app;
    /// ```
    #[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
    pub fn with_meter_provider(self, provider: &impl MeterProvider) -> Self {
        let meter: Arc<dyn Meter> = Arc::new(Requests::of_server(provider));
        self.set_option(|o| o.meter = Some(meter))
    }
}

impl ClientLayer {
    /// Measures every request that [`with_filter`](Self::with_filter) admits, also without
    /// a span because of the sampler or the span's level.
    ///
    /// `http.client.request.duration`; where sizes are [recorded](Self::with_request_body_size),
    /// `http.client.request.body.size`, and with [`with_whole_body`](Self::with_whole_body)
    /// `http.client.response.body.size`; for gRPC only `rpc.client.call.duration`. A request
    /// lasts as long as its span, and `error.type` is the same on both.
    ///
    /// ```
    /// use opentelemetry_sdk::metrics::SdkMeterProvider;
    /// use tracing_otlp::middleware::ClientLayer;
    ///
    /// let meters = SdkMeterProvider::builder().build();
    /// let layer = ClientLayer::new().with_meter_provider(&meters);
    /// ```
    #[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
    pub fn with_meter_provider(self, provider: &impl MeterProvider) -> Self {
        let meter: Arc<dyn Meter> = Arc::new(Requests::of_client(provider));
        self.set_option(|o| o.meter = Some(meter))
    }
}

/// The instruments of one layer.
struct Requests {
    duration: Histogram<f64>,
    call_duration: Histogram<f64>,
    /// Only servers have this metric.
    active: Option<UpDownCounter<i64>>,
    request_size: Histogram<u64>,
    response_size: Histogram<u64>,
}

impl Requests {
    fn of_server(provider: &impl MeterProvider) -> Self {
        let meter = super::meter(provider);
        Self {
            duration: seconds(
                &meter,
                "http.server.request.duration",
                "Duration of HTTP server requests.",
            ),
            call_duration: seconds(
                &meter,
                "rpc.server.call.duration",
                "Measures the duration of an incoming Remote Procedure Call (RPC).",
            ),
            active: Some(
                meter
                    .i64_up_down_counter("http.server.active_requests")
                    .with_unit("{request}")
                    .with_description("Number of active HTTP server requests.")
                    .build(),
            ),
            request_size: bytes(
                &meter,
                "http.server.request.body.size",
                "Size of HTTP server request bodies.",
            ),
            response_size: bytes(
                &meter,
                "http.server.response.body.size",
                "Size of HTTP server response bodies.",
            ),
        }
    }

    fn of_client(provider: &impl MeterProvider) -> Self {
        let meter = super::meter(provider);
        Self {
            duration: seconds(
                &meter,
                "http.client.request.duration",
                "Duration of HTTP client requests.",
            ),
            call_duration: seconds(
                &meter,
                "rpc.client.call.duration",
                "Measures the duration of an outgoing Remote Procedure Call (RPC).",
            ),
            active: None,
            request_size: bytes(
                &meter,
                "http.client.request.body.size",
                "Size of HTTP client request bodies.",
            ),
            response_size: bytes(
                &meter,
                "http.client.response.body.size",
                "Size of HTTP client response bodies.",
            ),
        }
    }

    /// Adds `change` to the requests of this kind that are being served.
    fn count(&self, call: &Labels, change: i64) {
        let Some(active) = self
            .active
            .as_ref()
            .filter(|_| call.protocol == CallProtocol::Http)
        else {
            return;
        };
        let attributes = [
            KeyValue::new("http.request.method", call.method.clone()),
            KeyValue::new("url.scheme", call.scheme),
        ];
        active.add(change, &attributes);
    }
}

impl Meter for Requests {
    fn began(&self, call: &Labels) {
        self.count(call, 1);
    }

    fn ended(&self, call: Labels, end: &Measured<'_>) {
        self.count(&call, -1);
        let seconds = end.duration.as_secs_f64();
        match call.protocol {
            CallProtocol::Grpc => self.call_duration.record(seconds, &of_rpc(call, end)),
            CallProtocol::Http => {
                let size = call.request_size;
                let attributes = of_http(call, end);
                self.duration.record(seconds, &attributes);
                if let Some(size) = size {
                    self.request_size.record(size, &attributes);
                }
                if let Some(size) = end.response_size {
                    self.response_size.record(size, &attributes);
                }
            }
        }
    }
}

fn of_http(call: Labels, end: &Measured<'_>) -> Vec<KeyValue> {
    let mut all = Vec::with_capacity(MOST_ATTRIBUTES);
    all.push(KeyValue::new("http.request.method", call.method));
    match call.role {
        Role::Server => all.push(KeyValue::new("url.scheme", call.scheme)),
        Role::Client => put_server(&mut all, call.server),
    }
    if let Some(status) = end.status.filter(|status| *status <= LAST_STATUS) {
        all.push(KeyValue::new(
            "http.response.status_code",
            i64::from(status),
        ));
    }
    put_error(&mut all, end);
    if let Some(route) = call.route {
        all.push(KeyValue::new("http.route", route));
    }
    if let Some(version) = end.version.or(call.version) {
        all.push(KeyValue::new("network.protocol.version", version));
    }
    all
}

fn of_rpc(call: Labels, end: &Measured<'_>) -> Vec<KeyValue> {
    let mut all = Vec::with_capacity(MOST_ATTRIBUTES);
    all.push(KeyValue::new("rpc.system.name", SYSTEM));
    all.push(match call.rpc_method {
        Some(method) => KeyValue::new("rpc.method", method),
        None => KeyValue::new("rpc.method", OTHER),
    });
    if call.role == Role::Client {
        put_server(&mut all, call.server);
    }
    if let Some(code) = end.code {
        all.push(KeyValue::new("rpc.status_code", code.name()));
    }
    put_error(&mut all, end);
    all
}

/// The server of a client's request. A server leaves out its own name, because its clients choose it.
fn put_server(all: &mut Vec<KeyValue>, server: Option<(String, Option<u16>)>) {
    let Some((address, port)) = server else {
        return;
    };
    all.push(KeyValue::new("server.address", address));
    if let Some(port) = port {
        all.push(KeyValue::new("server.port", i64::from(port)));
    }
}

fn put_error(all: &mut Vec<KeyValue>, end: &Measured<'_>) {
    let Some(kind) = end.error_type else { return };
    // A sender may choose any number outside of the range of statuses.
    let is_status = end.status.is_some_and(|status| status > LAST_STATUS);
    let is_strange = is_status && kind.bytes().all(|b| b.is_ascii_digit());
    let kind = if is_strange { OTHER } else { kind };
    all.push(KeyValue::new("error.type", kind.to_owned()));
}

fn seconds(
    meter: &opentelemetry::metrics::Meter,
    name: &'static str,
    description: &'static str,
) -> Histogram<f64> {
    meter
        .f64_histogram(name)
        .with_unit("s")
        .with_description(description)
        .with_boundaries(DURATION_BOUNDARIES.to_vec())
        .build()
}

fn bytes(
    meter: &opentelemetry::metrics::Meter,
    name: &'static str,
    description: &'static str,
) -> Histogram<u64> {
    meter
        .u64_histogram(name)
        .with_unit("By")
        .with_description(description)
        .build()
}
