//! [`ReceivedLog`]: a log record as it arrived, and how a test asks for it.

use std::fmt;
use std::ops::{Deref, Index};
use std::sync::Arc;

use super::received::{ReceivedResource, ReceivedScope, ReceivedSpan, missing};
use super::value::{self, ReceivedValue};
use crate::context::{SpanId, TraceId};

/// A log record as it arrived. Cheap to clone; its fields are those of [`LogData`].
///
/// Indexing gives an attribute, and fails with the list of those that the record has:
///
/// ```no_run
/// # let log: tracing_otlp::testing::ReceivedLog = unimplemented!();
/// assert_eq!(log.message(), "only one left");
/// assert_eq!(log.severity_text, "WARN");
/// assert_eq!(log["article"], 4711);
/// ```
#[derive(Clone, PartialEq)]
pub struct ReceivedLog(pub(super) Arc<LogData>);

/// The fields of a [`ReceivedLog`], as the message had them.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct LogData {
    /// When it happened, in nanoseconds since 1970; zero if that is unknown.
    pub unix_nanos: u64,
    /// When it was noticed, in nanoseconds since 1970.
    pub observed_unix_nanos: u64,
    /// 1 to 24; zero if there is none.
    pub severity_number: i32,
    /// What the source calls it, empty if there is none.
    pub severity_text: String,
    /// What it says; `None` if it says nothing.
    pub body: Option<ReceivedValue>,
    /// In order of arrival, duplicates kept.
    pub attributes: Vec<(String, ReceivedValue)>,
    /// Attributes left out by the sender.
    pub dropped_attributes: u32,
    /// W3C flags.
    pub flags: u32,
    /// `None` outside of any trace: the field was empty or missing. All zero if the message's had another
    /// length than 16.
    pub trace_id: Option<TraceId>,
    /// `None` outside of any span. All zero if the message's had another length than 8.
    pub span_id: Option<SpanId>,
    /// Empty if the record is no event.
    pub event_name: String,
    /// The instrumentation scope it came under.
    pub scope: Arc<ReceivedScope>,
    /// The resource it came under.
    pub resource: Arc<ReceivedResource>,
}

impl ReceivedLog {
    /// The body as text; empty if there is none, or it is no text.
    pub fn message(&self) -> &str {
        let body = self.0.body.as_ref();
        body.and_then(ReceivedValue::as_str).unwrap_or_default()
    }

    /// The first attribute under `key`.
    pub fn attr(&self, key: &str) -> Option<&ReceivedValue> {
        value::find(&self.0.attributes, key)
    }

    /// Whether it names `span` as the one that it happened in.
    pub fn is_of(&self, span: &ReceivedSpan) -> bool {
        self.0.trace_id == Some(span.trace_id) && self.0.span_id == Some(span.span_id)
    }
}

impl Deref for ReceivedLog {
    type Target = LogData;

    fn deref(&self) -> &LogData {
        &self.0
    }
}

impl fmt::Debug for ReceivedLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Index<&str> for ReceivedLog {
    type Output = ReceivedValue;

    #[track_caller]
    fn index(&self, key: &str) -> &ReceivedValue {
        match self.attr(key) {
            Some(value) => value,
            None => missing("log record", self.message(), key, &self.0.attributes),
        }
    }
}
