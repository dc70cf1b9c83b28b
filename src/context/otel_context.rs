//! The seam for another API's idea of what is current, such as `opentelemetry::Context`.
//!
//! It is told of every span entered and scope opened, so what it has current is either one of those,
//! or was made current by its own users since: then that is the innermost.

use once_cell::race::OnceBox;

use super::TraceContext;

pub(crate) trait ContextObserver: Send + Sync {
    /// A layer's span was entered, or a scope opened, on this thread. `parent`: the id of the span's
    /// parent, zero for a root and for a scope.
    fn entered(&self, layer: u32, span: u64, context: &TraceContext, parent: [u8; 8]);

    /// Its context is another from now on.
    fn changed(&self, layer: u32, span: u64, context: &TraceContext);

    /// It was left, perhaps out of order, perhaps never entered while this was told.
    fn left(&self, layer: u32, span: u64);

    /// What the other API has current on this thread, if that is a span, and not what this was told of
    /// last.
    fn current(&self) -> Option<TraceContext>;
}

static OBSERVER: OnceBox<&'static dyn ContextObserver> = OnceBox::new();

/// From here on, also scopes are told of.
#[cfg_attr(
    not(feature = "opentelemetry"),
    allow(dead_code, reason = "there is no other API")
)]
pub(crate) fn set(observer: &'static dyn ContextObserver) {
    let _ = OBSERVER.set(Box::new(observer));
}

#[inline]
pub(super) fn get() -> Option<&'static dyn ContextObserver> {
    OBSERVER.get().copied()
}
