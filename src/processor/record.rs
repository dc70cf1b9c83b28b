//! What a closed span is to the processor: bytes and the scope they belong to.

/// One closed span on its way into the queue.
#[derive(Debug, Clone, Copy)]
pub struct TelemetryData<'a> {
    /// The instrumentation scope, from [`BatchProcessor::register_scope`](super::BatchProcessor).
    pub scope: ScopeId,
    /// An encoded `opentelemetry.proto.trace.v1.Span`, without a tag or length before it.
    pub span: &'a [u8],
}

/// An instrumentation scope that one processor knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct ScopeId(pub(crate) u32);

impl ScopeId {
    /// No scope that any processor knows.
    pub(crate) const NONE: Self = Self(u32::MAX);
}
