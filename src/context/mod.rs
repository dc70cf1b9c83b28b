//! Trace contexts: ids, trace state and baggage, the current context of a thread, and scopes.
//!
//! [`current()`] returns the current context anywhere, for example in a handler or in a log formatter.
//! [`scope()`] runs a future in a context, so that its spans belong to the context's trace.
//! [`FutureExt::in_current_trace_context`] and [`in_current_trace_context`] carry the current context
//! to spawned tasks and threads.

mod baggage;
mod current_context;
mod error;
mod id;
pub(crate) mod layer_registry;
pub(crate) mod otel_context;
pub(crate) mod registry_address;
pub(crate) mod registry_lookup;
mod scope;
pub(crate) mod stack;
mod trace_context;
mod trace_state;
mod traceparent;

pub use baggage::{Baggage, BaggageMember};
pub use error::SetParentError;
pub use id::{IdGenerator, InvalidId, RandomIds, SpanId, TraceFlags, TraceId, XRayIds};
pub use scope::{
    FutureExt, WithTraceContext, current, in_current_trace_context, scope, sync_scope,
};
pub use trace_context::TraceContext;
pub use trace_state::{InvalidTraceState, TraceState};
pub use traceparent::{InvalidTraceparent, Traceparent};
