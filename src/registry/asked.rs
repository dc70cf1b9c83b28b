//! Whether a layer looks for the current span.
//!
//! A layer with a filter of its own looks for the current span by [`Context::lookup_current`], which asks the
//! registry for the current id and then for that span. If the filter hides it, the next entered span is meant.
//! tracing-subscriber finds that one in the stack of its own `Registry` only, so here the span itself looks
//! for it (`span_data`). A look-up by an id that is not this question must find the span of the id: so it is
//! one only while an event or a new span is told to the layers, where no filter is asked about an id.
//!
//! [`Context::lookup_current`]: tracing_subscriber::layer::Context::lookup_current

use std::cell::Cell;

const NOTHING: u64 = 0;

/// No question counts until the next event or new span; no id has this value.
const CLOSED: u64 = u64::MAX;

thread_local! {
    static ASKED: Cell<u64> = const { Cell::new(CLOSED) };
}

/// A callback begins; `may_ask` for events and new spans.
pub(super) fn begin(may_ask: bool) {
    let _ = ASKED.try_with(|asked| asked.set(if may_ask { NOTHING } else { CLOSED }));
}

/// The current span was asked for.
pub(super) fn ask(current: u64) {
    let _ = ASKED.try_with(|asked| {
        if asked.get() != CLOSED {
            asked.set(current);
        }
    });
}

/// Whether this span is looked for because it is the current one.
pub(super) fn is_asked(span: u64) -> bool {
    ASKED
        .try_with(|asked| {
            let is_asked = asked.get() == span;
            if asked.get() != CLOSED {
                asked.set(NOTHING);
            }
            is_asked
        })
        .unwrap_or(false)
}
