//! [`ManualSpans`]: spans of the OpenTelemetry API, which have no registry.
//!
//! They share the recorder with `tracing`'s spans and have a table of their own, keyed by span id. So
//! spans of either kind can be parents of the other and belong to one local trace.

use std::time::SystemTime;

use tracing_core::Level;

use super::OtlpLayer;
use super::edit::{SpanEditor, unix_nanos};
use super::identity::Identity;
use super::open_spans::OpenSpans;
use super::recorder::{Recorder, SamplerSubject};
use super::settings::ExportMode;
use crate::attribute::{KeyValue, Value};
use crate::clock;
use crate::context::TraceContext;
use crate::context::layer_registry::Change;
use crate::processor::ScopeId;
use crate::sampler::Fields;
use crate::span_data::SpanKind;
use crate::suppress::is_suppressed;
use crate::sync::Arc;
use crate::wire::request::ScopeFields;

/// The OpenTelemetry API has no levels.
const LEVEL: Level = Level::INFO;

/// Starts, changes and ends spans without a registry.
#[derive(Clone)]
pub(crate) struct ManualSpans(Arc<Recorder>);

/// A span of the OpenTelemetry API at its start.
pub(crate) struct NewSpan<'a> {
    /// Whether the caller's context suppresses telemetry, as during an export (EH-3).
    pub(crate) is_suppressed: bool,
    pub(crate) name: &'a str,
    pub(crate) kind: SpanKind,
    /// Not valid for a root.
    pub(crate) parent: &'a TraceContext,
    pub(crate) start: Option<SystemTime>,
    pub(crate) attributes: &'a [KeyValue],
    pub(crate) scope: ScopeId,
    /// The name of its instrumentation scope, which the filter takes for a target.
    pub(crate) target: &'a str,
}

impl OtlpLayer {
    /// A handle for spans without a registry.
    pub(crate) fn free_spans(&self) -> ManualSpans {
        ManualSpans(Arc::clone(&self.recorder))
    }
}

impl ManualSpans {
    /// An instrumentation scope for spans; with too many scopes the common one, and `false`.
    pub(crate) fn register_scope(&self, scope: ScopeFields<'_>) -> (ScopeId, bool) {
        let sink = self.0.here().sink.as_ref();
        sink.map_or_else(|| (ScopeId::default(), true), |o| o.register(scope))
    }

    /// Whether entering a span changes the OpenTelemetry context.
    pub(crate) fn follows_context(&self) -> bool {
        self.0.settings.observer.is_some()
    }

    /// Starts a span; returns its context, and whether the span records.
    pub(crate) fn start(&self, new: &NewSpan<'_>) -> (TraceContext, bool) {
        let recorder = self.0.here();
        let is_disabled = recorder.settings.export_mode == ExportMode::Disabled
            || new.is_suppressed
            || is_suppressed()
            || !recorder.config.admits(new.target, LEVEL);
        if is_disabled {
            return (new.parent.clone(), false);
        }
        let Some(mut span) = recorder.take_cleared() else {
            return self.refuse(new);
        };
        let parent_kind = recorder.inherit_context(&mut span.identity, new.parent);
        let now = clock::now();
        recorder.identify(&mut span.identity, parent_kind);
        let subject = SamplerSubject::new(new.name, new.target, LEVEL);
        let added = recorder.decide(&mut span.identity, parent_kind, &subject, new);
        span.state.start = now;
        span.state.start_given = new.start.map_or(0, unix_nanos);
        if span.identity.is_recording() {
            span.set_name(new.name);
            span.otel_fields.kind = Some(new.kind);
            span.scope = new.scope;
            if let Some(sink) = &recorder.sink {
                sink.begin(&mut span.identity);
            }
            recorder.add_key_values(&mut span, new.attributes);
            recorder.add_key_values(&mut span, &added);
        }
        span.pay_for_context();
        let is_recording = span.identity.is_recording();
        let context = span.identity.context();
        if is_recording {
            let older = self.table().insert(key(&context), span);
            // Two random ids are equal: the older span ends.
            older.into_iter().for_each(|span| recorder.finish(span));
        } else {
            self.table().count_unsampled(key(&context));
        }
        (context, is_recording)
    }

    /// Decides about a span without memory for it, and counts it. Its descendants become children
    /// of its parent.
    #[cold]
    fn refuse(&self, new: &NewSpan<'_>) -> (TraceContext, bool) {
        let recorder = self.0.here();
        let mut identity = Identity::default();
        let parent_kind = recorder.inherit_context(&mut identity, new.parent);
        recorder.identify(&mut identity, parent_kind);
        let subject = SamplerSubject::new(new.name, new.target, LEVEL);
        recorder.decide(&mut identity, parent_kind, &subject, new);
        let table = self.table();
        recorder.refuse(table, key(&identity.context()), &identity);
        (new.parent.clone(), false)
    }

    pub(crate) fn change(&self, span: &TraceContext, change: &Change<'_>) {
        self.editor().change(key(span), change);
    }

    /// Ends a span, and forgets it.
    pub(crate) fn end(&self, span: &TraceContext, at: Option<SystemTime>) {
        let end = clock::now();
        if let Some(mut span) = self.table().remove(key(span)) {
            span.state.end_given = at.map_or(0, unix_nanos);
            self.0.here().finish_early(span, end);
        }
    }

    fn table(&self) -> &OpenSpans {
        self.0
            .here()
            .manual
            .get_or_init(|| Box::new(OpenSpans::new()))
    }

    fn editor(&self) -> SpanEditor<'_> {
        SpanEditor {
            recorder: self.0.here(),
            spans: self.table(),
        }
    }
}

fn key(span: &TraceContext) -> u64 {
    u64::from_be_bytes(span.span_id().to_bytes())
}

impl Fields for NewSpan<'_> {
    fn value(&self, key: &str) -> Option<Value> {
        match key {
            "otel.kind" => Some(self.kind.name().into()),
            _ => self.attributes.value(key),
        }
    }
}
