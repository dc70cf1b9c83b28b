//! [`SetParentError`]: why a span kept its parent.

use std::fmt;

/// Why a span's parent was not set. The span is unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SetParentError {
    /// No layer of this crate is in the span's subscriber.
    LayerNotFound,
    /// The span is not enabled, or is hidden from the layer by a filter, so it is not recorded.
    SpanDisabled,
    /// The span has children already, and they carry its trace id.
    HasChildren,
    /// The span was ended.
    Ended,
    /// The context is that of the span itself.
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
