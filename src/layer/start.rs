//! The way of a new span: its memory, its parent, its decision, its first attributes, its place
//! among the open spans.

use std::sync::atomic::Ordering;

use tracing_core::span::{Attributes, Id};
use tracing_core::{Subscriber, dispatcher};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::OtlpLayer;
use super::callsite_table;
use super::identity::Identity;
use super::parent::ParentKind;
use super::recorder::{Recorder, SamplerSubject};
use super::span::OpenSpan;
use crate::clock;
use crate::context::layer_registry::Spans as _;
use crate::context::registry_address::registry_of;

impl OtlpLayer {
    /// Begins a span, unless the level filter leaves it out.
    #[inline(always)]
    pub(super) fn start_span<S>(
        &self,
        recorder: &Recorder,
        attributes: &Attributes<'_>,
        id: &Id,
        context: &Context<'_, S>,
    ) where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let metadata = attributes.metadata();
        let sampling_flags = recorder.config.sampling_flags();
        if recorder.is_filtered(sampling_flags, metadata) {
            return;
        }
        let Some(mut span) = recorder.take_cleared() else {
            return self.refuse(attributes, id, context);
        };
        let parent_kind = self.inherit(
            (recorder, sampling_flags),
            &mut span.identity,
            attributes,
            id,
            context,
        );
        let now = clock::now();
        recorder.identify(&mut span.identity, parent_kind);
        span.name = metadata.name();
        span.state.start = now;
        if parent_kind.asks(sampling_flags) {
            self.fill_as_sampled(&mut span, parent_kind, attributes);
        } else {
            recorder.follow_parent(&mut span.identity, parent_kind == ParentKind::Root);
            if span.identity.is_recording() {
                recorder.fill(&mut span, callsite_table::of(metadata), attributes);
            }
        }
        span.pay_for_context();
        if let Some(older) = recorder.spans.insert(id.into_u64(), span) {
            recorder.finish(older);
        }
        // A layer without a registry has not looked for filters either.
        if recorder.may_be_filtered.load(Ordering::Relaxed) && !self.handle.has_registry() {
            self.find_registry();
        }
    }

    /// Fills a new span if its sampler records it, with the attributes that the sampler adds.
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
            recorder.fill(span, callsite_table::of(metadata), attributes);
            if !added.is_empty() {
                span.note_added(&added);
                recorder.add_key_values(span, &added);
            }
        }
    }

    /// Decides about a span without memory for it, and counts it. Its descendants become children
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
        let subject = SamplerSubject::of(attributes.metadata());
        recorder.decide(&mut identity, parent_kind, &subject, attributes);
        recorder.refuse(&recorder.spans, id.into_u64(), &identity);
    }

    /// Registers the layer's registry, if the thread's current subscriber has this layer.
    #[cold]
    fn find_registry(&self) {
        dispatcher::get_default(|subscriber| {
            if self.recorder.is_in(subscriber) == Some(true) {
                self.handle.set_registry(registry_of(subscriber));
                self.recorder.learn(subscriber);
            }
        });
    }
}
