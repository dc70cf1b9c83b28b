//! Spans that arrived, in plain types: [`ReceivedSpan`] and its parts.
//!
//! Public fields, no foreign type: a test reads them and a new version of a decoder breaks nothing.

use std::fmt;
use std::ops::{Deref, Index};
use std::sync::Arc;
use std::time::Duration;

use super::value::{self, ReceivedValue};
use crate::context::{SpanId, TraceId};

/// A span as it arrived. Cheap to clone; its fields are those of [`SpanData`].
///
/// Indexing gives an attribute, and fails with the list of those that the span has:
///
/// ```no_run
/// # let span: tracing_otlp::testing::ReceivedSpan = unimplemented!();
/// assert_eq!(span.name, "GET /users/{id}");
/// assert_eq!(span["http.response.status_code"], 200);
/// assert!(span.attr("error.type").is_none());
/// ```
#[derive(Clone, PartialEq)]
pub struct ReceivedSpan(pub(super) Arc<SpanData>);

/// The fields of a [`ReceivedSpan`], as the message had them.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct SpanData {
    /// All zero if the message's had another length than 16.
    pub trace_id: TraceId,
    /// All zero if the message's had another length than 8.
    pub span_id: SpanId,
    /// `None` for a root: the field was empty or missing.
    pub parent_span_id: Option<SpanId>,
    /// W3C `tracestate`, empty if there is none.
    pub trace_state: String,
    /// W3C flags in bits 0 to 7; 0x100: it is known whether the parent is remote, 0x200: it is.
    pub flags: u32,
    /// The span's name.
    pub name: String,
    /// Its kind.
    pub kind: ReceivedKind,
    /// When it began, in nanoseconds since 1970.
    pub start_unix_nanos: u64,
    /// When it ended, in nanoseconds since 1970.
    pub end_unix_nanos: u64,
    /// In order of arrival, duplicates kept.
    pub attributes: Vec<(String, ReceivedValue)>,
    /// Attributes left out by the sender.
    pub dropped_attributes: u32,
    /// In order of arrival.
    pub events: Vec<ReceivedEvent>,
    /// Events left out by the sender.
    pub dropped_events: u32,
    /// In order of arrival.
    pub links: Vec<ReceivedLink>,
    /// Links left out by the sender.
    pub dropped_links: u32,
    /// Its status.
    pub status: ReceivedStatus,
    /// The instrumentation scope it came under.
    pub scope: Arc<ReceivedScope>,
    /// The resource it came under.
    pub resource: Arc<ReceivedResource>,
}

/// An event of a span.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ReceivedEvent {
    /// Its name.
    pub name: String,
    /// When, in nanoseconds since 1970.
    pub unix_nanos: u64,
    /// In order of arrival, duplicates kept.
    pub attributes: Vec<(String, ReceivedValue)>,
    /// Attributes left out by the sender.
    pub dropped_attributes: u32,
}

/// A link of a span.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ReceivedLink {
    /// The trace that is pointed to; all zero if the message's had another length than 16.
    pub trace_id: TraceId,
    /// The span that is pointed to; all zero if the message's had another length than 8.
    pub span_id: SpanId,
    /// W3C `tracestate` of the linked context.
    pub trace_state: String,
    /// Flags of the linked context, with the remote bits as in [`SpanData::flags`].
    pub flags: u32,
    /// In order of arrival, duplicates kept.
    pub attributes: Vec<(String, ReceivedValue)>,
    /// Attributes left out by the sender.
    pub dropped_attributes: u32,
}

/// The kind of a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReceivedKind {
    /// 0, which a sender must not use.
    Unspecified,
    /// Work within the application.
    Internal,
    /// Answers a remote caller.
    Server,
    /// Calls a remote service.
    Client,
    /// Hands a message over.
    Producer,
    /// Works on a message.
    Consumer,
    /// A number that OTLP does not define.
    Unknown(i32),
}

impl fmt::Display for ReceivedKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Unspecified => "unspecified",
            Self::Internal => "internal",
            Self::Server => "server",
            Self::Client => "client",
            Self::Producer => "producer",
            Self::Consumer => "consumer",
            Self::Unknown(_) => "unknown",
        })
    }
}

/// The status of a span.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReceivedStatus {
    /// Unset unless the application said otherwise.
    pub code: ReceivedStatusCode,
    /// Empty if there is none.
    pub message: String,
}

impl ReceivedStatus {
    /// Whether the code is `ERROR`.
    pub fn is_error(&self) -> bool {
        self.code == ReceivedStatusCode::Error
    }
}

/// The code of a [`ReceivedStatus`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReceivedStatusCode {
    /// Nothing was said.
    Unset,
    /// The application declared it a success.
    Ok,
    /// It failed.
    Error,
    /// A number that OTLP does not define.
    Unknown(i32),
}

/// The instrumentation scope of spans.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct ReceivedScope {
    /// The name of the instrumenting library, empty if there is none.
    pub name: String,
    /// Its version, empty if there is none.
    pub version: String,
    /// In order of arrival, duplicates kept.
    pub attributes: Vec<(String, ReceivedValue)>,
    /// Attributes left out by the sender.
    pub dropped_attributes: u32,
    /// `ScopeSpans.schema_url`, empty if there is none.
    pub schema_url: String,
}

/// Who sent the spans.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct ReceivedResource {
    /// In order of arrival, duplicates kept.
    pub attributes: Vec<(String, ReceivedValue)>,
    /// Attributes left out by the sender.
    pub dropped_attributes: u32,
    /// `ResourceSpans.schema_url`, empty if there is none.
    pub schema_url: String,
}

impl ReceivedSpan {
    /// The first attribute under `key`.
    pub fn attr(&self, key: &str) -> Option<&ReceivedValue> {
        value::find(&self.0.attributes, key)
    }

    /// The first event of that name.
    pub fn event(&self, name: &str) -> Option<&ReceivedEvent> {
        self.0.events.iter().find(|e| e.name == name)
    }

    /// From start to end; zero if it ended before it began.
    pub fn duration(&self) -> Duration {
        Duration::from_nanos(self.end_unix_nanos.saturating_sub(self.start_unix_nanos))
    }

    /// Whether it names `parent` as its parent, in the same trace.
    pub fn is_child_of(&self, parent: &ReceivedSpan) -> bool {
        self.0.trace_id == parent.trace_id && self.0.parent_span_id == Some(parent.span_id)
    }
}

impl Deref for ReceivedSpan {
    type Target = SpanData;

    fn deref(&self) -> &SpanData {
        &self.0
    }
}

impl fmt::Debug for ReceivedSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Index<&str> for ReceivedSpan {
    type Output = ReceivedValue;

    #[track_caller]
    fn index(&self, key: &str) -> &ReceivedValue {
        match self.attr(key) {
            Some(value) => value,
            None => missing("span", &self.0.name, key, &self.0.attributes),
        }
    }
}

impl ReceivedEvent {
    /// The first attribute under `key`.
    pub fn attr(&self, key: &str) -> Option<&ReceivedValue> {
        value::find(&self.attributes, key)
    }
}

impl Index<&str> for ReceivedEvent {
    type Output = ReceivedValue;

    #[track_caller]
    fn index(&self, key: &str) -> &ReceivedValue {
        match self.attr(key) {
            Some(value) => value,
            None => missing("event", &self.name, key, &self.attributes),
        }
    }
}

impl ReceivedLink {
    /// The first attribute under `key`.
    pub fn attr(&self, key: &str) -> Option<&ReceivedValue> {
        value::find(&self.attributes, key)
    }
}

impl ReceivedScope {
    /// The first attribute under `key`.
    pub fn attr(&self, key: &str) -> Option<&ReceivedValue> {
        value::find(&self.attributes, key)
    }
}

impl ReceivedResource {
    /// The first attribute under `key`.
    pub fn attr(&self, key: &str) -> Option<&ReceivedValue> {
        value::find(&self.attributes, key)
    }
}

impl Index<&str> for ReceivedResource {
    type Output = ReceivedValue;

    #[track_caller]
    fn index(&self, key: &str) -> &ReceivedValue {
        match self.attr(key) {
            Some(value) => value,
            None => missing("resource", "", key, &self.attributes),
        }
    }
}

#[track_caller]
pub(super) fn missing(
    what: &str,
    name: &str,
    key: &str,
    attributes: &[(String, ReceivedValue)],
) -> ! {
    let keys: Vec<_> = attributes.iter().map(|(k, _)| k.as_str()).collect();
    panic!("{what} {name:?} has no attribute {key:?}, it has {keys:?}")
}
