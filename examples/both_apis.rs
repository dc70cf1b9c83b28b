//! A library that is instrumented with the OpenTelemetry API, and an application that uses
//! `#[instrument]`: one trace.
//!
//! ```text
//! cargo run --all-features --example both_apis
//! ```
//!
//! Its own collector prints what arrived over OTLP.
#![allow(clippy::print_stdout, reason = "an example shows what it did")]

use std::time::Duration;

use opentelemetry::global;
use tracing::level_filters::LevelFilter;
use tracing::{Instrument as _, info, info_span, instrument};
use tracing_otlp::Protocol;
use tracing_otlp::context::{self, FutureExt as _};
use tracing_otlp::fmt::with_trace_ids;
use tracing_otlp::otel::TracerProvider;
use tracing_otlp::testing::{Collector, Trace};
use tracing_subscriber::prelude::*;

/// Stands for a crate of somebody else's, which knows nothing of `tracing`.
mod storage {
    use opentelemetry::trace::{SpanKind, Status, TraceContextExt as _, Tracer as _};
    use opentelemetry::{Context, KeyValue, global};

    /// Looks a row up; `each` is called for it while the query is current.
    pub(crate) fn query(table: &'static str, each: impl FnOnce()) {
        let tracer = global::tracer("storage");
        let span = tracer
            .span_builder(format!("SELECT {table}"))
            .with_kind(SpanKind::Client)
            .with_attributes([KeyValue::new("db.system.name", "sqlite")])
            .start(&tracer);
        let cx = Context::current_with_span(span);
        let _active = cx.clone().attach();
        each();
        cx.span()
            .add_event("row read", vec![KeyValue::new("bytes", 512)]);
        if table == "secrets" {
            cx.span().set_status(Status::error("forbidden"));
        }
    }
}

#[instrument]
fn decode(row: u32) {
    info!("decoded");
}

#[instrument]
fn load(id: u32) {
    // A `tracing` span in a span of the API in a `tracing` span.
    storage::query("orders", || decode(id));
    storage::query("secrets", || {});
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), tracing_otlp::Error> {
    let collector = Collector::start();
    let (otlp, guard) = tracing_otlp::builder()
        .without_env()
        .with_service_name("both-apis")
        .with_protocol(Protocol::Grpc)
        .with_endpoint(collector.grpc_endpoint())
        .with_context_activation(true)
        .build()?;
    global::set_tracer_provider(TracerProvider::new(&otlp));
    let log = tracing_subscriber::fmt::layer()
        .map_event_format(with_trace_ids)
        .with_filter(LevelFilter::INFO);
    tracing_subscriber::registry().with(otlp).with(log).init();

    async {
        load(7);
        // Spawned work takes the trace along, without a span of its own here.
        let task = async { info!(trace = %context::current().trace_id(), "in a task") };
        let _ = tokio::spawn(task.in_current_trace_context()).await;
    }
    .instrument(info_span!("request", otel.kind = "server"))
    .await;

    guard.shutdown(Duration::from_secs(5)).await?;
    println!();
    for trace in Trace::all(&collector.spans()) {
        println!("{trace}");
    }
    println!("{}", guard.stats());
    Ok(())
}
