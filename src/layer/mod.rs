//! [`OtlpLayer`]: the callbacks of a `tracing_subscriber::Layer`, each a few lines.
//!
//! Nothing here waits, speaks through `tracing`, or runs foreign code under a lock: values are
//! visited into a buffer of the thread's or of the new span's own and then copied.

mod attributes;
mod callsite;
mod charge;
mod creation;
mod event;
mod fields;
mod filters;
mod open_spans;
mod outlet;
mod parent;
mod scratch;
mod settings;
mod span;
mod spare;
mod thread;
mod visitor;

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use tracing_core::span::{Attributes, Id, Record};
use tracing_core::subscriber::Interest;
use tracing_core::{Dispatch, Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use self::attributes::{Attributes as Row, Visited};
use self::callsite::{Callsite, Extras};
use self::fields::Special;
use self::open_spans::OpenSpans;
pub(crate) use self::outlet::Outlet;
use self::scratch::Scratch;
pub(crate) use self::settings::{Fate, Ids, Sampling, Settings};
use self::span::{Identity, OpenSpan};
use self::spare::Spares;
use self::visitor::SpanVisitor;
use crate::clock::{self, Clock};
use crate::context::{IdGenerator as _, RandomIds, TraceFlags, TraceId, current};
use crate::pool::Budget;
use crate::sampler::{SamplingDecision, SamplingInput};
use crate::stats::{DropReason, StatsSource};
use crate::suppress::is_suppressed;
use crate::sync::Arc;
use crate::wire::span::{SPAN_ATTRIBUTE, SPAN_LINK, put_link};

/// Captures spans and hands them, encoded, to the batch processor.
///
/// Comes from [`OtlpBuilder::build`](crate::OtlpBuilder::build). Works on every subscriber that can
/// look up spans: alone, beside other layers, under per-layer filters, and inside `Option`,
/// `Box<dyn Layer>` and `reload::Layer`. A layer that is dropped counts its open spans as
/// [`DropReason::LayerGone`].
pub struct OtlpLayer {
    /// Tells this layer's spans from those of another in the same process.
    layer: u32,
    /// Whether a per-layer filter may hide spans from this layer.
    may_be_filtered: AtomicBool,
    spans: Arc<OpenSpans>,
    spares: Spares,
    clock: Clock,
    sampling: Sampling,
    ids: Ids,
    settings: Settings,
    /// `None`: no span is recorded.
    outlet: Option<Outlet>,
}

impl OtlpLayer {
    pub(crate) fn new(
        settings: Settings,
        sampling: Sampling,
        ids: Ids,
        budget: Arc<Budget>,
        outlet: Option<Outlet>,
    ) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        Self {
            layer: NEXT.fetch_add(1, Ordering::Relaxed),
            may_be_filtered: AtomicBool::new(true),
            spans: Arc::new(OpenSpans::new()),
            spares: Spares::new(budget),
            clock: Clock::new(),
            sampling,
            ids,
            settings,
            outlet,
        }
    }

    /// What the guard asks for the layer's part of the figures; it outlives the layer.
    pub(crate) fn stats(&self) -> StatsSource {
        let spans = Arc::clone(&self.spans);
        Arc::new(move |stats| {
            let counts = spans.counts();
            stats.started = counts.started;
            stats.started_unsampled = counts.started_unsampled;
            stats.open = counts.open;
        })
    }

    /// Completes the identity of a new span, a root's or one that inherited: a new id whatever the
    /// decision (TR-1).
    #[inline]
    fn identify(
        &self,
        identity: &mut Identity,
        is_root: bool,
        attributes: &Attributes<'_>,
        now: u64,
    ) {
        identity.span_id = self.new_span_id();
        if is_root {
            let random;
            (identity.trace_id, random) = self.new_trace_id();
            identity.anchor = self.clock.anchor(now);
            identity.flags = if random { TraceFlags::RANDOM.bits() } else { 0 };
        }
        match &self.sampling {
            Sampling::ParentOrAlways if is_root => identity.set_sampled(true),
            Sampling::ParentOrAlways => {}
            Sampling::Sampler(sampler) => {
                let parent = (!is_root).then(|| identity.parent());
                let metadata = attributes.metadata();
                let result = sampler.should_sample(&SamplingInput {
                    parent: parent.as_ref(),
                    trace_id: TraceId::from_bytes(identity.trace_id),
                    flags: TraceFlags::from_bits(identity.flags),
                    name: metadata.name(),
                    target: metadata.target(),
                    level: *metadata.level(),
                    fields: attributes,
                });
                let sampled = result.decision == SamplingDecision::RecordAndSample;
                identity.set_sampled(sampled);
            }
        }
        if self.settings.fate == Fate::Unseen {
            identity.set_unseen();
        }
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

    /// Everything that a new sampled span holds from the start.
    #[inline]
    fn fill(
        &self,
        span: &mut OpenSpan,
        callsite: &'static Callsite,
        now: u64,
        attributes: &Attributes<'_>,
    ) {
        let capture = &self.settings.capture;
        let limits = &self.settings.limits;
        span.state.start = now;
        span.name = callsite.metadata.name();
        if capture.tracked_inactivity {
            span.state.activity.start(now);
        }
        if let Some(outlet) = &self.outlet {
            span.scope = outlet.scope(callsite.metadata.target());
            outlet.begin(&mut span.identity);
        }
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
        let extras = Extras::new(capture.target, capture.location, capture.level);
        written.put_static(callsite.extras(extras));
        if capture.threads {
            written.put_thread();
        }
        let state = &mut span.state;
        (state.recorded, state.dynamic) = (written.recorded, written.dynamic);
        (state.attributes, state.dropped_attributes) = (written.count, written.dropped);
        span.settle_growth();
    }

    /// Hands a span that ended to the processor.
    #[inline]
    fn finish(&self, mut span: Box<OpenSpan>) {
        if span.identity.is_recording() {
            let capture = &self.settings.capture;
            let end = span.end(clock::now, capture.end_on_close);
            if capture.tracked_inactivity {
                self.put_activity(&mut span, end);
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
}

impl<S> Layer<S> for OtlpLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_register_dispatch(&self, subscriber: &Dispatch) {
        self.may_be_filtered
            .store(!filters::are_absent(subscriber), Ordering::Relaxed);
        if let Some(outlet) = &self.outlet {
            outlet.processor.set_dispatch(subscriber.downgrade());
        }
    }

    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        callsite::of(metadata);
        // Which callsites are wanted is the filters' business; `never` would blind other layers.
        Interest::always()
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if is_suppressed() || self.settings.fate == Fate::Disabled {
            return;
        }
        let metadata = attributes.metadata();
        let mut span = self.spares.take();
        let identity = &mut span.identity;
        let inherited = self.inherit(identity, attributes, id, &context);
        let now = clock::now();
        self.identify(identity, !inherited, attributes, now);
        if span.identity.is_recording() {
            self.fill(&mut span, callsite::of(metadata), now, attributes);
        }
        if let Some(lost) = self.spans.insert(id.into_u64(), span) {
            self.finish(lost);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let limits = &self.settings.limits;
        let id = id.into_u64();
        if self.spans.with(id, |span| span.identity.is_recording()) != Some(true) {
            return;
        }
        let Some(metadata) = context.metadata(&Id::from_u64(id)) else {
            return;
        };
        let mut scratch = Scratch::take();
        let mut special = Special::default();
        let mut visitor = SpanVisitor {
            attributes: Row::new(
                scratch.buffer(),
                SPAN_ATTRIBUTE,
                &limits.value,
                limits.attributes,
            ),
            special: &mut special,
            callsite: callsite::of(metadata),
            exceptions: self.settings.capture.error_fields_to_exceptions,
        };
        values.record(&mut visitor);
        let written = visitor.attributes.written();
        let visited = Visited {
            bytes: scratch.bytes(),
            ..written
        };
        self.spans.with(id, |span| {
            span.add_attributes(&visited, limits.attributes);
            span.special.merge(&special);
        });
    }

    fn on_follows_from(&self, id: &Id, follows: &Id, _: Context<'_, S>) {
        // Two locks one after the other, never together. A span that is gone leaves no link.
        let Some(other) = self.spans.with(follows.into_u64(), |s| s.identity.clone()) else {
            return;
        };
        let mut link = Vec::new();
        let trace_state = other.trace_state.as_str();
        put_link(
            &mut link,
            other.trace_id,
            other.span_id,
            trace_state,
            other.flags,
            false,
        );
        self.spans.with(id.into_u64(), |span| {
            if !span.identity.is_recording() {
                return;
            }
            let limit = self.settings.limits.links;
            if span.state.links < limit && span.add_field(SPAN_LINK, &link) {
                span.state.links += 1;
            } else {
                span.state.dropped_links += 1;
            }
        });
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.record_event(event);
    }

    fn on_enter(&self, id: &Id, _: Context<'_, S>) {
        current::enter(self.layer, id.into_u64());
        if self.settings.capture.tracked_inactivity {
            let now = clock::now();
            self.spans
                .with(id.into_u64(), |span| span.state.activity.enter(now));
        }
    }

    fn on_exit(&self, id: &Id, _: Context<'_, S>) {
        current::exit(self.layer, id.into_u64());
        self.spans.with(id.into_u64(), |span| {
            if span.identity.is_recording() {
                let state = &mut span.state;
                state.last_exit = clock::now();
                if self.settings.capture.tracked_inactivity {
                    state.activity.exit(state.last_exit);
                }
            }
        });
    }

    fn on_close(&self, id: Id, _: Context<'_, S>) {
        if let Some(span) = self.spans.remove(id.into_u64()) {
            self.finish(span);
        }
    }
}

impl Drop for OtlpLayer {
    fn drop(&mut self) {
        let open = self.spans.drain();
        let recording = open
            .iter()
            .filter(|span| span.identity.is_recording())
            .count();
        if let Some(outlet) = &self.outlet {
            let counters = outlet.processor.counters();
            counters.drop_spans(DropReason::LayerGone, recording as u64);
        }
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
