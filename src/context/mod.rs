//! Which trace is this: identities, and what is current on a thread.

pub(crate) mod current;
mod id;

pub use id::{IdGenerator, RandomIds, SpanId, TraceFlags, TraceId};
