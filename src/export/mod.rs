//! The seam at which encoded batches leave: [`Exporter`], [`Batch`], [`Outcome`].
//!
//! Knows no span and no queue. The processor asks [`Exporter::ready`] for a permit, forms a batch
//! and hands it over; how many permits there are, retry and the endpoint's manners are the
//! exporter's own business (BSP-3).
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
mod limiter;
mod no_sigpipe;
#[cfg_attr(not(any(feature = "grpc", feature = "http")), path = "no_proxy.rs")]
mod proxy;
#[cfg(feature = "http")]
mod redirect;
mod resolve;
mod retry;
mod size;
mod socket;
mod status;
#[cfg_attr(not(feature = "tls"), path = "no_tls.rs")]
mod tls;
mod transport;

pub use batch::Batch;
pub use client::OtlpClient;
pub use console::ConsoleExporter;
pub(crate) use erased::{ErasedExporter, Readiness, SendPermit};
#[cfg(feature = "file")]
pub use file::{OtlpFile, OtlpFileExporter};
pub use limiter::{ConcurrencyLimiter, ConcurrencyPermit};

pub use crate::signal::Signal;

use std::future::Future;
use std::time::Duration;

use crate::stats::DropReason;

/// Takes encoded batches to where they go.
///
/// [`OtlpClient`] is the one that the crate is about. The processor polls these
/// futures on its worker's runtime and never calls [`send`](Self::send) without a permit, so that
/// an exporter with one permit never sees two batches at once (BSP-3, EXP-1).
pub trait Exporter: Send + Sync + 'static {
    /// The right to send one batch.
    type Permit: Send + 'static;

    /// Waits until one more batch may be sent. May wait as long as the endpoint is known to be
    /// down: spans then stay in the bounded queue. Must be cancel safe.
    fn ready(&self) -> impl Future<Output = Self::Permit> + Send;

    /// Sends `batch`, all attempts included, and says what became of each of its spans. Must not
    /// block, and should end soon after [`shutdown`](Self::shutdown) was called.
    fn send(
        &self,
        permit: Self::Permit,
        batch: Batch,
    ) -> impl Future<Output = Outcome> + Send + 'static;

    /// A shutdown has begun: what is queued is still sent, and nothing comes after it. An exporter that
    /// waits for its endpoint may give up soon now: [`ready`](Self::ready) gives its permits, and each
    /// [`send`](Self::send) says that the spans are lost, and why. Must not block.
    fn begin_shutdown(&self) {}

    /// Cuts short what is being sent; later sends fail at once. Called when the last batch is done
    /// or the shutdown's deadline has passed. Must not block.
    fn shutdown(&self) {}

    /// Why nothing can be sent just now, if so, and what helps; for logs,
    /// [`Stats::last_error`](crate::Stats::last_error), and whoever waits for a flush. Asked about
    /// once a second.
    fn last_error(&self) -> Option<String> {
        None
    }

    /// Whether it takes batches of `signal`, told by [`Batch::signal`]. Default: of traces alone, so that an
    /// exporter that knows only spans is never given anything else.
    fn supports(&self, signal: Signal) -> bool {
        signal == Signal::Traces
    }

    /// Whether [`send`](Self::send) ends within the export timeout by itself. Then the processor
    /// does not cut it short: a batch that waits for an endpoint that is down may wait longer, as
    /// those in the queue do. Default: no.
    fn keeps_export_timeout(&self) -> bool {
        false
    }

    /// Shows spans that have not ended yet: each is a `Span` without `end_time_unix_nano`, has been open
    /// for longer than [`show_open_after`](crate::config::CaptureConfig::show_open_after), and comes again when it
    /// has changed, and every few seconds as a sign of life. They are no delivery and are counted nowhere:
    /// each span still comes by [`send`](Self::send) when it ends.
    ///
    /// Default: nothing. A [viewer](crate::viewer()) shows them as they grow. [`OtlpClient`] sends them in
    /// a field of the request that OTLP does not have (20316, a `ResourceSpans`): every reader of protobuf
    /// skips a field that it does not know, so a backend sees an empty request, and a viewer behind the
    /// endpoint sees the spans.
    fn show_open(&self, batch: Batch) -> impl Future<Output = ()> + Send + 'static {
        drop(batch);
        std::future::ready(())
    }

    /// The longest that a span should wait for its batch, where people wait for what it shows. A
    /// pipeline takes the lesser of this and its own setting
    /// ([`schedule_delay`](crate::config::BatchConfig::schedule_delay)). Default: the setting alone.
    fn max_schedule_delay(&self) -> Option<Duration> {
        None
    }
}

/// What became of the spans of one [`Batch`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome {
    /// Spans whose arrival was acknowledged.
    pub delivered: u64,
    /// Spans that arrived and were rejected in a partial success (OTLP-5).
    pub rejected: u64,
    /// Spans that are lost, by reason.
    pub dropped: Vec<(DropReason, u64)>,
    /// What went wrong, for logs and [`Stats::last_error`](crate::Stats::last_error).
    pub error: Option<String>,
    /// What the endpoint has to say of spans that it took (OTLP-5), for logs.
    pub warning: Option<String>,
    /// Attempts beyond the first.
    pub retries: u64,
    /// Of the spans delivered or rejected, those that an earlier attempt may have brought already: the
    /// endpoint may have them twice.
    pub possible_duplicates: u64,
}

impl Outcome {
    /// All `spans` arrived.
    pub fn delivered(spans: u64) -> Self {
        Self {
            delivered: spans,
            ..Self::default()
        }
    }

    /// All `spans` are lost for `reason`.
    pub fn dropped(reason: DropReason, spans: u64, error: impl Into<String>) -> Self {
        Self {
            dropped: vec![(reason, spans)],
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

    /// The spans it speaks of.
    pub fn spans(&self) -> u64 {
        self.delivered + self.rejected + self.dropped.iter().map(|(_, n)| n).sum::<u64>()
    }
}
