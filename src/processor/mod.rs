//! [`BatchProcessor`]: the queue, the worker thread and the schedule between spans and an exporter.
//!
//! Most programs do not need this module: [`builder`](crate::builder()) starts a processor for the layer, and
//! [`ShutdownGuard`](crate::ShutdownGuard) flushes and ends it. A program that encodes spans itself, or has
//! no layer, builds a pipeline by hand:
//!
//! | Type | Use |
//! | --- | --- |
//! | [`BatchProcessor`] | takes encoded spans from any thread, sends them in batches to an [`Exporter`](crate::export::Exporter) |
//! | [`TelemetryData`] | one encoded span and its scope, for [`BatchProcessor::push`] |
//! | [`ScopeId`] | an instrumentation scope, from [`BatchProcessor::register_scope`] |
//!
//! # How it works inside
//!
//! ```text
//!  any thread                                   worker thread `otlp-worker`
//!  push ─▶ shard: lock, copy into a chunk ─▶ drain ─▶ stage ─▶ cut by spans, bytes; group by scope
//!            └─ wake: the push that completes a batch     permit ─▶ send ─▶ settle ─▶ memory to pool
//!  flush, shutdown ─▶ request queue ───────────────────────────────────────▶ result
//! ```
//!
//! - `buffer` holds the spans that wait, bounded by `credits` (their number) and the budget (their bytes);
//!   `chunk` is their memory, `wake` decides which push wakes the worker.
//! - `worker` waits, takes, sends and settles, with one `lane` for each signal; `batch` forms the requests,
//!   `in_flight` settles each of them exactly once.
//! - `shedding` drops whole traces when spans come faster than the exporter takes them.
//! - `flush` carries the requests for a flush or a shutdown to the worker, `pending_flushes` holds those
//!   that the worker has accepted and not answered yet.
//!
//! A thread holds at most one of these locks at a time, and no lock while it calls foreign code.

mod buffer;
mod chunk;
mod credits;
mod flush;
mod record;
#[cfg(not(tracing_otlp_loom))]
mod scopes;
#[cfg(not(tracing_otlp_loom))]
mod shared;
mod wake;

#[cfg(not(tracing_otlp_loom))]
mod after_fork;
#[cfg(not(tracing_otlp_loom))]
mod batch;
#[cfg(not(tracing_otlp_loom))]
#[cfg_attr(
    not(feature = "metrics"),
    allow(dead_code, reason = "only metrics read the names")
)]
mod component;
#[cfg(not(tracing_otlp_loom))]
mod handle;
#[cfg(not(tracing_otlp_loom))]
mod in_flight;
#[cfg(not(tracing_otlp_loom))]
mod lane;
#[cfg(not(tracing_otlp_loom))]
mod pending_flushes;
#[cfg(not(tracing_otlp_loom))]
mod plan;
#[cfg(not(tracing_otlp_loom))]
mod queue;
#[cfg(not(tracing_otlp_loom))]
mod shedding;
#[cfg(not(tracing_otlp_loom))]
mod watch;
#[cfg(not(tracing_otlp_loom))]
mod worker;

#[cfg(all(test, tracing_otlp_loom))]
mod loom;
#[cfg(all(test, not(tracing_otlp_loom)))]
pub(crate) mod tests;

#[cfg(not(tracing_otlp_loom))]
pub(crate) use component::Components;
#[cfg(not(tracing_otlp_loom))]
pub(crate) use handle::Additional;
#[cfg(not(tracing_otlp_loom))]
pub use handle::BatchProcessor;
#[cfg(all(feature = "metrics", not(tracing_otlp_loom)))]
pub(crate) use handle::build_runtime;
#[cfg(not(tracing_otlp_loom))]
pub(crate) use plan::{LogsRoute, PipelineParts, place_of};
#[cfg(not(tracing_otlp_loom))]
pub use record::{ScopeId, TelemetryData};
#[cfg(not(tracing_otlp_loom))]
pub(crate) use shedding::{SheddingFacts, SheddingSwitch};
