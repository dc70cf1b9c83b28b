//! [`SetParentError`]: why a span keeps the parent that it has.

use std::fmt;

/// Why a parent was not set; the span stays as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SetParentError {
    /// No layer of this crate is in the span's subscriber.
    LayerNotFound,
    /// The span is not enabled, or is hidden from the layer by a filter, so it is not recorded.
    SpanDisabled,
    /// Children were made already, and carry the trace that the span had then.
    HasChildren,
    /// The span was ended.
    Ended,
    /// It is the span's own context, and a span is not its own child.
    OwnContext,
}

impl fmt::Display for SetParentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LayerNotFound => {
                "the span's subscriber has no layer of tracing-otlp: add the one that the builder returns"
            }
            Self::SpanDisabled => {
                "the span is disabled, by its level or a filter: open a scope with the context instead"
            }
            Self::HasChildren => {
                "the span has children, which carry its trace: set the parent before the first child is made"
            }
            Self::Ended => "the span was ended: set the parent before",
            Self::OwnContext => {
                "the context is the span's own: take the context of its parent, before it is entered"
            }
        })
    }
}

impl std::error::Error for SetParentError {}
