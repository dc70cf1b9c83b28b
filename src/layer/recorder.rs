//! [`Recorder`]: a span's way from its creation to the processor, shared by the callbacks, the late
//! changes and the manual spans.

use std::sync::atomic::{AtomicBool, Ordering};

use once_cell::race::OnceBox;
use tracing_core::dispatcher::{Dispatch, WeakDispatch};
use tracing_core::field::{Field, Visit};
use tracing_core::span::Attributes;
use tracing_core::{Event, Level, Metadata};

use super::after_fork::ForkedRecorder;
use super::attributes::{AttributeWriter, EncodedAttributes};
use super::callsite::{Callsite, StaticAttributes};
use super::callsite_table;
use super::field_sinks::SpanFieldSink;
use super::identity::Identity;
use super::log::LogSink;
use super::open_spans::OpenSpans;
use super::parent::ParentKind;
use super::scratch::Scratch;
use super::settings::{ExportMode, Ids, Settings};
use super::sink::SpanSink;
use super::span::OpenSpan;
use super::span_pool::SpanPool;
use super::visitor::FieldVisitor;
use crate::attribute::KeyValue;
use crate::clock::{self, Anchor};
use crate::context::{IdGenerator as _, RandomIds, TraceFlags, TraceId};
use crate::fork::Home;
use crate::pool::{Memory, preferred_shard};
use crate::runtime_config::{ConfigStore, SamplingFlags};
use crate::sampler::{FieldSource, Fields, SamplingDecision, SamplingInput};
use crate::stats::{DropReason, Stats};
use crate::sync::{Arc, AtomicU64};
use crate::wire::span::SPAN_ATTRIBUTE;

/// The state of a layer, shared with the layer registry.
pub(super) struct Recorder {
    /// The layer's number in the process.
    pub(super) layer: u32,
    /// The process that made this recorder.
    pub(super) home: Home,
    /// The recorder that replaces this one in a fork of the process.
    pub(super) forked: Arc<ForkedRecorder>,
    /// In a fork, the registry's spans that were open in the parent process.
    pub(super) before: Option<Arc<OpenSpans>>,
    /// Whether a per-layer filter may hide spans from this layer.
    pub(super) may_be_filtered: AtomicBool,
    dispatch: OnceBox<WeakDispatch>,
    pub(super) spans: Arc<OpenSpans>,
    /// Spans of the OpenTelemetry API, by their span ids; made with the first such span.
    pub(super) manual: Arc<OnceBox<OpenSpans>>,
    pub(super) settings: Settings,
    /// Number of calls on spans that had ended.
    pub(super) after_end: Arc<AtomicU64>,
    span_pool: SpanPool,
    pub(super) memory: Arc<Memory>,
    pub(super) config: ConfigStore,
    pub(super) ids: Ids,
    /// `None`: no span is recorded.
    pub(super) sink: Option<SpanSink>,
    /// `None`: no event becomes a log record.
    pub(super) logs: Option<Arc<LogSink>>,
}

/// A sampler's input about a span, without its parent and fields.
pub(super) struct SamplerSubject<'a> {
    pub(super) name: &'a str,
    pub(super) target: &'a str,
    pub(super) level: Level,
    /// Set for spans of `tracing` only: their parent may be set late.
    metadata: Option<&'static Metadata<'static>>,
}

impl SamplerSubject<'static> {
    pub(super) fn of(metadata: &'static Metadata<'static>) -> Self {
        Self {
            metadata: Some(metadata),
            ..Self::new(metadata.name(), metadata.target(), *metadata.level())
        }
    }
}

impl<'a> SamplerSubject<'a> {
    pub(super) fn new(name: &'a str, target: &'a str, level: Level) -> Self {
        Self {
            name,
            target,
            level,
            metadata: None,
        }
    }
}

impl Recorder {
    pub(super) fn new(
        layer: u32,
        home: Home,
        settings: Settings,
        config: ConfigStore,
        ids: Ids,
        memory: Arc<Memory>,
        (sink, logs): (Option<SpanSink>, Option<Arc<LogSink>>),
    ) -> Self {
        clock::prepare();
        Self {
            layer,
            home,
            forked: Arc::default(),
            before: None,
            may_be_filtered: AtomicBool::new(true),
            dispatch: OnceBox::new(),
            spans: Arc::new(OpenSpans::new()),
            manual: Arc::default(),
            settings,
            after_end: Arc::default(),
            span_pool: SpanPool::new(Arc::clone(&memory)),
            memory,
            config,
            ids,
            sink,
            logs,
        }
    }

    /// Adds the layer's counters to `stats`.
    pub(super) fn count(
        stats: &mut Stats,
        spans: &OpenSpans,
        manual: &OnceBox<OpenSpans>,
        after_end: &AtomicU64,
    ) {
        let counts = spans.counts();
        let manual = manual.get().map(OpenSpans::counts).unwrap_or_default();
        stats.started = counts.started + manual.started;
        stats.started_unsampled = counts.started_unsampled + manual.started_unsampled;
        stats.open = counts.open + manual.open;
        stats.started_recorded = counts.started_recorded + manual.started_recorded;
        stats.open_recorded = counts.open_recorded + manual.open_recorded;
        stats.after_end = after_end.load(Ordering::Relaxed);
    }

    pub(super) fn set_dispatch(&self, dispatch: WeakDispatch) {
        let _ = self.dispatch.set(Box::new(dispatch.clone()));
        let spans = self.sink.as_ref().map(|sink| &sink.processor);
        let logs = self.logs.as_ref().map(|logs| &logs.processor);
        if let Some(processor) = spans.or(logs) {
            processor.set_dispatch(dispatch);
        }
    }

    pub(super) fn weak_dispatch(&self) -> Option<&WeakDispatch> {
        self.dispatch.get()
    }

    /// The subscriber of the layer; `None` until the layer finds it, and once it is dropped.
    pub(super) fn dispatch(&self) -> Option<Dispatch> {
        self.dispatch.get()?.upgrade()
    }

    /// Whether the pipeline's level filter leaves out a span or event of this callsite.
    #[inline]
    pub(super) fn is_filtered(
        &self,
        sampling_flags: SamplingFlags,
        metadata: &Metadata<'_>,
    ) -> bool {
        sampling_flags.has_span_filter()
            && !self.config.admits(metadata.target(), *metadata.level())
    }

    /// As [`is_filtered`](Self::is_filtered) for an event; a line of the `log` crate has its own target.
    #[inline]
    pub(super) fn is_event_filtered(
        &self,
        sampling_flags: SamplingFlags,
        event: &Event<'_>,
    ) -> bool {
        sampling_flags.has_span_filter() && !self.admits_event(event)
    }

    #[cold]
    fn admits_event(&self, event: &Event<'_>) -> bool {
        let metadata = event.metadata();
        let level = *metadata.level();
        if !callsite_table::of(metadata).is_log_line {
            return self.config.admits(metadata.target(), level);
        }
        let mut admits = LogTargetIs(|target: &str| self.config.admits(target, level), true);
        event.record(&mut admits);
        admits.1
    }

    /// A cleared span of the pool; `None` without memory for it.
    #[inline]
    pub(super) fn take_cleared(&self) -> Option<Box<OpenSpan>> {
        self.span_pool.take()
    }

    /// A span to put in the place of one that goes back to the pool; needs no memory of its own.
    pub(super) fn take_for_exchange(&self) -> Box<OpenSpan> {
        self.span_pool.take_anyway()
    }

    /// Counts a span that was dropped because the memory is full.
    #[cold]
    pub(super) fn refuse(&self, spans: &OpenSpans, id: u64, identity: &Identity) {
        spans.count_refused(id, identity.is_exported());
        if let Some(sink) = self.sink.as_ref().filter(|_| identity.is_exported()) {
            let counters = sink.processor.counters();
            counters.drop_spans(DropReason::MemoryFull, 1);
        }
    }

    /// Completes the identity of a new span: a span id whatever the decision (TR-1), and for a local
    /// root the anchor. Called right after the clock is read, which keeps the anchor up to date.
    #[inline(always)]
    pub(super) fn identify(&self, identity: &mut Identity, parent_kind: ParentKind) {
        if parent_kind == ParentKind::Root {
            let random;
            (identity.trace_id, random) = self.new_trace_id();
            identity.flags = if random { TraceFlags::RANDOM.bits() } else { 0 };
        }
        identity.span_id = self.new_span_id();
        if parent_kind != ParentKind::Local {
            identity.anchor = Anchor::current();
        }
    }

    /// Sets the sampler's decision, or the parent's if no sampler is asked, and returns the attributes that the
    /// sampler adds. Foreign code may run here: no lock is held.
    pub(super) fn decide(
        &self,
        identity: &mut Identity,
        parent_kind: ParentKind,
        subject: &SamplerSubject<'_>,
        fields: &dyn Fields,
    ) -> Vec<KeyValue> {
        let is_root = parent_kind == ParentKind::Root;
        if parent_kind.asks(self.config.sampling_flags()) {
            return self.ask_sampler(identity, is_root, subject, fields);
        }
        self.follow_parent(identity, is_root);
        Vec::new()
    }

    /// Sets the parent's decision, or for a root that of the default sampler.
    #[inline]
    pub(super) fn follow_parent(&self, identity: &mut Identity, is_root: bool) {
        identity.follow(is_root, self.settings.export_mode == ExportMode::Exported);
    }

    /// Sets the sampler's decision and returns the attributes that it adds. Foreign code runs here: no
    /// lock is held.
    #[inline(never)]
    pub(super) fn ask_sampler(
        &self,
        identity: &mut Identity,
        is_root: bool,
        subject: &SamplerSubject<'_>,
        fields: &dyn Fields,
    ) -> Vec<KeyValue> {
        let parent = (!is_root).then(|| identity.parent());
        let input = SamplingInput {
            parent: parent.as_ref(),
            trace_id: TraceId::from_bytes(identity.trace_id),
            flags: identity.trace_flags(),
            name: subject.name,
            target: subject.target,
            level: subject.level,
            fields: FieldSource::Span(fields),
        };
        let mut result = self.config.load().sampler().should_sample(&input);
        let flags = self.config.sampling_flags();
        if let Some(sink) = self.sink.as_ref().filter(|_| flags.are_traces_shed()) {
            let is_certain = is_root && flags.is_default_sampler();
            sink.processor
                .shed_at_start(&input, &mut result, is_certain);
        }
        let can_record = self.settings.export_mode == ExportMode::Exported;
        let sampled = result.decision == SamplingDecision::RecordAndSample;
        let recorded = result.decision != SamplingDecision::Drop;
        identity.set_decision(sampled, recorded && can_record);
        let is_dropped_root = is_root && !recorded && can_record;
        let metadata = subject.metadata.filter(|_| is_dropped_root);
        if metadata.is_some_and(|metadata| callsite_table::of(metadata).expects_late_parent()) {
            identity.set_provisional();
        }
        if let Some(state) = result.trace_state {
            identity.set_trace_state(state);
        }
        identity.check_threshold();
        result.attributes
    }

    #[inline(always)]
    fn new_span_id(&self) -> [u8; 8] {
        if let Ids::Generator(ids) = &self.ids {
            let id = ids.new_span_id();
            if id.is_valid() {
                return id.to_bytes();
            }
        }
        RandomIds.new_span_id().to_bytes()
    }

    /// A trace id, and whether the flag `random` applies to it (TR-5).
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

    /// Gives a recorded span its scope, local trace and first attributes.
    #[inline(always)]
    pub(super) fn fill(
        &self,
        span: &mut OpenSpan,
        callsite: &'static Callsite,
        attributes: &Attributes<'_>,
    ) {
        let capture = &self.settings.capture;
        let limits = &self.settings.limits;
        if let Some(sink) = &self.sink {
            span.scope = sink.scope(callsite);
            sink.begin(&mut span.identity);
        }
        let mut visitor = FieldVisitor(SpanFieldSink {
            attributes: AttributeWriter::new(
                (&mut span.body, &mut span.reservation),
                SPAN_ATTRIBUTE,
                &limits.value,
                limits.attributes,
            ),
            otel_fields: &mut span.otel_fields,
            callsite,
            exceptions: capture.error_fields_to_exceptions,
        });
        attributes.record(&mut visitor);
        let written = &mut visitor.0.attributes;
        if !self.settings.extras.are_none() {
            written.put_static(self.extras(callsite));
        }
        if capture.threads {
            written.put_thread(callsite);
        }
        let state = &mut span.state;
        (state.recorded, state.dynamic) = (written.recorded, written.is_dynamic());
        (state.attributes, state.dropped_attributes) = (written.count, written.dropped);
        span.settle_growth();
    }

    /// The attributes that all spans of a callsite share.
    #[inline]
    pub(super) fn extras(&self, callsite: &'static Callsite) -> &'static StaticAttributes {
        callsite.extras(self.settings.extras)
    }

    /// Notes the time at which a span is left: the span ends at its last exit.
    #[inline(always)]
    pub(super) fn note_exit(&self, span: u64) {
        // The check for a fork comes only where the span is not found or its bucket is locked. A span
        // found in a fork is a copy that is never exported, so its times do not matter.
        if self.spans.try_with(span, OpenSpan::note_exit).is_none() {
            self.note_exit_after_wait(span);
        }
    }

    #[cold]
    #[inline(never)]
    fn note_exit_after_wait(&self, span: u64) {
        self.here().spans.with(span, OpenSpan::note_exit);
    }

    /// Hands a span that ended to the processor.
    #[inline]
    pub(super) fn finish(&self, mut span: Box<OpenSpan>) {
        let shard = preferred_shard();
        if span.identity.is_exported() {
            let end = span.end(clock::now, self.settings.capture.end_on_close);
            self.deliver(&mut span, end, shard);
        } else {
            span.reservation.left_out = 0;
        }
        self.span_pool.give(span, shard);
    }

    /// As [`finish`](Self::finish) for a span that ended at this time, before its close.
    #[inline(never)]
    pub(super) fn finish_early(&self, mut span: Box<OpenSpan>, end: u64) {
        let shard = preferred_shard();
        if span.identity.is_exported() {
            self.deliver(&mut span, end, shard);
        } else {
            span.reservation.left_out = 0;
        }
        self.span_pool.give(span, shard);
    }

    #[inline(always)]
    fn deliver(&self, span: &mut OpenSpan, end: u64, shard: usize) {
        if self.settings.capture.tracked_inactivity {
            self.put_activity(span, end);
        }
        if span.state.has_dropped() || span.reservation.left_out != 0 || span.has_rare() {
            self.conclude_rare(span);
        }
        span.seal(end);
        if let Some(sink) = &self.sink {
            sink.take(span, end, shard);
        }
    }

    /// The part of an end that few spans need: replaced attributes, and counts of what was left out.
    #[cold]
    #[inline(never)]
    fn conclude_rare(&self, span: &mut OpenSpan) {
        span.tidy();
        if let Some(sink) = &self.sink {
            sink.count_truncated(&span.state, span.reservation.left_out);
        }
        span.reservation.left_out = 0;
    }

    #[cold]
    fn put_activity(&self, span: &mut OpenSpan, end: u64) {
        let (busy, idle) = span.state.activity(end);
        let limits = &self.settings.limits;
        let mut scratch = Scratch::take(&self.memory);
        let (buffer, room) = scratch.parts();
        let mut out = AttributeWriter::new(
            (buffer, room),
            SPAN_ATTRIBUTE,
            &limits.value,
            limits.attributes,
        );
        for (key, value) in [("busy_ns", busy), ("idle_ns", idle)] {
            let nanos = value as i64;
            out.put_dynamic(key, |key, out, _| {
                key.put_int(out, nanos);
                true
            });
        }
        let written = out.written();
        span.add_attributes(
            &EncodedAttributes {
                bytes: scratch.bytes(),
                ..written
            },
            limits.attributes,
        );
    }

    /// Counts the spans that are open when the layer is dropped.
    pub(super) fn abandon(&self) {
        let mut open = self.spans.drain();
        open.extend(self.manual.get().into_iter().flat_map(OpenSpans::drain));
        let lost = open.iter().filter(|s| s.identity.is_exported()).count();
        if let Some(sink) = &self.sink {
            let counters = sink.processor.counters();
            counters.drop_spans(DropReason::LayerGone, lost as u64);
            sink.close();
        }
    }
}

/// Visits the `log.target` of an event: the second field is the first one's result for it.
pub(super) struct LogTargetIs<F>(pub(super) F, pub(super) bool);

impl<F: FnMut(&str) -> bool> Visit for LogTargetIs<F> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "log.target" {
            self.1 = (self.0)(value);
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}
