//! [`TraceContext`]: the ids, flags, state and baggage that a caller sends to a service.

use super::{Baggage, SpanId, TraceFlags, TraceId, TraceState};

/// The trace and span that work belongs to, with flags, trace state and baggage: what a caller sends
/// to a service (W3C Trace Context, OpenTelemetry's `SpanContext`).
///
/// Without trace state and baggage it has no heap memory, and a clone is a copy.
///
/// ```
/// use tracing_otlp::{SpanId, TraceContext, TraceId};
/// use tracing_otlp::context::TraceFlags;
///
/// let cx = TraceContext::new(
///     TraceId::from_bytes([1; 16]),
///     SpanId::from_bytes([2; 8]),
///     TraceFlags::SAMPLED,
/// );
/// assert!(cx.is_valid() && cx.is_sampled() && !cx.is_remote());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TraceContext {
    trace_id: TraceId,
    span_id: SpanId,
    flags: TraceFlags,
    is_remote: bool,
    trace_state: TraceState,
    baggage: Baggage,
    origin: LocalOrigin,
}

/// The layer of an open span, and its id there. A hint for a lookup and no part of the context's
/// value, so any two are equal.
#[derive(Debug, Clone, Copy, Default)]
struct LocalOrigin(Option<(u32, u64)>);

impl PartialEq for LocalOrigin {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for LocalOrigin {}

impl TraceContext {
    /// Trace id, span id and W3C flags; `None` if it is not valid.
    pub(crate) fn ids(&self) -> Option<([u8; 16], [u8; 8], u8)> {
        let ids = || {
            (
                self.trace_id.to_bytes(),
                self.span_id.to_bytes(),
                self.flags.bits(),
            )
        };
        self.is_valid().then(ids)
    }

    /// The context of a span in this process; see [`with_remote`](Self::with_remote).
    pub const fn new(trace_id: TraceId, span_id: SpanId, flags: TraceFlags) -> Self {
        Self {
            trace_id,
            span_id,
            flags,
            is_remote: false,
            trace_state: TraceState::EMPTY,
            baggage: Baggage::EMPTY,
            origin: LocalOrigin(None),
        }
    }

    /// With the id by which `layer` has the span open.
    pub(crate) fn with_origin(mut self, layer: u32, span: u64) -> Self {
        self.origin = LocalOrigin(Some((layer, span)));
        self
    }

    /// The id by which `layer` has the span open, or had it.
    pub(crate) fn origin(&self, layer: u32) -> Option<u64> {
        let (of, span) = self.origin.0?;
        (of == layer).then_some(span)
    }

    /// Sets whether it came from another process. Default: false.
    #[must_use]
    pub fn with_remote(mut self, is_remote: bool) -> Self {
        self.is_remote = is_remote;
        self
    }

    /// With these flags.
    #[must_use]
    pub fn with_flags(mut self, flags: TraceFlags) -> Self {
        self.flags = flags;
        self
    }

    /// With this trace state.
    #[must_use]
    pub fn with_trace_state(mut self, trace_state: TraceState) -> Self {
        self.trace_state = trace_state;
        self
    }

    /// With this baggage.
    #[must_use]
    pub fn with_baggage(mut self, baggage: Baggage) -> Self {
        self.baggage = baggage;
        self
    }

    /// The trace's id.
    #[inline]
    pub fn trace_id(&self) -> TraceId {
        self.trace_id
    }

    /// The span's id: the parent of spans made in this context.
    #[inline]
    pub fn span_id(&self) -> SpanId {
        self.span_id
    }

    /// The trace's flags.
    #[inline]
    pub fn flags(&self) -> TraceFlags {
        self.flags
    }

    /// Whether the `sampled` flag is set: the caller may have recorded the trace.
    #[inline]
    pub fn is_sampled(&self) -> bool {
        self.flags.is_sampled()
    }

    /// Whether it came from another process.
    #[inline]
    pub fn is_remote(&self) -> bool {
        self.is_remote
    }

    /// The trace state: vendors' own values.
    #[inline]
    pub fn trace_state(&self) -> &TraceState {
        &self.trace_state
    }

    /// The application's baggage. It may exist without a trace.
    #[inline]
    pub fn baggage(&self) -> &Baggage {
        &self.baggage
    }

    /// Whether trace id and span id are valid. A context that is not valid cannot be a parent.
    #[inline]
    pub fn is_valid(&self) -> bool {
        self.trace_id.is_valid() && self.span_id.is_valid()
    }
}
