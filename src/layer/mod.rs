//! [`OtlpLayer`]: the callbacks of a `tracing_subscriber::Layer`, each of at most eight lines.
//!
//! A callback does not block, emits no `tracing` events, and runs no foreign code under a lock:
//! values are visited into a buffer of the thread, or of the new span, and copied from there.

mod after_fork;
mod attributes;
mod callsite;
mod callsite_table;
mod creation;
mod edit;
mod event;
mod field_sinks;
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
mod start;
mod thread;
mod visitor;

use tracing_core::span::{Attributes, Id, Record};
use tracing_core::subscriber::Interest;
use tracing_core::{Dispatch, Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

pub(crate) use self::in_progress::InProgress;
pub(crate) use self::last_words::LastWords;
pub(crate) use self::log::LogSink;
#[cfg(feature = "opentelemetry")]
pub(crate) use self::log::{ManualLogs, NewRecord};
#[cfg(feature = "opentelemetry")]
pub(crate) use self::manual::{ManualSpans, NewSpan};
use self::recorder::Recorder;
pub(crate) use self::settings::{ExportMode, Ids, Settings};
pub(crate) use self::sink::SpanSink;
use crate::clock;
use crate::context::layer_registry::{LayerHandle, Spans as _};
use crate::context::registry_address::registry_of;
use crate::context::stack;
use crate::fork::Home;
use crate::pool::Memory;
use crate::registry::OtlpRegistry;
use crate::runtime_config::ConfigStore;
use crate::stats::StatsSource;
use crate::suppress::is_suppressed;
use crate::sync::Arc;

/// Records spans and hands them, encoded as OTLP, to the batch processor.
///
/// Made by [`OtlpBuilder::build`](crate::OtlpBuilder::build). Works on every subscriber with span
/// lookup: alone, beside other layers, under per-layer filters, and inside `Option`,
/// `Box<dyn Layer>` and `reload::Layer`. When the layer is dropped, its open spans are counted as
/// [`DropReason::LayerGone`](crate::DropReason::LayerGone).
pub struct OtlpLayer {
    /// Copy of [`Recorder::layer`], so that `on_enter` reads one pointer less.
    layer: u32,
    /// Whether the registry notes entered spans under this layer's number.
    shares_stack: bool,
    recorder: Arc<Recorder>,
    handle: LayerHandle,
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
        let handle = LayerHandle::new();
        let recorder = Recorder::new(
            handle.layer(),
            home,
            settings,
            config,
            ids,
            memory,
            (sink, logs),
        );
        let recorder = Arc::new(recorder);
        handle.register(Arc::clone(&recorder) as _);
        Self {
            layer: handle.layer(),
            shares_stack: false,
            recorder,
            handle,
        }
    }

    /// Copies of the spans that are open for longer than `after`, until the layer is dropped.
    pub(crate) fn in_progress(&self, after: std::time::Duration) -> InProgress {
        InProgress::new(Arc::downgrade(&self.recorder), after)
    }

    /// Ends the layer's open spans at the end of the process.
    pub(crate) fn last_words(&self) -> LastWords {
        LastWords::new(Arc::downgrade(&self.recorder))
    }

    /// The layer's part of [`Stats`](crate::Stats). It outlives the layer.
    pub(crate) fn stats(&self) -> StatsSource {
        let spans = Arc::clone(&self.recorder.spans);
        let manual = Arc::clone(&self.recorder.manual);
        let after_end = Arc::clone(&self.recorder.after_end);
        let home = self.recorder.home.clone();
        let forked = Arc::clone(&self.recorder.forked);
        let logs = self.recorder.logs.clone();
        Arc::new(move |stats| match home.is_left() {
            true => forked.count(stats),
            false => {
                Recorder::count(stats, &spans, &manual, &after_end);
                stats.logs.emitted = logs.as_ref().map_or(0, |logs| logs.emitted.sum());
            }
        })
    }
}

/// Work on enter and exit that only some pipelines need.
impl OtlpLayer {
    #[cold]
    fn enter_watched(&self, span: u64) {
        let recorder = self.recorder.here();
        let now = clock::now();
        let context = recorder.spans.with(span, |span| {
            if recorder.settings.capture.tracked_inactivity {
                span.state.enter(now);
            }
            let identity = &span.identity;
            let is_shown = recorder.settings.observer.is_some();
            is_shown.then(|| (identity.context(), identity.parent_id))
        });
        if let (Some(observer), Some(Some((context, parent)))) =
            (recorder.settings.observer, context)
        {
            let context = context.with_origin(self.layer, span);
            observer.entered(self.layer, span, &context, parent);
        }
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
        if let Some(observer) = recorder.settings.observer {
            observer.left(self.layer, span);
        }
    }
}

impl<S> Layer<S> for OtlpLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_layer(&mut self, subscriber: &mut S) {
        let subscriber: &dyn Subscriber = subscriber;
        let registry = subscriber.downcast_ref::<OtlpRegistry>();
        self.shares_stack = registry.is_some_and(|registry| registry.share_stack(self.layer));
    }

    fn on_register_dispatch(&self, subscriber: &Dispatch) {
        self.handle.set_registry(registry_of(subscriber));
        self.recorder.learn(subscriber);
    }

    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        callsite_table::of(metadata);
        // Filters decide about callsites; `never` would disable them for other layers too.
        Interest::always()
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let recorder = self.recorder.here();
        if !is_suppressed() && recorder.settings.export_mode != ExportMode::Disabled {
            self.start_span(recorder, attributes, id, &context);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let editor = self.recorder.here().editor();
        if editor.check_recording(id.into_u64()) == Some(true)
            && let Some(metadata) = context.metadata(id)
        {
            editor.record_values(id.into_u64(), callsite_table::of(metadata), values);
        }
    }

    fn on_follows_from(&self, id: &Id, follows: &Id, _: Context<'_, S>) {
        let editor = self.recorder.here().editor();
        editor.add_link_to_open_span(id.into_u64(), follows.into_u64());
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if is_suppressed() {
            return;
        }
        let recorder = self.recorder.here();
        match &recorder.logs {
            Some(logs) => self.on_event_with_logs(recorder, logs, event, &context),
            None => self.on_span_event(recorder, event, &context),
        }
    }

    fn on_enter(&self, id: &Id, _: Context<'_, S>) {
        if !self.shares_stack {
            stack::enter(self.layer, id.into_u64());
        }
        if self.recorder.settings.is_watched {
            self.enter_watched(id.into_u64());
        }
    }

    fn on_exit(&self, id: &Id, _: Context<'_, S>) {
        if !self.shares_stack {
            stack::exit(self.layer, id.into_u64());
        }
        if self.recorder.settings.is_watched {
            self.exit_watched(id.into_u64());
        } else {
            self.recorder.note_exit(id.into_u64());
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
    fn assert_send_sync<T: Send + Sync + 'static>() {}
    assert_send_sync::<OtlpLayer>();
};
