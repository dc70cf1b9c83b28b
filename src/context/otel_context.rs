//! [`ContextObserver`]: keeps another API's current context, such as `opentelemetry::Context`, in step
//! with ours.
//!
//! The observer receives every entered span and opened scope. If its API has another context current,
//! then a user of that API set it later, so it is the innermost.

use once_cell::race::OnceBox;

use super::TraceContext;

pub(crate) trait ContextObserver: Send + Sync {
    /// A layer's span was entered, or a scope opened, on this thread. `parent` is the id of the span's
    /// parent, zero for a root and for a scope.
    fn entered(&self, layer: u32, span: u64, context: &TraceContext, parent: [u8; 8]);

    /// The span's context has changed.
    fn changed(&self, layer: u32, span: u64, context: &TraceContext);

    /// The span was left, or the scope closed; perhaps out of order, perhaps entered before the observer
    /// was installed.
    fn left(&self, layer: u32, span: u64);

    /// The span that the other API has current on this thread; `None` if there is none, or if it is the
    /// last one received from us.
    fn current(&self) -> Option<TraceContext>;
}

static OBSERVER: OnceBox<&'static dyn ContextObserver> = OnceBox::new();

/// Installs the observer of the process.
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
