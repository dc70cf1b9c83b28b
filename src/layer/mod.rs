//! [`OtlpLayer`]: the callbacks of a `tracing_subscriber::Layer`, each a few lines.
//!
//! Nothing here waits, speaks through `tracing`, or runs foreign code under a lock: values are
//! visited into a buffer of the thread's or of the new span's own and then copied.

mod attributes;
mod callsite;
mod charge;
mod core;
mod creation;
mod event;
mod fields;
mod filters;
#[cfg(feature = "opentelemetry")]
mod free;
mod heir;
mod identity;
mod in_progress;
mod keys;
mod last_words;
mod late;
mod log;
mod open_spans;
mod outlet;
mod parent;
mod reparent;
mod scratch;
mod settings;
mod span;
mod spare;
mod thread;
mod visitor;

use std::sync::atomic::Ordering;

use tracing_core::span::{Attributes, Id, Record};
use tracing_core::subscriber::Interest;
use tracing_core::{Dispatch, Event, Metadata, Subscriber, dispatcher};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use self::attributes::{Attributes as Row, Visited};
use self::core::{Core, Subject};
use self::fields::Special;
#[cfg(feature = "opentelemetry")]
pub(crate) use self::free::{FreeSpans, NewSpan};
use self::identity::Identity;
pub(crate) use self::in_progress::InProgress;
pub(crate) use self::last_words::LastWords;
pub(crate) use self::log::LogSink;
pub(crate) use self::outlet::Outlet;
use self::parent::Lineage;
use self::scratch::Scratch;
pub(crate) use self::settings::{Fate, Ids, Settings};
use self::span::OpenSpan;
use self::visitor::SpanVisitor;
use crate::clock;
use crate::context::ancestry::{ancestors, find_ancestor, registry_of};
use crate::context::doors::{Door, Spans as _};
use crate::context::stack;
use crate::fork::Home;
use crate::live::ConfigStore;
use crate::pool::Memory;
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
    core: Arc<Core>,
    door: Door,
}

impl OtlpLayer {
    pub(crate) fn new(
        home: Home,
        settings: Settings,
        config: ConfigStore,
        ids: Ids,
        memory: Arc<Memory>,
        outlet: Option<Outlet>,
        logs: Option<Arc<LogSink>>,
    ) -> Self {
        let door = Door::new();
        let core = Core::new(
            door.layer(),
            home,
            settings,
            config,
            ids,
            memory,
            (outlet, logs),
        );
        let core = Arc::new(core);
        door.open(Arc::clone(&core) as _);
        Self {
            layer: door.layer(),
            core,
            door,
        }
    }

    /// Shows spans that are open for longer than this, for as long as the layer is there.
    pub(crate) fn in_progress(&self, after: std::time::Duration) -> InProgress {
        InProgress::new(Arc::downgrade(&self.core), after)
    }

    /// Ends its open spans when the process does.
    pub(crate) fn last_words(&self) -> LastWords {
        LastWords::new(Arc::downgrade(&self.core))
    }

    /// What the guard asks for the layer's part of the figures; it outlives the layer.
    pub(crate) fn stats(&self) -> StatsSource {
        let spans = Arc::clone(&self.core.spans);
        let free = Arc::clone(&self.core.free);
        let after_end = Arc::clone(&self.core.after_end);
        let (home, heir) = (self.core.home.clone(), Arc::clone(&self.core.heir));
        let logs = self.core.logs.clone();
        Arc::new(move |stats| match home.is_left() {
            true => heir.count(stats),
            false => {
                Core::count(stats, &spans, &free, &after_end);
                stats.logs.emitted = logs.as_ref().map_or(0, |logs| logs.emitted.sum());
            }
        })
    }
}

/// What only some pipelines do.
impl OtlpLayer {
    /// Fills a new span as its sampler decides, with what that adds.
    #[inline(never)]
    fn fill_as_sampled(&self, span: &mut OpenSpan, lineage: Lineage, attributes: &Attributes<'_>) {
        let core = self.core.here();
        let metadata = attributes.metadata();
        let is_root = lineage == Lineage::Root;
        let subject = Subject::of(metadata);
        let added = core.ask_sampler(&mut span.identity, is_root, &subject, attributes);
        if span.identity.is_recording() {
            core.fill(span, callsite::of(metadata), attributes);
            if !added.is_empty() {
                span.note_added(&added);
                core.add_key_values(span, &added);
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
        let core = self.core.here();
        let mut identity = Identity::default();
        let watch = core.config.watch();
        let lineage = self.inherit((core, watch), &mut identity, attributes, id, context);
        core.identify(&mut identity, lineage);
        let is_root = lineage == Lineage::Root;
        if lineage.asks(watch) {
            let subject = Subject::of(attributes.metadata());
            core.ask_sampler(&mut identity, is_root, &subject, attributes);
        } else {
            identity.follow(is_root, core.settings.fate == Fate::Exported);
        }
        core.refuse(&core.spans, id.into_u64(), &identity);
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
        let core = self.core.here();
        let id = Id::from_u64(span);
        let is_there = |span: &u64| core.spans.has(*span);
        let found = match context.span(&id) {
            Some(span) => ancestors(span).map(|s| s.id().into_u64()).find(is_there),
            // Hidden by a filter, so the context does not know it.
            None => core
                .dispatch()
                .and_then(|d| find_ancestor(&d, &id, is_there)),
        };
        let entered = || stack::innermost_span(self.layer, |span| core.spans.has(span));
        found.or_else(|| event.is_contextual().then(entered).flatten())
    }

    /// Learns in which subscriber it is, if that is the one of the process.
    #[cold]
    fn look_around(&self) {
        dispatcher::get_default(|subscriber| {
            if self.core.is_in(subscriber) == Some(true) {
                self.door.set_registry(registry_of(subscriber));
                self.core.learn(subscriber);
            }
        });
    }

    #[cold]
    fn enter_watched(&self, span: u64) {
        let core = self.core.here();
        let now = clock::now();
        let context = core.spans.with(span, |span| {
            if core.settings.capture.tracked_inactivity {
                span.state.enter(now);
            }
            let identity = &span.identity;
            let is_shown = core.settings.bridge.is_some();
            is_shown.then(|| (identity.context(), identity.parent_id))
        });
        if let (Some(bridge), Some(Some((context, parent)))) = (core.settings.bridge, context) {
            let context = context.with_origin(self.layer, span);
            bridge.entered(self.layer, span, &context, parent);
        }
    }

    #[cold]
    #[inline(never)]
    fn exit_elsewhere(&self, span: u64) {
        self.core.here().spans.with(span, note_exit);
    }

    #[cold]
    fn exit_watched(&self, span: u64) {
        let core = self.core.here();
        let now = clock::now();
        core.spans.with(span, |span| {
            if span.identity.is_recording() {
                span.state.last_exit = now;
            }
            if core.settings.capture.tracked_inactivity {
                span.state.exit(now);
            }
        });
        if let Some(bridge) = core.settings.bridge {
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
        self.core.learn(subscriber);
    }

    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        callsite::of(metadata);
        // Which callsites are wanted is the filters' business; `never` would blind other layers.
        Interest::always()
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let core = self.core.here();
        if is_suppressed() || core.settings.fate == Fate::Disabled {
            return;
        }
        let metadata = attributes.metadata();
        let watch = core.config.watch();
        if core.is_hushed(watch, metadata) {
            return;
        }
        let Some(mut span) = core.spare() else {
            return self.refuse(attributes, id, &context);
        };
        let lineage = self.inherit((core, watch), &mut span.identity, attributes, id, &context);
        let now = clock::now();
        core.identify(&mut span.identity, lineage);
        span.name = metadata.name();
        span.state.start = now;
        if lineage.asks(watch) {
            self.fill_as_sampled(&mut span, lineage, attributes);
        } else {
            let is_seen = core.settings.fate == Fate::Exported;
            span.identity.follow(lineage == Lineage::Root, is_seen);
            if span.identity.is_recording() {
                core.fill(&mut span, callsite::of(metadata), attributes);
            }
        }
        span.pay_for_context();
        if let Some(lost) = core.spans.insert(id.into_u64(), span) {
            core.finish(lost);
        }
        // Who was told no registry was not told of filters either.
        if core.may_be_filtered.load(Ordering::Relaxed) && !self.door.is_known() {
            self.look_around();
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let core = self.core.here();
        let limits = &core.settings.limits;
        let id = id.into_u64();
        if core.desk().is_listening(id) != Some(true) {
            return;
        }
        let Some(metadata) = context.metadata(&Id::from_u64(id)) else {
            return;
        };
        let mut scratch = Scratch::take(&core.memory);
        let (out, room) = scratch.parts();
        let mut special = Special::default();
        let mut visitor = SpanVisitor {
            attributes: Row::new(
                (out, room),
                SPAN_ATTRIBUTE,
                &limits.value,
                limits.attributes,
            ),
            special: &mut special,
            callsite: callsite::of(metadata),
            exceptions: core.settings.capture.error_fields_to_exceptions,
        };
        values.record(&mut visitor);
        let written = visitor.attributes.written();
        let visited = Visited {
            bytes: scratch.bytes(),
            ..written
        };
        core.spans.with(id, |span| {
            span.add_attributes(&visited, limits.attributes);
            span.merge(&special);
            span.note_left_out(&scratch);
        });
    }

    fn on_follows_from(&self, id: &Id, follows: &Id, _: Context<'_, S>) {
        let core = self.core.here();
        // Two locks one after the other, never together. A span that is gone leaves no link.
        let other = core.spans.with(follows.into_u64(), |s| s.identity.clone());
        if let Some(other) = other {
            core.desk().add_link(id.into_u64(), &other.context(), &[]);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if is_suppressed() {
            return;
        }
        let core = self.core.here();
        if let Some(logs) = &core.logs {
            return self.on_event_with_logs(core, logs, event, &context);
        }
        if event.is_root() {
            return;
        }
        let watch = core.config.watch();
        if core.is_event_hushed(watch, event) {
            return;
        }
        let entered = || stack::innermost_span(self.layer, |_| true);
        let is_certain = !watch.has_detail() && !core.may_be_filtered.load(Ordering::Relaxed);
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
            core.record_event(span, event, || self.nearest_recorded(span, event, &context));
        }
    }

    fn on_enter(&self, id: &Id, _: Context<'_, S>) {
        stack::enter(self.layer, id.into_u64());
        if self.core.settings.is_watched {
            self.enter_watched(id.into_u64());
        }
    }

    fn on_exit(&self, id: &Id, _: Context<'_, S>) {
        stack::exit(self.layer, id.into_u64());
        if self.core.settings.is_watched {
            return self.exit_watched(id.into_u64());
        }
        // Whether this is a fork is asked where the span is not found or its lock is taken: the copy of one
        // that was open before goes nowhere, whatever is noted in it.
        let left = self.core.spans.try_with(id.into_u64(), note_exit);
        if left.is_none() {
            self.exit_elsewhere(id.into_u64());
        }
    }

    fn on_close(&self, id: Id, _: Context<'_, S>) {
        let core = self.core.here();
        if let Some(span) = core.spans.remove(id.into_u64()) {
            core.finish(span);
        }
    }
}

impl Drop for OtlpLayer {
    fn drop(&mut self) {
        self.core.here().abandon();
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
