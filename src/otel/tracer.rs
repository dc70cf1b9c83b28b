//! A tracer of the OpenTelemetry API whose spans enter this pipeline.

use std::borrow::Cow;
use std::fmt;
use std::time::SystemTime;

use opentelemetry::trace::{self as otel, SpanBuilder, SpanContext, TraceContextExt as _};
use opentelemetry::{Context, InstrumentationScope, KeyValue};

use super::activation::parent_in;
use super::convert::key_values;
use crate::context::layer_registry::Change;
use crate::context::{self, TraceContext};
use crate::layer::{ManualSpans, NewSpan, OtlpLayer};
use crate::processor::ScopeId;
use crate::semconv;
use crate::wire::request::ScopeFields;

/// Makes tracers for code that is instrumented with the OpenTelemetry API.
///
/// Their spans go through the same sampler, limits, tail decisions, queue and exporter as those of the
/// layer it was made for, and are children and parents of `tracing` spans: with
/// [context activation](crate::OtlpBuilder::with_context_activation) in whatever order the two APIs are
/// nested; without, a span that is started outside of any OpenTelemetry span is a child of the current
/// `tracing` span. It works until the pipeline is shut down, also after the drop of the layer.
#[derive(Clone)]
pub struct TracerProvider {
    spans: ManualSpans,
}

impl TracerProvider {
    /// Tracers of this layer's pipeline.
    pub fn new(layer: &OtlpLayer) -> Self {
        Self {
            spans: layer.free_spans(),
        }
    }
}

impl fmt::Debug for TracerProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TracerProvider").finish_non_exhaustive()
    }
}

/// A pipeline keeps up to 1,000 instrumentation scopes apart. The spans of further tracers go out under
/// the pipeline's own scope, with the name as the attribute `otel.scope.name`; a warning reports it once.
impl otel::TracerProvider for TracerProvider {
    type Tracer = Tracer;

    fn tracer_with_scope(&self, scope: InstrumentationScope) -> Tracer {
        let attributes = key_values(scope.attributes().cloned());
        let (id, is_own) = self.spans.register_scope(ScopeFields {
            name: scope.name(),
            version: scope.version().unwrap_or_default(),
            attributes: &attributes,
            schema_url: scope.schema_url().unwrap_or_default(),
        });
        Tracer {
            scope: id,
            is_own,
            name: scope.name().to_owned().into(),
            spans: self.spans.clone(),
        }
    }
}

/// Starts spans; from [`TracerProvider`].
#[derive(Clone)]
pub struct Tracer {
    spans: ManualSpans,
    scope: ScopeId,
    /// Whether the tracer has a scope of its own, not the pipeline's.
    is_own: bool,
    name: std::sync::Arc<str>,
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracer")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl otel::Tracer for Tracer {
    type Span = TracerSpan;

    fn build_with_context(&self, builder: SpanBuilder, parent_cx: &Context) -> TracerSpan {
        let parent = if parent_cx.has_active_span() || self.spans.follows_context() {
            parent_in(parent_cx)
        } else {
            context::current()
        };
        let mut attributes = key_values(builder.attributes.into_iter().flatten());
        if !self.is_own {
            let name =
                crate::attribute::KeyValue::new(semconv::OTEL_SCOPE_NAME, self.name.to_string());
            attributes.push(name);
        }
        let (context, is_recording) = self.spans.start(&NewSpan {
            is_suppressed: parent_cx.is_telemetry_suppressed(),
            name: &builder.name,
            kind: builder.span_kind.unwrap_or(otel::SpanKind::Internal).into(),
            parent: &parent,
            start: builder.start_time,
            attributes: &attributes,
            scope: self.scope,
            target: &self.name,
        });
        let mut span = TracerSpan {
            spans: self.spans.clone(),
            span_context: (&context).into(),
            context,
            is_recording,
        };
        for event in builder.events.into_iter().flatten() {
            otel::Span::add_event_with_timestamp(
                &mut span,
                event.name,
                event.timestamp,
                event.attributes,
            );
        }
        for link in builder.links.into_iter().flatten() {
            otel::Span::add_link(&mut span, link.span_context, link.attributes);
        }
        span
    }
}

/// A span of the OpenTelemetry API in this pipeline; its drop ends it, if nothing did before.
pub struct TracerSpan {
    spans: ManualSpans,
    context: TraceContext,
    span_context: SpanContext,
    is_recording: bool,
}

impl fmt::Debug for TracerSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TracerSpan")
            .field("context", &self.context)
            .field("is_recording", &self.is_recording)
            .finish_non_exhaustive()
    }
}

impl TracerSpan {
    fn change(&self, change: &Change<'_>) {
        if self.is_recording {
            self.spans.change(&self.context, change);
        }
    }

    fn finish(&mut self, at: Option<SystemTime>) {
        if std::mem::take(&mut self.is_recording) {
            self.spans.end(&self.context, at);
        }
    }
}

impl otel::Span for TracerSpan {
    fn add_event<T>(&mut self, name: T, attributes: Vec<KeyValue>)
    where
        T: Into<Cow<'static, str>>,
    {
        self.change(&Change::Event {
            name: &name.into(),
            at: None,
            attributes: &key_values(attributes),
        });
    }

    fn add_event_with_timestamp<T>(&mut self, name: T, at: SystemTime, attributes: Vec<KeyValue>)
    where
        T: Into<Cow<'static, str>>,
    {
        self.change(&Change::Event {
            name: &name.into(),
            at: Some(at),
            attributes: &key_values(attributes),
        });
    }

    fn span_context(&self) -> &SpanContext {
        &self.span_context
    }

    fn is_recording(&self) -> bool {
        self.is_recording
    }

    fn set_attribute(&mut self, attribute: KeyValue) {
        self.change(&Change::Attributes(&[attribute.into()]));
    }

    fn set_status(&mut self, status: otel::Status) {
        self.change(&Change::Status(&status.into()));
    }

    fn update_name<T>(&mut self, name: T)
    where
        T: Into<Cow<'static, str>>,
    {
        self.change(&Change::Name(&name.into()));
    }

    fn add_link(&mut self, to: SpanContext, attributes: Vec<KeyValue>) {
        self.change(&Change::Link(&(&to).into(), &key_values(attributes)));
    }

    fn end(&mut self) {
        self.finish(None);
    }

    fn end_with_timestamp(&mut self, at: SystemTime) {
        self.finish(Some(at));
    }
}

impl Drop for TracerSpan {
    fn drop(&mut self) {
        self.finish(None);
    }
}
