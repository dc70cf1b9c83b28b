//! Which trace is this: identities, and what is current on a thread.

mod baggage;
pub(crate) mod current;
mod id;
mod trace_context;
mod trace_state;

pub use baggage::Baggage;
pub use id::{IdGenerator, RandomIds, SpanId, TraceFlags, TraceId};
pub use trace_context::TraceContext;
pub use trace_state::TraceState;
