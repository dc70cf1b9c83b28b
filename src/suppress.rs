//! Which threads are the exporter's own: what they record is never captured (EH-3).

use std::cell::Cell;

thread_local! {
    static SUPPRESSED: Cell<bool> = const { Cell::new(false) };
}

/// Marks the calling thread, for its whole life, as one whose spans are the exporter's own.
pub(crate) fn mark_thread() {
    let _ = SUPPRESSED.try_with(|s| s.set(true));
}

/// Whether spans and events of the calling thread are the exporter's own. A thread whose locals
/// are already gone answers yes: nothing can be captured there any more.
#[inline]
pub(crate) fn is_suppressed() -> bool {
    SUPPRESSED.try_with(Cell::get).unwrap_or(true)
}
