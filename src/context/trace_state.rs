//! [`TraceState`]: what vendors tell each other along a trace (W3C `tracestate`).

use std::sync::Arc;

/// The members of W3C's `tracestate`, in order; immutable, and cheap to clone. Takes no memory while
/// it is empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct TraceState(Option<Arc<str>>);

impl TraceState {
    /// Without a member.
    pub const EMPTY: Self = Self(None);

    /// Whether it has no member.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The header's text; empty without members.
    #[inline]
    pub fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }
}
