//! The way from a closed span to the exporter.
//!
//! ```text
//!  any thread                                   worker thread `otlp-worker`
//!  push ─▶ shard: lock, copy into a chunk ─▶ drain ─▶ stage ─▶ cut by spans, bytes; group by scope
//!            └─ wake: who completes a batch rings       permit ─▶ send ─▶ settle ─▶ memory to pool
//!  flush, shutdown ─▶ desk: a ticket ─────────────────────────────────────▶ verdict
//! ```
//!
//! - `buffer` holds what waits, bounded by `credits` (spans) and the budget (bytes); `chunk` is the
//!   memory, `wake` says who rings for the worker.
//! - `worker` waits, takes, sends and settles; `batch` forms requests, `flight` makes each of them
//!   settle exactly once; `request` is how others wait for that, `pending_flush` what the worker owes them.
//!
//! No lock is taken while another is held, and none is held over foreign code.

mod buffer;
mod chunk;
mod credits;
mod flush;
mod record;
#[cfg(not(tracing_otlp_loom))]
mod scopes;
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
mod worker;

#[cfg(all(test, tracing_otlp_loom))]
mod loom;
#[cfg(all(test, not(tracing_otlp_loom)))]
pub(crate) mod tests;

#[cfg(not(tracing_otlp_loom))]
pub(crate) use component::Components;
#[cfg(not(tracing_otlp_loom))]
pub use handle::BatchProcessor;
#[cfg(all(feature = "metrics", not(tracing_otlp_loom)))]
pub(crate) use handle::build_runtime;
#[cfg(not(tracing_otlp_loom))]
pub(crate) use plan::{LogsRoute, PipelineParts};
#[cfg(not(tracing_otlp_loom))]
pub use record::{ScopeId, TelemetryData};
