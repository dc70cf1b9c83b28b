//! [`TraceContext`]: what a caller tells those it calls.

use super::{Baggage, SpanId, TraceFlags, TraceId, TraceState};

/// Which span of which trace work belongs to, and what travels with it: what a caller tells those it
/// calls (W3C Trace Context, OpenTelemetry's `SpanContext`).
///
/// Without trace state and baggage it holds no memory of its own, and a clone is a copy.
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
    origin: Origin,
}

/// Where an open span is found: its layer, and its id there. A hint and no part of the context, so
/// any two are equal.
#[derive(Debug, Clone, Copy, Default)]
struct Origin(Option<(u32, u64)>);

impl PartialEq for Origin {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Origin {}

impl TraceContext {
    /// Trace id, span id and W3C flags; `None` where it is of no trace.
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

    /// Of a span in this process; see [`with_remote`](Self::with_remote).
    pub const fn new(trace_id: TraceId, span_id: SpanId, flags: TraceFlags) -> Self {
        Self {
            trace_id,
            span_id,
            flags,
            is_remote: false,
            trace_state: TraceState::EMPTY,
            baggage: Baggage::EMPTY,
            origin: Origin(None),
        }
    }

    /// Of a span that `layer` has open by this id.
    pub(crate) fn with_origin(mut self, layer: u32, span: u64) -> Self {
        self.origin = Origin(Some((layer, span)));
        self
    }

    /// By which id `layer` has the span open, or had it.
    pub(crate) fn origin(&self, layer: u32) -> Option<u64> {
        let (of, span) = self.origin.0?;
        (of == layer).then_some(span)
    }

    /// Whether it came from another process (TR-3). Default: it did not.
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

    /// The trace.
    #[inline]
    pub fn trace_id(&self) -> TraceId {
        self.trace_id
    }

    /// The span: the parent of what is made under this context.
    #[inline]
    pub fn span_id(&self) -> SpanId {
        self.span_id
    }

    /// The trace's flags.
    #[inline]
    pub fn flags(&self) -> TraceFlags {
        self.flags
    }

    /// Whether the caller may have recorded the trace.
    #[inline]
    pub fn is_sampled(&self) -> bool {
        self.flags.is_sampled()
    }

    /// Whether it came from another process.
    #[inline]
    pub fn is_remote(&self) -> bool {
        self.is_remote
    }

    /// What vendors tell each other along the trace.
    #[inline]
    pub fn trace_state(&self) -> &TraceState {
        &self.trace_state
    }

    /// What the application sends along. May be there without a trace.
    #[inline]
    pub fn baggage(&self) -> &Baggage {
        &self.baggage
    }

    /// Whether it names a trace and a span (TR-3); one that does not is nobody's parent.
    #[inline]
    pub fn is_valid(&self) -> bool {
        self.trace_id.is_valid() && self.span_id.is_valid()
    }
}
