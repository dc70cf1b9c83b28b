//! Suppression: spans and events of the exporter's own threads are not recorded (EH-3).

use std::cell::Cell;

thread_local! {
    static SUPPRESSED: Cell<bool> = const { Cell::new(false) };
}

/// Marks the calling thread as the exporter's own, until it ends.
pub(crate) fn mark_thread() {
    let _ = SUPPRESSED.try_with(|s| s.set(true));
}

/// Whether the calling thread is the exporter's own. Also true once its thread locals are destroyed:
/// nothing can be recorded there any more.
#[inline]
pub(crate) fn is_suppressed() -> bool {
    SUPPRESSED.try_with(Cell::get).unwrap_or(true)
}
