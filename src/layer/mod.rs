//! [`OtlpLayer`]: the callbacks of a `tracing_subscriber::Layer`, each a few lines.
//!
//! Nothing here waits, speaks through `tracing`, or runs foreign code under a lock: values are
//! visited into a buffer of the thread's or of the new span's own and then copied.

mod after_fork;
mod attributes;
mod callsite;
mod creation;
mod edit;
mod event;
mod fields;
mod filters;
mod identity;
mod in_progress;
mod keys;
mod last_words;
mod late_parent;
mod log;
#[cfg(feature = "opentelemetry")]
mod manual;
mod memory;
mod open_spans;
mod parent;
mod recorder;
mod scratch;
mod settings;
mod sink;
mod span;
mod span_pool;
mod thread;
mod visitor;

use std::sync::atomic::Ordering;

use tracing_core::span::{Attributes, Id, Record};
use tracing_core::subscriber::Interest;
use tracing_core::{Dispatch, Event, Metadata, Subscriber, dispatcher};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use self::attributes::{AttributeWriter, EncodedAttributes};
use self::fields::OtelFields;
use self::identity::Identity;
pub(crate) use self::in_progress::InProgress;
pub(crate) use self::last_words::LastWords;
pub(crate) use self::log::LogSink;
#[cfg(feature = "opentelemetry")]
pub(crate) use self::manual::{ManualSpans, NewSpan};
use self::parent::ParentKind;
use self::recorder::{Recorder, SamplerSubject};
use self::scratch::Scratch;
pub(crate) use self::settings::{ExportMode, Ids, Settings};
pub(crate) use self::sink::SpanSink;
use self::span::OpenSpan;
use self::visitor::SpanVisitor;
use crate::clock;
use crate::context::layer_registry::{LayerHandle, Spans as _};
use crate::context::registry_lookup::{ancestors, find_ancestor, registry_of};
use crate::context::stack;
use crate::fork::Home;
use crate::pool::Memory;
use crate::runtime_config::ConfigStore;
use crate::stats::StatsSource;
use crate::suppress::is_suppressed;
use crate::sync::Arc;
use crate::wire::span::SPAN_ATTRIBUTE;

/// Captures spans and hands them, encoded, to the batch processor.
///
/// Comes from [`OtlpBuilder::build`](crate::OtlpBuilder::build). Works on every subscriber that can
/// look up spans: alone, beside other layers, under per-layer filters, and inside `Option`,
/// `Box<dyn Layer>` and `reload::Layer`. A layer that is dropped counts its open spans as
/// [`DropReason::LayerGone`](crate::DropReason::LayerGone).
pub struct OtlpLayer {
    /// As the core has it, one step nearer.
    layer: u32,
    recorder: Arc<Recorder>,
    door: LayerHandle,
}

impl OtlpLayer {
    pub(crate) fn new(
        home: Home,
        settings: Settings,
        config: ConfigStore,
        ids: Ids,
        memory: Arc<Memory>,
        sink: Option<SpanSink>,
        logs: Option<Arc<LogSink>>,
    ) -> Self {
        let door = LayerHandle::new();
        let recorder = Recorder::new(
            door.layer(),
            home,
            settings,
            config,
            ids,
            memory,
            (sink, logs),
        );
        let recorder = Arc::new(recorder);
        door.open(Arc::clone(&recorder) as _);
        Self {
            layer: door.layer(),
            recorder,
            door,
        }
    }

    /// Shows spans that are open for longer than this, for as long as the layer is there.
    pub(crate) fn in_progress(&self, after: std::time::Duration) -> InProgress {
        InProgress::new(Arc::downgrade(&self.recorder), after)
    }

    /// Ends its open spans when the process does.
    pub(crate) fn last_words(&self) -> LastWords {
        LastWords::new(Arc::downgrade(&self.recorder))
    }

    /// What the guard asks for the layer's part of the figures; it outlives the layer.
    pub(crate) fn stats(&self) -> StatsSource {
        let spans = Arc::clone(&self.recorder.spans);
        let free = Arc::clone(&self.recorder.free);
        let after_end = Arc::clone(&self.recorder.after_end);
        let (home, heir) = (self.recorder.home.clone(), Arc::clone(&self.recorder.heir));
        let logs = self.recorder.logs.clone();
        Arc::new(move |stats| match home.is_left() {
            true => heir.count(stats),
            false => {
                Recorder::count(stats, &spans, &free, &after_end);
                stats.logs.emitted = logs.as_ref().map_or(0, |logs| logs.emitted.sum());
            }
        })
    }
}

/// What only some pipelines do.
impl OtlpLayer {
    /// Fills a new span as its sampler decides, with what that adds.
    #[inline(never)]
    fn fill_as_sampled(
        &self,
        span: &mut OpenSpan,
        parent_kind: ParentKind,
        attributes: &Attributes<'_>,
    ) {
        let recorder = self.recorder.here();
        let metadata = attributes.metadata();
        let is_root = parent_kind == ParentKind::Root;
        let subject = SamplerSubject::of(metadata);
        let added = recorder.ask_sampler(&mut span.identity, is_root, &subject, attributes);
        if span.identity.is_recording() {
            recorder.fill(span, callsite::of(metadata), attributes);
            if !added.is_empty() {
                span.note_added(&added);
                recorder.add_key_values(span, &added);
            }
        }
    }

    /// Decides on a span that there is no memory for, and counts it. What descends from it is a child
    /// of its parent.
    #[cold]
    #[inline(never)]
    fn refuse<S>(&self, attributes: &Attributes<'_>, id: &Id, context: &Context<'_, S>)
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let recorder = self.recorder.here();
        let mut identity = Identity::default();
        let sampling_flags = recorder.config.sampling_flags();
        let parent_kind = self.inherit(
            (recorder, sampling_flags),
            &mut identity,
            attributes,
            id,
            context,
        );
        recorder.identify(&mut identity, parent_kind);
        let is_root = parent_kind == ParentKind::Root;
        if parent_kind.asks(sampling_flags) {
            let subject = SamplerSubject::of(attributes.metadata());
            recorder.ask_sampler(&mut identity, is_root, &subject, attributes);
        } else {
            identity.follow(
                is_root,
                recorder.settings.export_mode == ExportMode::Exported,
            );
        }
        recorder.refuse(&recorder.spans, id.into_u64(), &identity);
    }

    /// Whose an event in a span is that is hidden from us: its nearest ancestor's that is not, else
    /// that of what is entered around it.
    #[cold]
    fn nearest_recorded<S>(
        &self,
        span: u64,
        event: &Event<'_>,
        context: &Context<'_, S>,
    ) -> Option<u64>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let recorder = self.recorder.here();
        let id = Id::from_u64(span);
        let is_there = |span: &u64| recorder.spans.has(*span);
        let found = match context.span(&id) {
            Some(span) => ancestors(span).map(|s| s.id().into_u64()).find(is_there),
            // Hidden by a filter, so the context does not know it.
            None => recorder
                .dispatch()
                .and_then(|d| find_ancestor(&d, &id, is_there)),
        };
        let entered = || stack::innermost_span(self.layer, |span| recorder.spans.has(span));
        found.or_else(|| event.is_contextual().then(entered).flatten())
    }

    /// Learns in which subscriber it is, if that is the one of the process.
    #[cold]
    fn look_around(&self) {
        dispatcher::get_default(|subscriber| {
            if self.recorder.is_in(subscriber) == Some(true) {
                self.door.set_registry(registry_of(subscriber));
                self.recorder.learn(subscriber);
            }
        });
    }

    #[cold]
    fn enter_watched(&self, span: u64) {
        let recorder = self.recorder.here();
        let now = clock::now();
        let context = recorder.spans.with(span, |span| {
            if recorder.settings.capture.tracked_inactivity {
                span.state.enter(now);
            }
            let identity = &span.identity;
            let is_shown = recorder.settings.bridge.is_some();
            is_shown.then(|| (identity.context(), identity.parent_id))
        });
        if let (Some(bridge), Some(Some((context, parent)))) = (recorder.settings.bridge, context) {
            let context = context.with_origin(self.layer, span);
            bridge.entered(self.layer, span, &context, parent);
        }
    }

    #[cold]
    #[inline(never)]
    fn exit_elsewhere(&self, span: u64) {
        self.recorder.here().spans.with(span, note_exit);
    }

    #[cold]
    fn exit_watched(&self, span: u64) {
        let recorder = self.recorder.here();
        let now = clock::now();
        recorder.spans.with(span, |span| {
            if span.identity.is_recording() {
                span.state.last_exit = now;
            }
            if recorder.settings.capture.tracked_inactivity {
                span.state.exit(now);
            }
        });
        if let Some(bridge) = recorder.settings.bridge {
            bridge.left(self.layer, span);
        }
    }
}

#[inline(always)]
fn note_exit(span: &mut OpenSpan) {
    if span.identity.is_recording() {
        span.state.last_exit = clock::now();
    }
}

impl<S> Layer<S> for OtlpLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_register_dispatch(&self, subscriber: &Dispatch) {
        self.door.set_registry(registry_of(subscriber));
        self.recorder.learn(subscriber);
    }

    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        callsite::of(metadata);
        // Which callsites are wanted is the filters' business; `never` would blind other layers.
        Interest::always()
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let recorder = self.recorder.here();
        if is_suppressed() || recorder.settings.export_mode == ExportMode::Disabled {
            return;
        }
        let metadata = attributes.metadata();
        let sampling_flags = recorder.config.sampling_flags();
        if recorder.is_filtered(sampling_flags, metadata) {
            return;
        }
        let Some(mut span) = recorder.spare() else {
            return self.refuse(attributes, id, &context);
        };
        let parent_kind = self.inherit(
            (recorder, sampling_flags),
            &mut span.identity,
            attributes,
            id,
            &context,
        );
        let now = clock::now();
        recorder.identify(&mut span.identity, parent_kind);
        span.name = metadata.name();
        span.state.start = now;
        if parent_kind.asks(sampling_flags) {
            self.fill_as_sampled(&mut span, parent_kind, attributes);
        } else {
            let is_seen = recorder.settings.export_mode == ExportMode::Exported;
            span.identity
                .follow(parent_kind == ParentKind::Root, is_seen);
            if span.identity.is_recording() {
                recorder.fill(&mut span, callsite::of(metadata), attributes);
            }
        }
        span.pay_for_context();
        if let Some(lost) = recorder.spans.insert(id.into_u64(), span) {
            recorder.finish(lost);
        }
        // Who was told no registry was not told of filters either.
        if recorder.may_be_filtered.load(Ordering::Relaxed) && !self.door.is_known() {
            self.look_around();
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let recorder = self.recorder.here();
        let limits = &recorder.settings.limits;
        let id = id.into_u64();
        if recorder.editor().is_listening(id) != Some(true) {
            return;
        }
        let Some(metadata) = context.metadata(&Id::from_u64(id)) else {
            return;
        };
        let mut scratch = Scratch::take(&recorder.memory);
        let (out, room) = scratch.parts();
        let mut otel_fields = OtelFields::default();
        let mut visitor = SpanVisitor {
            attributes: AttributeWriter::new(
                (out, room),
                SPAN_ATTRIBUTE,
                &limits.value,
                limits.attributes,
            ),
            otel_fields: &mut otel_fields,
            callsite: callsite::of(metadata),
            exceptions: recorder.settings.capture.error_fields_to_exceptions,
        };
        values.record(&mut visitor);
        let written = visitor.attributes.written();
        let encoded = EncodedAttributes {
            bytes: scratch.bytes(),
            ..written
        };
        recorder.spans.with(id, |span| {
            span.add_attributes(&encoded, limits.attributes);
            span.merge(&otel_fields);
            span.note_left_out(&scratch);
        });
    }

    fn on_follows_from(&self, id: &Id, follows: &Id, _: Context<'_, S>) {
        let recorder = self.recorder.here();
        // Two locks one after the other, never together. A span that is gone leaves no link.
        let other = recorder
            .spans
            .with(follows.into_u64(), |s| s.identity.clone());
        if let Some(other) = other {
            recorder
                .editor()
                .add_link(id.into_u64(), &other.context(), &[]);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if is_suppressed() {
            return;
        }
        let recorder = self.recorder.here();
        if let Some(logs) = &recorder.logs {
            return self.on_event_with_logs(recorder, logs, event, &context);
        }
        if event.is_root() {
            return;
        }
        let sampling_flags = recorder.config.sampling_flags();
        if recorder.is_event_hushed(sampling_flags, event) {
            return;
        }
        let entered = || stack::innermost_span(self.layer, |_| true);
        let is_certain =
            !sampling_flags.has_detail() && !recorder.may_be_filtered.load(Ordering::Relaxed);
        let span = match event.parent() {
            Some(span) => Some(span.into_u64()),
            None if is_certain => entered(),
            None => context
                .current_span()
                .id()
                .map(Id::into_u64)
                .or_else(entered),
        };
        if let Some(span) = span {
            recorder.record_event(span, event, || self.nearest_recorded(span, event, &context));
        }
    }

    fn on_enter(&self, id: &Id, _: Context<'_, S>) {
        stack::enter(self.layer, id.into_u64());
        if self.recorder.settings.is_watched {
            self.enter_watched(id.into_u64());
        }
    }

    fn on_exit(&self, id: &Id, _: Context<'_, S>) {
        stack::exit(self.layer, id.into_u64());
        if self.recorder.settings.is_watched {
            return self.exit_watched(id.into_u64());
        }
        // Whether this is a fork is asked where the span is not found or its lock is taken: the copy of one
        // that was open before goes nowhere, whatever is noted in it.
        let left = self.recorder.spans.try_with(id.into_u64(), note_exit);
        if left.is_none() {
            self.exit_elsewhere(id.into_u64());
        }
    }

    fn on_close(&self, id: Id, _: Context<'_, S>) {
        let recorder = self.recorder.here();
        if let Some(span) = recorder.spans.remove(id.into_u64()) {
            recorder.finish(span);
        }
    }
}

impl Drop for OtlpLayer {
    fn drop(&mut self) {
        self.recorder.here().abandon();
    }
}

impl std::fmt::Debug for OtlpLayer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OtlpLayer")
            .field("layer", &self.layer)
            .finish_non_exhaustive()
    }
}

const _: fn() = || {
    fn promised<T: Send + Sync + 'static>() {}
    promised::<OtlpLayer>();
};
