//! The lines of the fmt layer carry the ids of the trace (LOG-4), as text and as JSON.

use std::io::Write;
use std::sync::{Arc, Mutex};

use crate::capture::layer;
use tracing::{error, info, info_span};
use tracing_otlp::context::TraceFlags;
use tracing_otlp::fmt::with_trace_ids;
use tracing_otlp::{SpanExt as _, SpanId, TraceContext, TraceId, context};
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
fn text_ends_with_the_ids() {
    let full = print(|lines| {
        tracing_subscriber::fmt::layer()
            .with_writer(lines)
            .with_ansi(false)
            .map_event_format(with_trace_ids)
    });
    let compact = print(|lines| {
        tracing_subscriber::fmt::layer()
            .with_writer(lines)
            .with_ansi(false)
            .compact()
            .map_event_format(with_trace_ids)
    });
    for (line, cx) in full.into_iter().chain(compact) {
        let (trace, span, flags) = (cx.trace_id(), cx.span_id(), flags(&cx));
        let ids = format!(" trace_id={trace} span_id={span} trace_flags={flags}");
        assert_eq!(line.trim_end().ends_with(&ids), cx.is_valid(), "{line}");
        assert_eq!(line.contains("trace_id="), cx.is_valid(), "{line}");
        assert!(!line.contains('\u{1b}'), "{line:?}");
        // What a person reads first stands first: the time.
        assert!(line.starts_with("20"), "{line}");
    }
}

#[test]
fn colours_stay_and_the_ids_are_dim() {
    let lines = print(|lines| {
        tracing_subscriber::fmt::layer()
            .with_writer(lines)
            .with_ansi(true)
            .map_event_format(with_trace_ids)
    });
    for (line, cx) in lines {
        assert!(line.contains("\u{1b}[3"), "{line:?}");
        let has_ids = line.contains(&format!("\u{1b}[2mtrace_id={}", cx.trace_id()));
        assert_eq!(has_ids, cx.is_valid(), "{line:?}");
    }
}

#[test]
fn pretty_has_a_line_for_the_ids() {
    let lines = Lines::default();
    let (layer, _guard) = tracing_otlp::builder().without_env().build().unwrap();
    let log = tracing_subscriber::fmt::layer()
        .with_writer(lines.clone())
        .with_ansi(false)
        .pretty()
        .map_event_format(with_trace_ids);
    let subscriber = tracing_subscriber::registry().with(layer).with(log);
    let cx = tracing::subscriber::with_default(subscriber, || {
        info_span!("span").in_scope(|| {
            info!("in a span");
            context::current()
        })
    });
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let ids = format!("\n    trace_id={} span_id={}", cx.trace_id(), cx.span_id());
    assert!(text.contains(&ids) && text.ends_with("\n\n"), "{text}");
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

#[test]
fn a_line_in_a_hidden_span_of_another_thread_has_ids_and_flags_are_w3c_s() {
    let lines = Lines::default();
    let (otlp, _capture) = layer();
    let log = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_writer(lines.clone());
    let subscriber = tracing_subscriber::registry()
        .with(otlp.with_filter(tracing::level_filters::LevelFilter::INFO))
        .with(log.map_event_format(with_trace_ids));
    // Of one thread at a time: so it is not the one that everybody finds.
    let dispatch = tracing::Dispatch::new(subscriber);
    let debug = TraceContext::new(
        TraceId::from_bytes([7; 16]),
        SpanId::from_bytes([8; 8]),
        TraceFlags::DEBUG,
    );
    let (own, hidden) = tracing::dispatcher::with_default(&dispatch, || {
        let outer = context::sync_scope(debug, || info_span!("outer"));
        let hidden = outer.in_scope(|| tracing::debug_span!("hidden"));
        (outer.trace_context(), hidden)
    });
    let work =
        || tracing::dispatcher::with_default(&dispatch, || hidden.in_scope(|| info!("there")));
    std::thread::scope(|s| s.spawn(work).join().unwrap());
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let (trace, span) = (own.trace_id(), own.span_id());
    let ids = format!(" trace_id={trace} span_id={span} trace_flags=01\n");
    assert!(text.ends_with(&ids), "{text}");
}
