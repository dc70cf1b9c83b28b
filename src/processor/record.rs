//! A closed span as the processor takes it: encoded bytes and their scope.

/// One closed span on its way into the queue.
#[derive(Debug, Clone, Copy)]
pub struct TelemetryData<'a> {
    /// The instrumentation scope, from
    /// [`BatchProcessor::register_scope`](super::BatchProcessor::register_scope).
    pub scope: ScopeId,
    /// An encoded `opentelemetry.proto.trace.v1.Span`, without a tag or length before it.
    pub span: &'a [u8],
}

/// An instrumentation scope of one processor. Another processor takes the id for no scope.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct ScopeId(pub(crate) u32);

impl ScopeId {
    /// The id of no scope, in every processor.
    pub(crate) const NONE: Self = Self(u32::MAX);
}
