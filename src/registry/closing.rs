//! The call within a close that tells the layers of it.

use std::cell::Cell;

thread_local! {
    /// Registry and span; zero for none.
    static TOLD: Cell<(u32, u64)> = const { Cell::new((0, 0)) };
}

/// Makes the call. The layers are told by a close that the registry answers with true. A subscriber around the
/// layers may close another span before it passes the call on: that is such a call within this one.
#[inline(always)]
pub(super) fn tell(registry: u32, span: u64, close: impl FnOnce() -> bool) {
    let around = TOLD.try_with(|told| told.replace((registry, span)));
    close();
    let _ = TOLD.try_with(|told| told.set(around.unwrap_or_default()));
}

/// Whether this close is that call; true once.
#[inline(always)]
pub(super) fn is_told(registry: u32, span: u64) -> bool {
    TOLD.try_with(|told| {
        let is_told = told.get() == (registry, span);
        if is_told {
            told.set((0, 0));
        }
        is_told
    })
    .unwrap_or(false)
}
