//! [`Identity`]: a span's ids, its sampling decision, and the data that its children inherit.

use super::memory::TextReservation;
use crate::clock::Anchor;
use crate::context::{Baggage, SpanId, TraceContext, TraceFlags, TraceId, TraceState};
use crate::pool::Memory;
use crate::sampler::{trace_randomness, without_contradiction};
use crate::sync::Arc;
use crate::tail::TraceRef;

/// A span's ids, decision, and the data that its children inherit.
#[derive(Debug, Clone, Default)]
pub(crate) struct Identity {
    pub(crate) trace_id: [u8; 16],
    pub(crate) span_id: [u8; 8],
    /// All zeros for a root.
    pub(crate) parent_id: [u8; 8],
    pub(crate) parent_is_remote: bool,
    /// The flags of W3C's `traceparent` in the low bits; see the constants below.
    pub(crate) flags: u8,
    /// The same for all spans of a local trace, so that their times stay in order.
    pub(crate) anchor: Anchor,
    /// `None` for most traces.
    extra: Option<Arc<ContextExtra>>,
}

/// Shared by a span and its children.
#[derive(Debug, Clone, Default)]
struct ContextExtra {
    trace_state: TraceState,
    baggage: Baggage,
    /// A child's place in the local trace, if a tail sampler holds local traces until they end.
    local: TraceRef,
    /// The bytes counted for trace state and baggage.
    texts: TextReservation,
}

/// A trace state up to so many bytes is covered by the fixed size of a span.
const SHORT: usize = 64;

/// Bits of `flags`. The bits outside [`INHERITED`] never leave the process: every context masks them,
/// and a child starts without them.
const SAMPLED: u8 = 1;
const W3C: u8 = 3;
/// What children inherit: W3C's flags and the debug flag of B3 and Jaeger.
const INHERITED: u8 = W3C | TraceFlags::DEBUG.to_inner();
/// The span keeps attributes.
const RECORDING: u8 = 0x80;
/// A root that its own sampler dropped: it keeps the attributes of its creation, because a late parent
/// may change the decision. Set together with [`RECORDING`], never with [`SAMPLED`].
const PROVISIONAL: u8 = 0x20;
/// Sealed before its close (TR-10).
const ENDED: u8 = 0x10;
/// The root of a local trace.
const LOCAL_ROOT: u8 = 0x08;

impl Identity {
    /// Resets the fields that a new span does not overwrite.
    #[inline]
    pub(super) fn clear(&mut self) {
        self.parent_id = [0; 8];
        self.parent_is_remote = false;
        self.extra = None;
    }

    pub(super) fn is_of(&self, trace: TraceId) -> bool {
        self.trace_id == trace.to_bytes()
    }

    /// Whether attributes are kept.
    #[inline]
    pub(crate) fn is_recording(&self) -> bool {
        self.flags & RECORDING != 0
    }

    /// Whether events and links are kept.
    #[inline]
    pub(crate) fn takes_events(&self) -> bool {
        self.flags & (RECORDING | PROVISIONAL) == RECORDING
    }

    /// Whether it goes to the processor at its end (TR-2).
    #[inline]
    pub(crate) fn is_exported(&self) -> bool {
        self.flags & (RECORDING | SAMPLED) == RECORDING | SAMPLED
    }

    /// Whether it is recorded and not exported.
    pub(crate) fn is_recorded_only(&self) -> bool {
        self.flags & (RECORDING | SAMPLED | PROVISIONAL) == RECORDING
    }

    pub(crate) fn is_provisional(&self) -> bool {
        self.flags & PROVISIONAL != 0
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.flags & ENDED != 0
    }

    /// Sets the decision; `recording` without `sampled` is not exported.
    #[inline]
    pub(crate) fn set_decision(&mut self, sampled: bool, recording: bool) {
        self.flags &= INHERITED;
        if sampled {
            self.flags |= SAMPLED;
        } else {
            // Debug implies sampled (B3-1).
            self.flags &= !TraceFlags::DEBUG.to_inner();
        }
        if recording {
            self.flags |= RECORDING;
        }
    }

    /// Decides as the specification's default sampler (SMP-2): like the parent; a root is sampled.
    #[inline]
    pub(crate) fn follow(&mut self, is_root: bool, can_record: bool) {
        if is_root {
            self.flags |= SAMPLED;
        }
        if can_record && self.flags & SAMPLED != 0 {
            self.flags |= RECORDING;
        }
    }

    pub(crate) fn set_provisional(&mut self) {
        self.flags |= RECORDING | PROVISIONAL;
    }

    /// The identity after an early end: it still makes children and records nothing (TR-10).
    pub(crate) fn ended(&self) -> Self {
        Self {
            flags: self.flags & INHERITED | ENDED,
            ..self.clone()
        }
    }

    /// Ends a span that records nothing. Returns false, and changes nothing, for others.
    pub(super) fn end_unrecorded(&mut self) -> bool {
        let is_meant = self.flags & (RECORDING | ENDED) == 0;
        if is_meant {
            self.flags = self.flags & INHERITED | ENDED;
        }
        is_meant
    }

    /// Becomes a child of `parent`; the span id is set later.
    #[inline]
    pub(crate) fn inherit(&mut self, parent: &Self) {
        self.trace_id = parent.trace_id;
        self.parent_id = parent.span_id;
        self.flags = parent.flags & INHERITED;
        self.anchor = parent.anchor;
        if parent.extra.is_some() {
            self.extra.clone_from(&parent.extra);
        }
    }

    #[inline]
    pub(crate) fn trace_state(&self) -> &TraceState {
        const NONE: &TraceState = &TraceState::EMPTY;
        self.extra.as_ref().map_or(NONE, |e| &e.trace_state)
    }

    /// The 56 random bits that all spans of its trace share.
    #[inline]
    pub(super) fn randomness(&self) -> u64 {
        trace_randomness(TraceId::from_bytes(self.trace_id), self.trace_state())
    }

    /// Whether it has no parent, or one in another process.
    #[inline]
    pub(super) fn is_local_root(&self) -> bool {
        self.parent_id == [0; 8] || self.parent_is_remote
    }

    /// Erases a threshold that contradicts the decision (SMP-9).
    pub(super) fn check_threshold(&mut self) {
        if self.trace_state().is_empty() {
            return;
        }
        let trace_id = TraceId::from_bytes(self.trace_id);
        let sampled = self.flags & SAMPLED != 0;
        if let Some(state) = without_contradiction(self.trace_state(), trace_id, sampled) {
            self.set_trace_state(state);
        }
    }

    pub(crate) fn set_trace_state(&mut self, trace_state: TraceState) {
        if *self.trace_state() != trace_state {
            self.extra_mut().trace_state = trace_state;
        }
    }

    #[inline]
    fn baggage(&self) -> &Baggage {
        const NONE: &Baggage = &Baggage::EMPTY;
        self.extra.as_ref().map_or(NONE, |e| &e.baggage)
    }

    pub(super) fn set_baggage(&mut self, baggage: &Baggage) {
        if self.baggage() != baggage {
            self.extra_mut().baggage = baggage.clone();
        }
    }

    /// Whether it has trace state, baggage or a held local trace.
    #[inline]
    pub(super) fn has_extra(&self) -> bool {
        self.extra.is_some()
    }

    /// Counts the bytes of trace state and baggage, unless the parent that shares them has counted them.
    /// Without memory the baggage is dropped, then the trace state; returns how many were dropped.
    #[cold]
    #[inline(never)]
    pub(super) fn pay(&mut self, memory: &Memory) -> u32 {
        let mut gone = 0;
        loop {
            let texts = self.texts();
            let Some(extra) = self.extra.as_ref().filter(|e| e.texts.bytes() != texts) else {
                return gone;
            };
            let has_baggage = !extra.baggage.is_empty();
            if self.extra_mut().texts.cover(texts, memory) {
                return gone;
            }
            gone += 1;
            if has_baggage {
                self.set_baggage(&Baggage::EMPTY);
            } else {
                self.set_trace_state(TraceState::EMPTY);
            }
        }
    }

    /// Bytes of trace state and baggage beyond the fixed size of a span.
    fn texts(&self) -> usize {
        let state = self.trace_state().as_str().len();
        let state = if state > SHORT { state } else { 0 };
        state + self.baggage().heap_size()
    }

    fn extra_mut(&mut self) -> &mut ContextExtra {
        Arc::make_mut(self.extra.get_or_insert_default())
    }

    /// Whether a tail sampler holds its local trace.
    pub(super) fn is_held(&self) -> bool {
        self.extra.as_ref().is_some_and(|e| !e.local.is_none())
    }

    /// Begins a local trace with this span as its root.
    pub(super) fn begin_local(&mut self, root: &TraceRef) {
        if !root.is_none() {
            self.flags |= LOCAL_ROOT;
            self.extra_mut().local = root.child();
        }
    }

    /// Its place in the local trace.
    pub(super) fn local(&self) -> TraceRef {
        let local = self.extra.as_ref().map(|e| &e.local);
        match local {
            Some(local) if self.flags & LOCAL_ROOT != 0 => local.as_root(),
            Some(local) => local.child(),
            None => TraceRef::default(),
        }
    }

    /// Becomes a child of a context whose span is not open here; false, and a root, if the context is not
    /// valid.
    pub(crate) fn continues(&mut self, parent: &TraceContext) -> bool {
        self.set_baggage(parent.baggage());
        if !parent.is_valid() {
            return false;
        }
        self.trace_id = parent.trace_id().to_bytes();
        self.parent_id = parent.span_id().to_bytes();
        self.parent_is_remote = parent.is_remote();
        self.flags = parent.flags().to_inner();
        self.set_trace_state(parent.trace_state().clone());
        true
    }

    /// The span's own context.
    pub(crate) fn context(&self) -> TraceContext {
        self.context_of(self.span_id).with_remote(false)
    }

    /// The context that a span with a parent inherited.
    pub(crate) fn parent(&self) -> TraceContext {
        self.context_of(self.parent_id)
            .with_remote(self.parent_is_remote)
    }

    pub(crate) fn trace_flags(&self) -> TraceFlags {
        TraceFlags::from_inner(self.flags & INHERITED)
    }

    fn context_of(&self, span: [u8; 8]) -> TraceContext {
        let flags = self.trace_flags();
        let trace_id = TraceId::from_bytes(self.trace_id);
        TraceContext::new(trace_id, SpanId::from_bytes(span), flags)
            .with_trace_state(self.trace_state().clone())
            .with_baggage(self.baggage().clone())
    }
}
