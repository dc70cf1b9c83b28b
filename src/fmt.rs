//! Trace ids on the log lines of [`tracing_subscriber::fmt`](mod@tracing_subscriber::fmt).
//!
//! ```
//! use tracing_subscriber::prelude::*;
//!
//! # fn main() -> Result<(), tracing_otlp::Error> {
//! let (otlp, _guard) = tracing_otlp::builder().without_env().build()?;
//! let log = tracing_subscriber::fmt::layer().map_event_format(tracing_otlp::fmt::with_trace_ids);
//! # let _ =
//! tracing_subscriber::registry().with(otlp).with(log)
//! # ; Ok(()) }
//! ```
//!
//! A line then ends in `trace_id=4bf92f35… span_id=00f067aa… trace_flags=01`, after the parts that a
//! person reads first; a line of JSON has three more fields at its top. Lines of events outside any
//! trace stay unchanged. The ids are those of [`context::current`], so they also appear in a scope
//! without a span, and in traces that are not sampled.

use std::fmt;

use tracing_core::{Event, Subscriber};
use tracing_subscriber::fmt::format::{Compact, Format, Full, Pretty, Writer};
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::context::{self, TraceContext, layer_registry};

/// Adds the trace ids to the lines of `format`, for
/// [`map_event_format`](tracing_subscriber::fmt::Layer::map_event_format). Works with the formats
/// `Full` (the default), `Compact`, `Pretty` and, with the feature `json`, `Json`.
pub fn with_trace_ids<K, T>(format: Format<K, T>) -> WithTraceIds<Format<K, T>>
where
    Format<K, T>: Clone,
{
    WithTraceIds {
        plain: format.clone().with_ansi(false),
        ansi: format.with_ansi(true),
    }
}

/// An event format with trace ids, made by [`with_trace_ids`].
#[derive(Debug, Clone, Default)]
pub struct WithTraceIds<F> {
    plain: F,
    /// The same with colours. A line is formatted into a buffer first, and the buffer's writer does
    /// not pass on whether the output takes colours.
    ansi: F,
}

impl<F> WithTraceIds<F> {
    /// The line of the inner format.
    fn line<S, N>(
        &self,
        ctx: &FmtContext<'_, S, N>,
        writer: &Writer<'_>,
        event: &Event<'_>,
    ) -> Result<String, fmt::Error>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
        N: for<'a> FormatFields<'a> + 'static,
        F: FormatEvent<S, N>,
    {
        let format = match writer.has_ansi_escapes() {
            true => &self.ansi,
            false => &self.plain,
        };
        let mut line = String::with_capacity(256);
        format.format_event(ctx, Writer::new(&mut line), event)?;
        Ok(line)
    }
}

macro_rules! text {
    ($($kind:ty: $margin:literal),*) => {$(
        impl<S, N, T> FormatEvent<S, N> for WithTraceIds<Format<$kind, T>>
        where
            S: Subscriber + for<'a> LookupSpan<'a>,
            N: for<'a> FormatFields<'a> + 'static,
            T: FormatTime,
        {
            fn format_event(
                &self,
                ctx: &FmtContext<'_, S, N>,
                mut writer: Writer<'_>,
                event: &Event<'_>,
            ) -> fmt::Result {
                let cx = context_of(ctx, event);
                let line = self.line(ctx, &writer, event)?;
                if !cx.is_valid() {
                    return writer.write_str(&line);
                }
                let text = line.trim_end_matches('\n');
                let (dim, end) = match writer.has_ansi_escapes() {
                    true => ("\u{1b}[2m", "\u{1b}[0m"),
                    false => ("", ""),
                };
                let (trace, span, flags) = (cx.trace_id(), cx.span_id(), cx.flags().bits());
                write!(
                    writer,
                    "{text}{}{dim}trace_id={trace} span_id={span} trace_flags={flags:02x}{end}{}",
                    $margin,
                    &line[text.len()..],
                )
            }
        }
    )*};
}

// Pretty prints an event on several lines; the ids get a line of their own.
text!(Full: " ", Compact: " ", Pretty: "\n    ");

#[cfg(feature = "json")]
impl<S, N, T> FormatEvent<S, N> for WithTraceIds<Format<tracing_subscriber::fmt::format::Json, T>>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    T: FormatTime,
{
    fn format_event(
        &self,
        ctx: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let cx = context_of(ctx, event);
        let line = self.line(ctx, &writer, event)?;
        let Some(rest) = line.strip_prefix('{').filter(|_| cx.is_valid()) else {
            return writer.write_str(&line);
        };
        let (trace, span, flags) = (cx.trace_id(), cx.span_id(), cx.flags().bits());
        write!(
            writer,
            r#"{{"trace_id":"{trace}","span_id":"{span}","trace_flags":"{flags:02x}""#
        )?;
        if !rest.trim_start().starts_with('}') {
            writer.write_char(',')?;
        }
        writer.write_str(rest)
    }
}

/// The context of an event: its explicit parent's, or the current one.
fn context_of<S, N>(ctx: &FmtContext<'_, S, N>, event: &Event<'_>) -> TraceContext
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    if event.is_root() {
        return TraceContext::default();
    }
    if event.parent().is_none() {
        let current = context::current();
        if current.is_valid() {
            return current;
        }
        // In a span hidden by a filter, the lookup needs the subscriber. During an event tracing does
        // not give out a thread's own subscriber, but the registry's spans can be searched.
    }
    let own = |span: tracing_subscriber::registry::SpanRef<'_, S>| {
        layer_registry::context_anywhere(span.id().into_u64(), span.metadata())
    };
    let mut scope = ctx.event_scope().into_iter().flatten();
    scope.find_map(own).unwrap_or_default()
}
