//! [`Core`]: a span's way from its creation to the processor, as the callbacks and the late changes
//! need it.

use std::sync::atomic::AtomicBool;

use tracing_core::span::Attributes;
use tracing_core::{Metadata, dispatcher::WeakDispatch};

use super::attributes::{Attributes as Row, Visited};
use super::callsite::{self, Callsite, Extras, StaticAttributes};
use super::open_spans::OpenSpans;
use super::outlet::Outlet;
use super::parent::Lineage;
use super::scratch::Scratch;
use super::settings::{Fate, Ids, Settings};
use super::span::{End, Identity, OpenSpan};
use super::spare::Spares;
use super::visitor::SpanVisitor;
use crate::attribute::KeyValue;
use crate::clock::{self, Clock};
use crate::context::{IdGenerator as _, RandomIds, TraceFlags, TraceId};
use crate::live::ConfigStore;
use crate::pool::Budget;
use crate::sampler::{Fields, SamplingDecision, SamplingInput};
use crate::stats::DropReason;
use crate::sync::{Arc, AtomicU64};
use crate::wire::span::SPAN_ATTRIBUTE;

/// What a layer has, shared with its door.
pub(super) struct Core {
    /// Whether a per-layer filter may hide spans from this layer.
    pub(super) may_be_filtered: AtomicBool,
    pub(super) spans: Arc<OpenSpans>,
    pub(super) clock: Clock,
    pub(super) settings: Settings,
    /// Calls for spans that had been ended.
    pub(super) after_end: Arc<AtomicU64>,
    spares: Spares,
    pub(super) config: ConfigStore,
    ids: Ids,
    /// `None`: no span is recorded.
    outlet: Option<Outlet>,
}

/// What a new span is decided by, beside its parent.
pub(super) struct Birth<'a> {
    pub(super) metadata: &'static Metadata<'static>,
    pub(super) fields: &'a dyn Fields,
}

impl Core {
    pub(super) fn new(
        settings: Settings,
        config: ConfigStore,
        ids: Ids,
        budget: Arc<Budget>,
        outlet: Option<Outlet>,
    ) -> Self {
        Self {
            may_be_filtered: AtomicBool::new(true),
            spans: Arc::new(OpenSpans::new()),
            clock: Clock::new(),
            settings,
            after_end: Arc::default(),
            spares: Spares::new(budget),
            config,
            ids,
            outlet,
        }
    }

    pub(super) fn set_dispatch(&self, dispatch: WeakDispatch) {
        if let Some(outlet) = &self.outlet {
            outlet.processor.set_dispatch(dispatch);
        }
    }

    /// Whether a span or event is too detailed to be recorded.
    #[inline]
    pub(super) fn is_hushed(&self, metadata: &Metadata<'_>) -> bool {
        self.config.has_detail() && !self.config.admits(metadata.target(), *metadata.level())
    }

    /// A cleared span.
    #[inline]
    pub(super) fn spare(&self) -> Box<OpenSpan> {
        self.spares.take()
    }

    /// Completes the identity of a new span, a root's or one that inherited: a new id whatever the
    /// decision (TR-1). Returns what the sampler adds to it.
    #[inline]
    pub(super) fn identify(
        &self,
        identity: &mut Identity,
        lineage: Lineage,
        now: u64,
        birth: &Birth<'_>,
    ) -> Option<Vec<KeyValue>> {
        identity.span_id = self.new_span_id();
        if lineage == Lineage::Root {
            let random;
            (identity.trace_id, random) = self.new_trace_id();
            identity.flags = if random { TraceFlags::RANDOM.bits() } else { 0 };
        }
        if lineage != Lineage::Local {
            identity.anchor = self.clock.anchor(now);
        }
        self.decide(identity, lineage, birth)
    }

    /// Whether the span is recorded and exported, by its parent or by the sampler. Foreign code may
    /// run: no lock is held.
    #[inline]
    pub(super) fn decide(
        &self,
        identity: &mut Identity,
        lineage: Lineage,
        birth: &Birth<'_>,
    ) -> Option<Vec<KeyValue>> {
        let asks = match lineage {
            Lineage::Local => self.config.asks_for_children(),
            Lineage::Root | Lineage::Context => self.config.asks_sampler(),
        };
        if asks {
            return Some(self.ask_sampler(identity, lineage == Lineage::Root, birth));
        }
        let sampled = lineage == Lineage::Root || identity.is_sampled();
        identity.set_fate(sampled, sampled && self.settings.fate == Fate::Exported);
        None
    }

    #[inline(never)]
    fn ask_sampler(
        &self,
        identity: &mut Identity,
        is_root: bool,
        birth: &Birth<'_>,
    ) -> Vec<KeyValue> {
        let parent = (!is_root).then(|| identity.parent());
        let metadata = birth.metadata;
        let result = self.config.load().sampler().should_sample(&SamplingInput {
            parent: parent.as_ref(),
            trace_id: TraceId::from_bytes(identity.trace_id),
            flags: TraceFlags::from_bits(identity.flags),
            name: metadata.name(),
            target: metadata.target(),
            level: *metadata.level(),
            fields: birth.fields,
        });
        let is_seen = self.settings.fate == Fate::Exported;
        let sampled = result.decision == SamplingDecision::RecordAndSample;
        let recorded = result.decision != SamplingDecision::Drop;
        identity.set_fate(sampled, recorded && is_seen);
        let is_dropped_root = is_root && !recorded && is_seen;
        if is_dropped_root && callsite::of(metadata).expects_late_parent() {
            identity.set_provisional();
        }
        if let Some(state) = result.trace_state {
            identity.trace_state = state;
        }
        result.attributes
    }

    #[inline]
    fn new_span_id(&self) -> [u8; 8] {
        if let Ids::Generator(ids) = &self.ids {
            let id = ids.new_span_id();
            if id.is_valid() {
                return id.to_bytes();
            }
        }
        RandomIds.new_span_id().to_bytes()
    }

    /// A trace id, and whether it is random enough to say so (TR-5).
    #[inline]
    fn new_trace_id(&self) -> ([u8; 16], bool) {
        if let Ids::Generator(ids) = &self.ids {
            let id = ids.new_trace_id();
            if id.is_valid() {
                return (id.to_bytes(), ids.is_random());
            }
        }
        (RandomIds.new_trace_id().to_bytes(), true)
    }

    /// Everything that a new span holds from the start, if it is recorded.
    #[inline]
    pub(super) fn fill(
        &self,
        span: &mut OpenSpan,
        callsite: &'static Callsite,
        now: u64,
        attributes: &Attributes<'_>,
    ) {
        let capture = &self.settings.capture;
        let limits = &self.settings.limits;
        if capture.tracked_inactivity {
            span.state.activity.start(now);
        }
        span.scope = self.scope(callsite.metadata.target());
        self.begin(&mut span.identity);
        if span.body.capacity() == 0 {
            // The budget is used up: identity only.
            span.state.dropped_attributes = attributes.values().len() as u32;
            return;
        }
        let mut visitor = SpanVisitor {
            attributes: Row::new(
                &mut span.body,
                SPAN_ATTRIBUTE,
                &limits.value,
                limits.attributes,
            ),
            special: &mut span.special,
            callsite,
            exceptions: capture.error_fields_to_exceptions,
        };
        attributes.record(&mut visitor);
        let mut written = visitor.attributes;
        written.put_static(self.extras(callsite));
        if capture.threads {
            written.put_thread();
        }
        let state = &mut span.state;
        (state.recorded, state.dynamic) = (written.recorded, written.dynamic);
        (state.attributes, state.dropped_attributes) = (written.count, written.dropped);
        span.settle_growth();
    }

    /// The attributes that every span of a callsite has.
    #[inline]
    pub(super) fn extras(&self, callsite: &'static Callsite) -> &'static StaticAttributes {
        let capture = &self.settings.capture;
        callsite.extras(Extras::new(capture.target, capture.location, capture.level))
    }

    /// The instrumentation scope of a span with this target.
    #[inline]
    pub(super) fn scope(&self, target: &'static str) -> crate::processor::ScopeId {
        match &self.outlet {
            Some(outlet) => outlet.scope(target),
            None => Default::default(),
        }
    }

    /// Begins a local trace with a span that is exported and inherited none.
    #[inline]
    pub(super) fn begin(&self, identity: &mut Identity) {
        if let Some(outlet) = self.outlet.as_ref().filter(|_| identity.is_exported()) {
            outlet.begin(identity);
        }
    }

    /// Hands a span that ended to the processor, at its own end or the one given.
    #[inline]
    pub(super) fn finish(&self, mut span: Box<OpenSpan>, end: Option<End>) {
        if span.identity.is_exported() {
            let capture = &self.settings.capture;
            let end = match end {
                None => End::Tick(span.end(clock::now, capture.end_on_close)),
                Some(end) => end,
            };
            if capture.tracked_inactivity {
                let tick = match end {
                    End::Tick(tick) => tick,
                    End::Given(_) => clock::now(),
                };
                self.put_activity(&mut span, tick);
            }
            span.seal(&self.clock, end);
            if let Some(outlet) = &self.outlet {
                outlet.take(&span, end);
            }
        }
        self.spares.give(span);
    }

    #[cold]
    fn put_activity(&self, span: &mut OpenSpan, end: u64) {
        let (busy, idle) = span.state.activity.totals(end);
        let limits = &self.settings.limits;
        let mut scratch = Scratch::take();
        let mut out = Row::new(
            scratch.buffer(),
            SPAN_ATTRIBUTE,
            &limits.value,
            limits.attributes,
        );
        for (key, value) in [("busy_ns", busy), ("idle_ns", idle)] {
            let nanos = self.clock.nanos(value) as i64;
            out.put_dynamic(key, |key, out| key.put_int(out, nanos));
        }
        let written = out.written();
        span.add_attributes(
            &Visited {
                bytes: scratch.bytes(),
                ..written
            },
            limits.attributes,
        );
    }

    /// Counts the spans that are open when the layer goes.
    pub(super) fn abandon(&self) {
        let open = self.spans.drain();
        let lost = open.iter().filter(|s| s.identity.is_exported()).count();
        if let Some(outlet) = &self.outlet {
            let counters = outlet.processor.counters();
            counters.drop_spans(DropReason::LayerGone, lost as u64);
            outlet.close();
        }
    }
}
