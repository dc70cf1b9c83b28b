//! Exporters: [`Exporter`], and those of this crate, which send encoded batches of spans and log records.
//!
//! Most programs do not need this module: the settings of [`OtlpConfig`](crate::OtlpConfig) choose and
//! configure the exporter. Read on to write an exporter, to wrap one, or to send to two places:
//!
//! | Type | Use |
//! | --- | --- |
//! | [`Exporter`] | the trait: a permit, then a batch, then an outcome |
//! | [`Batch`] | one encoded export request, with its number of items: spans or log records |
//! | [`Outcome`] | how many items of a batch were delivered, rejected or dropped, and the error |
//! | [`ConcurrencyLimiter`] | hands out a bounded number of permits, for an exporter of your own |
//! | [`OtlpClient`] | sends to an OTLP endpoint by gRPC or HTTP: the default exporter |
//! | [`ConsoleExporter`] | writes spans as text, for development |
//! | `OtlpFileExporter` | writes OTLP JSON lines to a file (feature `file`) |
//!
//! [`OtlpBuilder::with_exporter`](crate::OtlpBuilder::with_exporter) takes an exporter of your own. An
//! exporter receives encoded OTLP and depends on no span and no queue.
//!
//! # How it works inside
//!
//! The processor's worker waits for [`Exporter::ready`], forms a batch and passes it with the permit to
//! [`Exporter::send`]. The number of permits bounds the concurrent requests; retries, timeouts and
//! connections are the exporter's part.
#![cfg_attr(
    not(all(feature = "grpc", feature = "http")),
    allow(dead_code, reason = "each transport uses its part")
)]
#![cfg_attr(
    not(any(feature = "grpc", feature = "http")),
    allow(
        unreachable_code,
        unused_variables,
        reason = "without a transport no client can be made"
    )
)]

mod affine_delivery;
mod affinity;
mod attempt;
mod batch;
mod cause;
mod client;
mod client_state;
mod compress;
mod console;
mod credentials;
mod deadline;
mod delivery;
mod dial;
pub(crate) mod endpoint;
mod erased;
#[cfg(feature = "file")]
mod file;
#[cfg(feature = "grpc")]
mod grpc;
mod happy_eyeballs;
mod health;
#[cfg(feature = "http")]
mod http;
mod http2_preface;
#[cfg_attr(not(feature = "http-json"), path = "no_json.rs")]
mod json;
#[cfg(any(feature = "http-json", feature = "opentelemetry-otlp"))]
mod json_answer;
mod limiter;
mod members;
mod next_step;
mod no_sigpipe;
#[cfg_attr(not(any(feature = "grpc", feature = "http")), path = "no_proxy.rs")]
mod proxy;
mod random;
#[cfg(feature = "http")]
mod redirect;
mod resolve;
mod retry;
mod size;
mod socket;
mod status;
mod stream;
#[cfg_attr(not(feature = "tls"), path = "no_tls.rs")]
mod tls;
mod transport;

pub use batch::{Batch, BatchItem};
pub use client::{OtlpClient, OtlpClientPermit};
pub use console::ConsoleExporter;
#[cfg(feature = "opentelemetry-otlp")]
pub(crate) use delivery::RequestEnd;
pub(crate) use erased::{ErasedExporter, Readiness, SendPermit};
#[cfg(feature = "file")]
pub use file::{OtlpFile, OtlpFileExporter};
pub use limiter::{ConcurrencyLimiter, ConcurrencyPermit};

pub use crate::signal::Signal;

use std::future::Future;
use std::time::Duration;

use crate::stats::DropReason;

/// Sends encoded batches to an endpoint, a file or a terminal.
///
/// [`OtlpClient`] is the default exporter. The processor polls these futures on its worker's runtime and
/// never calls [`send`](Self::send) without a permit: an exporter with one permit never gets two batches
/// at once.
pub trait Exporter: Send + Sync + 'static {
    /// The right to send one batch.
    type Permit: Send + 'static;

    /// Waits until one more batch may be sent. May wait as long as the endpoint is down: meanwhile items
    /// stay in the bounded queue. Must be cancel safe.
    fn ready(&self) -> impl Future<Output = Self::Permit> + Send;

    /// Sends `batch`, all attempts included, and returns how many of its items were delivered, rejected or
    /// dropped. Must not block, and should end soon after a call of [`shutdown`](Self::shutdown).
    fn send(
        &self,
        permit: Self::Permit,
        batch: Batch,
    ) -> impl Future<Output = Outcome> + Send + 'static;

    /// Called when a shutdown begins. The processor still sends the queued items, and nothing after them. An
    /// exporter that waits for its endpoint should give up soon from now on: [`ready`](Self::ready) returns
    /// a permit, and [`send`](Self::send) returns the items as dropped, with the error. Must not block.
    fn begin_shutdown(&self) {}

    /// Ends the requests in flight; later sends fail at once. Called after the last batch, or when the
    /// shutdown's deadline has passed. Must not block.
    fn shutdown(&self) {}

    /// Resolves when what [`shutdown`](Self::shutdown) began has ended, for an exporter that has something to
    /// finish then, such as data that it holds back. The shutdown of the pipeline waits for it, up to its own
    /// deadline. Default: at once.
    fn closed(&self) -> impl Future<Output = ()> + Send + 'static {
        std::future::ready(())
    }

    /// The reason why no batch can be sent at present, with its cure; `None` if batches can be sent. The
    /// worker polls it about once a second, for the diagnostics,
    /// [`Stats::last_error`](crate::Stats::last_error) and the error of a flush. Default: `None`.
    fn last_error(&self) -> Option<String> {
        None
    }

    /// Whether this exporter takes batches of `signal` ([`Batch::signal`]). Default: only of traces, so that
    /// an exporter of spans never gets other batches.
    fn supports(&self, signal: Signal) -> bool {
        signal == Signal::Traces
    }

    /// Whether [`send`](Self::send) keeps the export timeout itself. If it does, the processor sets no
    /// timeout around it: a batch may wait longer for an endpoint that is down, as the items in the queue
    /// do. Default: `false`.
    fn keeps_export_timeout(&self) -> bool {
        false
    }

    /// Shows spans that are still open. Each is a `Span` without `end_time_unix_nano` and has been open for
    /// longer than [`open_spans_after`](crate::config::CaptureConfig::open_spans_after). The processor passes it
    /// again after a change, and every few seconds as a sign of life. This is no delivery and no counter
    /// changes: [`send`](Self::send) gets each span when it ends.
    ///
    /// Default: does nothing. A [viewer](crate::viewer()) shows these spans as they grow. [`OtlpClient`]
    /// sends them in a request field that OTLP does not define (20316, a `ResourceSpans`): a protobuf reader
    /// skips unknown fields, so a backend sees an empty request, and a viewer behind the endpoint sees the
    /// spans.
    fn show_open(&self, batch: Batch) -> impl Future<Output = ()> + Send + 'static {
        drop(batch);
        std::future::ready(())
    }

    /// The longest delay before a closed span is sent, for an exporter that a person watches. The pipeline
    /// uses the lesser of this and
    /// [`schedule_delay`](crate::config::BatchConfig::schedule_delay). Default: `None`, the setting alone.
    fn max_schedule_delay(&self) -> Option<Duration> {
        None
    }
}

/// The result of one [`Batch`]: each of its items is delivered, rejected or dropped.
///
/// Items without a result are counted as [`DropReason::Internal`], and counts beyond the batch's number of
/// items are ignored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome {
    /// Items whose arrival the endpoint acknowledged.
    pub delivered: u64,
    /// Items that arrived and that the endpoint rejected, in a partial success.
    pub rejected: u64,
    /// Lost items, by reason.
    pub dropped: Vec<(DropReason, u64)>,
    /// The error and its cure, for the diagnostics and [`Stats::last_error`](crate::Stats::last_error).
    pub error: Option<String>,
    /// A warning of the endpoint about items that it took, for the diagnostics and
    /// [`Stats::last_warning`](crate::Stats::last_warning).
    pub warning: Option<String>,
    /// Attempts beyond the first.
    pub retries: u64,
    /// Of the items delivered or rejected, those that an earlier attempt may have delivered already: the
    /// endpoint may have them twice.
    pub possible_duplicates: u64,
}

impl Outcome {
    /// All `items` were delivered.
    pub fn delivered(items: u64) -> Self {
        Self {
            delivered: items,
            ..Self::default()
        }
    }

    /// All `items` are dropped for `reason`.
    pub fn dropped(reason: DropReason, items: u64, error: impl Into<String>) -> Self {
        Self {
            dropped: vec![(reason, items)],
            error: Some(error.into()),
            ..Self::default()
        }
    }

    /// Joins the outcomes of two parts of one batch.
    pub fn merge(mut self, other: Self) -> Self {
        self.delivered += other.delivered;
        self.rejected += other.rejected;
        self.retries += other.retries;
        self.possible_duplicates += other.possible_duplicates;
        self.dropped.extend(other.dropped);
        self.error = other.error.or(self.error);
        self.warning = other.warning.or(self.warning);
        self
    }

    /// The number of items: delivered, rejected and dropped.
    pub fn items(&self) -> u64 {
        self.delivered + self.rejected + self.dropped.iter().map(|(_, n)| n).sum::<u64>()
    }
}
