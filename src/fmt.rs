//! Trace ids on every line of a log, as [`tracing_subscriber::fmt`](mod@tracing_subscriber::fmt) prints it (LOG-4).
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
//! A line then begins with `trace_id=4bf92f35… span_id=00f067aa… trace_flags=01`; a line of JSON has
//! three more fields at its top. Events outside of any trace stay as they are. The ids are those of
//! [`context::current`], so they are there under a scope without a span, and
//! in traces that are not sampled.

use std::fmt;

use tracing_core::{Event, Subscriber};
use tracing_subscriber::fmt::format::{Compact, Format, Full, Pretty, Writer};
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::context::{self, TraceContext, doors};

/// Puts the ids of the trace onto what `format` prints: for
/// [`map_event_format`](tracing_subscriber::fmt::Layer::map_event_format), on any of the formats
/// `Full` (the default), `Compact`, `Pretty` and, with the feature `json`, `Json`.
pub fn with_trace_ids<F>(format: F) -> WithTraceIds<F> {
    WithTraceIds { format }
}

/// An event format with the ids of the trace; from [`with_trace_ids`].
#[derive(Debug, Clone, Default)]
pub struct WithTraceIds<F> {
    format: F,
}

macro_rules! text {
    ($($kind:ty),*) => {$(
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
                if cx.is_valid() {
                    let (trace, span, flags) = (cx.trace_id(), cx.span_id(), cx.flags().bits());
                    write!(writer, "trace_id={trace} span_id={span} trace_flags={flags:02x} ")?;
                }
                self.format.format_event(ctx, writer, event)
            }
        }
    )*};
}

text!(Full, Compact, Pretty);

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
        if !cx.is_valid() {
            return self.format.format_event(ctx, writer, event);
        }
        let mut line = String::with_capacity(256);
        self.format
            .format_event(ctx, Writer::new(&mut line), event)?;
        let Some(rest) = line.strip_prefix('{') else {
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

/// The context that an event belongs to: its own parent's, or the current one.
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
        // In a hidden span of another thread: while an event is under way, a subscriber that is this
        // thread's alone is not found, but the registry's spans are.
    }
    let own = |span: tracing_subscriber::registry::SpanRef<'_, S>| {
        doors::context_anywhere(span.id().into_u64(), span.metadata())
    };
    let mut scope = ctx.event_scope().into_iter().flatten();
    scope.find_map(own).unwrap_or_default()
}
