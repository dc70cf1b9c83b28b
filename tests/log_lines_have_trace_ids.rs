//! The lines of the fmt layer carry the ids of the trace (LOG-4), as text and as JSON.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod capture;

use std::io::Write;
use std::sync::{Arc, Mutex};

use capture::layer;
use tracing::{error, info, info_span};
use tracing_otlp::fmt::with_trace_ids;
use tracing_otlp::{SpanExt as _, SpanId, TraceContext, TraceFlags, TraceId, context};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{Layer, Registry};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// What a log with this layer prints of one event in every situation, with the context of each.
fn print<L>(log: impl FnOnce(Lines) -> L) -> Vec<(String, TraceContext)>
where
    L: Layer<tracing_subscriber::layer::Layered<tracing_otlp::OtlpLayer, Registry>> + Send + Sync,
{
    let lines = Lines::default();
    let (otlp, _capture) = layer();
    let mut contexts = Vec::new();
    let subscriber = tracing_subscriber::registry()
        .with(otlp)
        .with(log(lines.clone()));
    tracing::subscriber::with_default(subscriber, || {
        info!("apart");
        contexts.push(TraceContext::default());
        let span = info_span!("span", field = "}");
        let own = span.trace_context();
        span.in_scope(|| info!(answer = 42, "in a span"));
        contexts.push(own.clone());
        error!(parent: &span, "of a span");
        contexts.push(own.clone());
        span.in_scope(|| info!(parent: None, "apart, by its word"));
        contexts.push(TraceContext::default());
        let scope = TraceContext::new(
            TraceId::from_bytes([1; 16]),
            SpanId::from_bytes([2; 8]),
            TraceFlags::default(),
        );
        context::sync_scope(scope.clone(), || info!("without a span, unsampled"));
        contexts.push(scope);
    });
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<_> = text.lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), contexts.len(), "{text}");
    lines.into_iter().zip(contexts).collect()
}

fn flags(cx: &TraceContext) -> String {
    format!("{:02x}", cx.flags().bits())
}

#[test]
fn text_begins_with_the_ids() {
    let full = print(|lines| {
        tracing_subscriber::fmt::layer()
            .with_writer(lines)
            .map_event_format(with_trace_ids)
    });
    let compact = print(|lines| {
        tracing_subscriber::fmt::layer()
            .with_writer(lines)
            .compact()
            .map_event_format(with_trace_ids)
    });
    for (line, cx) in full.into_iter().chain(compact) {
        let ids = format!(
            "trace_id={} span_id={} trace_flags={} ",
            cx.trace_id(),
            cx.span_id(),
            flags(&cx)
        );
        assert_eq!(line.starts_with(&ids), cx.is_valid(), "{line}");
        assert_eq!(line.contains("trace_id="), cx.is_valid(), "{line}");
    }
}

#[test]
fn json_has_the_ids_at_its_top() {
    let lines = print(|lines| {
        tracing_subscriber::fmt::layer()
            .with_writer(lines)
            .json()
            .map_event_format(with_trace_ids)
    });
    for (line, cx) in lines {
        let json: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert!(json["fields"]["message"].is_string(), "{line}");
        if cx.is_valid() {
            assert_eq!(json["trace_id"], cx.trace_id().to_string());
            assert_eq!(json["span_id"], cx.span_id().to_string());
            assert_eq!(json["trace_flags"], flags(&cx));
        } else {
            assert!(json.get("trace_id").is_none(), "{line}");
        }
    }
}
