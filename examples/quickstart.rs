//! A small shop as an axum service whose spans and logs go to an OTLP endpoint.
//!
//! ```text
//! cargo run --example quickstart             its own collector; shows the trace of each request
//! cargo run --example quickstart -- --exit   ends after the first four requests
//! OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4317 OTEL_EXPORTER_OTLP_PROTOCOL=grpc cargo run --example quickstart
//! ```
//!
//! Without an endpoint it starts the trace viewer, whose address it prints, and the collector that tests
//! use, both inside this process. Both get the spans and the log records. The collector gets real OTLP over gRPC,
//! and each trace that arrives is drawn in the terminal too, and each log record that belongs to none. An
//! endpoint of your own gets logs with `OTEL_LOGS_EXPORTER=otlp`. A drawing is as wide as the terminal; the
//! variable `COLUMNS` sets another width, `NO_COLOR` turns colours off. Ctrl-C ends it.
#![allow(clippy::print_stdout, reason = "an example shows what it did")]

use std::collections::HashMap;
use std::error::Error;
use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use axum::extract::Path;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tracing::level_filters::LevelFilter;
use tracing::{Instrument as _, Span, error, info, instrument};
use tracing_otlp::config::BatchConfig;
use tracing_otlp::guard::PipelineHandle;
use tracing_otlp::middleware::ServerLayer;
use tracing_otlp::testing::{Collector, Trace};
use tracing_otlp::{Events, Protocol, TraceId};
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// The most that answering what has begun and sending what is left may take on Ctrl-C.
const DEADLINE: Duration = Duration::from_secs(2);

/// How long spans and log records wait for others before they are sent together.
const SOON: Duration = Duration::from_millis(100);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let exit = std::env::args().any(|a| a == "--exit");
    // The endpoint that a variable names, else a collector inside this process.
    let given = given_endpoint();
    let collector = match given {
        Some(_) => None,
        None => Some(Collector::try_start()?),
    };

    // These lines are all that an application needs.
    let mut builder = tracing_otlp::builder().with_service_name("quickstart");
    if let Some(collector) = &collector {
        // The viewer gets all that the endpoint gets. An application that only wants the page calls
        // `with_exporter(tracing_otlp::viewer().build()?)`.
        let viewer = tracing_otlp::viewer().with_join(false).build()?;
        builder = builder
            .with_endpoint(collector.grpc_endpoint())
            .with_protocol(Protocol::Grpc)
            // Events become log records, in the trace of the span in which they happen.
            .with_logs(Events::AsLogs)
            .with_additional_exporter("viewer", viewer, BatchConfig::default())
            // Somebody looks.
            .with_schedule_delay(SOON)
            .configure(|config| config.logs.batch.schedule_delay = SOON);
    }
    let (layer, guard) = builder.build()?;
    // What the crate itself has to report: an endpoint that does not answer, for example.
    let warnings = Targets::new().with_target("tracing_otlp", LevelFilter::WARN);
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(std::io::stderr().is_terminal() && !is_colorless())
        .with_writer(std::io::stderr);
    tracing_subscriber::registry()
        .with(LevelFilter::INFO)
        .with(layer)
        .with(lines.with_filter(warnings))
        .init();

    // On Ctrl-C requests in flight are answered, and then the pipeline ends.
    let graceful = guard.graceful(DEADLINE);
    let requests = ServerLayer::new().with_in_flight(graceful.in_flight());
    let app = Router::new()
        .route("/orders/{id}", get(order))
        .route("/stock", get(stock))
        .route("/pay/{id}", get(pay))
        .layer(requests);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;

    // In no span: as a log record it arrives all the same.
    info!(%address, "the shop is open");

    let display = collector.map(Display::start);
    let drawn = display.as_ref().map(Display::drawn);
    let stop = graceful.stop_handle();
    let pipeline = guard.handle();
    let demo = tokio::spawn(async move {
        let done = demo(address, &pipeline, given.as_deref()).await;
        if exit || done.is_err() {
            stop.stop();
        } else {
            // The drawings would push the routes out of sight.
            if let Some(mut drawn) = drawn {
                let all = drawn.wait_for(|traces| *traces >= DEMO.len());
                let _ = tokio::time::timeout(DEADLINE, all).await;
            }
            print_routes(address);
        }
        done
    });
    let ended = graceful
        .serve(|stop| axum::serve(listener, app).with_graceful_shutdown(stop))
        .await;
    demo.await?.map_err(|error| error as Box<dyn Error>)?;
    if let Some(display) = display {
        display.end();
    }
    // Telemetry that is lost is worth a line, and no reason to fail.
    if let Err(error) = ended.pipeline {
        println!("Not every span was delivered: {error}");
    }
    println!("{}", guard.stats());
    Ok(())
}

fn given_endpoint() -> Option<String> {
    let names = [
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
    ];
    let mut values = names.iter().filter_map(|name| std::env::var(name).ok());
    values.find(|value| !value.is_empty())
}

/// The paths of the first requests, so that there is something to see.
const DEMO: [&str; 4] = ["/orders/4711", "/stock", "/pay/13", "/nowhere"];

async fn demo(
    address: SocketAddr,
    pipeline: &PipelineHandle,
    given: Option<&str>,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    for path in DEMO {
        let status = fetch(address, path).await?;
        println!("GET {path} -> {status}");
    }
    let sent = pipeline.force_flush(DEADLINE).await;
    match (given, sent) {
        (None, sent) => sent?,
        (Some(given), Ok(())) => println!("\nTheir spans are at {given}: look there."),
        (Some(given), Err(error)) => println!("\nNot at {given} yet: {error}"),
    }
    Ok(())
}

fn print_routes(address: SocketAddr) {
    println!("\nServing until Ctrl-C. In another terminal, or in a browser:\n");
    for path in ["/orders/1", "/stock", "/pay/13"] {
        println!("  curl http://{address}{path}");
    }
    println!();
}

/// Draws each trace that arrives at the collector.
struct Display {
    stop: mpsc::Sender<()>,
    drawn: watch::Receiver<usize>,
    thread: thread::JoinHandle<()>,
}

impl Display {
    fn start(collector: Collector) -> Self {
        let (stop, stopped) = mpsc::channel();
        let (report, drawn) = watch::channel(0);
        println!("A collector listens at {}.\n", collector.grpc_endpoint());
        let thread = thread::spawn(move || {
            let mut known = HashMap::new();
            let mut logs = 0;
            loop {
                let tick = stopped.recv_timeout(Duration::from_millis(150));
                let is_last = tick != Err(mpsc::RecvTimeoutError::Timeout);
                print_logs(&collector, &mut logs);
                print_traces(&collector, &mut known, is_last);
                let _ = report.send(known.values().filter(|p| p.is_drawn).count());
                if is_last {
                    break;
                }
            }
        });
        Self {
            stop,
            drawn,
            thread,
        }
    }

    /// How many traces are drawn.
    fn drawn(&self) -> watch::Receiver<usize> {
        self.drawn.clone()
    }

    /// Draws what has not been drawn yet; then the collector ends too.
    fn end(self) {
        let _ = self.stop.send(());
        let _ = self.thread.join();
    }
}

/// How far the display is with a trace.
#[derive(Default)]
struct Progress {
    /// How many spans and log records it had last time.
    len: usize,
    is_drawn: bool,
}

/// Draws the traces that are new and no longer grow.
fn print_traces(collector: &Collector, known: &mut HashMap<TraceId, Progress>, is_last: bool) {
    let color = std::io::stdout().is_terminal() && !is_colorless();
    let logs = collector.logs();
    for trace in Trace::all(&collector.spans()) {
        let progress = known.entry(trace.id()).or_default();
        let of_trace = logs.iter().filter(|l| l.trace_id == Some(trace.id()));
        let len = trace.len() + of_trace.count();
        let grows = progress.len != len;
        if grows {
            *progress = Progress {
                len,
                is_drawn: false,
            };
        }
        if !progress.is_drawn && (!grows || is_last) {
            let trace = trace.with_logs(&logs);
            let drawing = trace.drawing().with_color(color);
            println!("\n{}", drawing.with_columns(columns()));
            progress.is_drawn = true;
        }
    }
}

/// Whether `NO_COLOR` turns colours off.
fn is_colorless() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

/// `COLUMNS`, else the terminal's width, else 80.
fn columns() -> usize {
    let set = std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok());
    let terminal = || Some(usize::from(terminal_size::terminal_size()?.0.0));
    set.or_else(terminal).unwrap_or(80)
}

/// Prints the log records that are new and belong to no trace; the others are in the drawings.
fn print_logs(collector: &Collector, known: &mut usize) {
    let logs = collector.logs();
    for log in logs.iter().skip(*known).filter(|l| l.trace_id.is_none()) {
        println!("log record  {}  {}", log.severity_text, log.message());
    }
    *known = logs.len();
}

/// A nested call and an event.
#[instrument(skip_all, fields(order.id = id))]
async fn order(Path(id): Path<u64>) -> Json<serde_json::Value> {
    let lines = load(id).await;
    info!(lines, "order found");
    Json(serde_json::json!({ "id": id, "lines": lines }))
}

#[instrument(fields(otel.kind = "client", db.system.name = "postgresql"))]
async fn load(id: u64) -> u64 {
    tokio::time::sleep(Duration::from_millis(3)).await;
    Span::current().record("id", id);
    id % 7
}

/// Tasks that run at the same time, each with a span of its own.
#[instrument]
async fn stock() -> Json<serde_json::Value> {
    let tasks: Vec<_> = ["north", "south", "harbour"]
        .into_iter()
        .map(|depot| tokio::spawn(count(depot).in_current_span()))
        .collect();
    let mut total = 0;
    for task in tasks {
        total += task.await.unwrap_or(0);
    }
    Json(serde_json::json!({ "total": total }))
}

#[instrument]
async fn count(depot: &'static str) -> usize {
    tokio::time::sleep(Duration::from_millis(depot.len() as u64)).await;
    info!(items = depot.len(), "counted");
    depot.len()
}

/// An error that the span tells of.
#[instrument(skip_all, fields(order.id = id))]
async fn pay(Path(id): Path<u64>) -> Result<&'static str, StatusCode> {
    charge(id).await.map_err(|e| {
        error!(order.id = id, reason = %e, "payment failed");
        StatusCode::BAD_GATEWAY
    })?;
    Ok("paid")
}

#[instrument(err, fields(otel.kind = "client"))]
async fn charge(id: u64) -> Result<(), String> {
    tokio::time::sleep(Duration::from_millis(2)).await;
    match id % 13 {
        0 => Err(format!("the bank refused order {id}")),
        _ => Ok(()),
    }
}

/// A plain HTTP/1.1 request, and the status that came back.
async fn fetch(address: SocketAddr, path: &str) -> std::io::Result<String> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut response = String::new();
    stream.read_to_string(&mut response).await?;
    let status = response.lines().next().unwrap_or_default();
    Ok(status.trim_start_matches("HTTP/1.1 ").to_owned())
}
