//! [`Baggage`]: names and values that an application sends along with a trace (W3C `baggage`).

use std::sync::Arc;

/// Names and values that travel with a request through all services; immutable, and cheap to clone.
/// Takes no memory while it is empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Baggage(Option<Arc<Vec<Member>>>);

/// A name, its value, and what was said about it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Member {
    name: String,
    value: String,
    metadata: String,
}

impl Baggage {
    /// Without a member.
    pub const EMPTY: Self = Self(None);

    /// Whether it has no member.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}
