//! A closed span or a log record as the processor takes it: encoded bytes and their scope.

/// One item on its way into the queue: a closed span or a log record.
#[derive(Debug, Clone, Copy)]
pub struct TelemetryData<'a> {
    /// The instrumentation scope, from
    /// [`BatchProcessor::register_scope`](super::BatchProcessor::register_scope).
    pub scope: ScopeId,
    /// An encoded `opentelemetry.proto.trace.v1.Span` or `opentelemetry.proto.logs.v1.LogRecord`, without a tag
    /// or length before it.
    pub item: &'a [u8],
}

/// An instrumentation scope of one processor. Another processor takes the id for no scope.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct ScopeId(pub(crate) u32);

impl ScopeId {
    /// The id of no scope, in every processor.
    pub(crate) const NONE: Self = Self(u32::MAX);
}
