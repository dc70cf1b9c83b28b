//! Which trace is this: identities, and what is current on a thread.

mod baggage;
pub(crate) mod current;
pub(crate) mod hex;
mod id;
mod trace_context;
mod trace_state;
mod traceparent;

pub use baggage::Baggage;
pub use id::{IdGenerator, InvalidId, RandomIds, SpanId, TraceFlags, TraceId};
pub use trace_context::TraceContext;
pub use trace_state::{InvalidTraceState, TraceState};
pub use traceparent::{InvalidTraceparent, Traceparent};
