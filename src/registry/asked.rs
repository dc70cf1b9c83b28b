//! Whether a layer looks for the current span.
//!
//! A layer with a filter of its own looks for the current span by [`Context::lookup_current`], which asks the
//! registry for the current id and then for that span. If the filter hides it, the next entered span is meant.
//! tracing-subscriber finds that one in the stack of its own `Registry` only, so here the span itself looks
//! for it (`span_data`). A look-up by an id that is not this question must find the span of the id. A filter
//! is asked so about the spans of which a callback tells, which are therefore no question: a layer that is
//! told of one sees it.
//!
//! [`Context::lookup_current`]: tracing_subscriber::layer::Context::lookup_current

use std::cell::Cell;

/// Ids are zero for none.
#[derive(Clone, Copy)]
struct Question {
    /// Of the spans of which the callback tells.
    told: [u64; 2],
    /// Of the span that was asked for because it is the current one.
    asked: u64,
}

thread_local! {
    static QUESTION: Cell<Question> = const { Cell::new(Question { told: [0; 2], asked: 0 }) };
}

/// A callback begins that tells of these spans.
pub(super) fn begin(told: [u64; 2]) {
    let _ = QUESTION.try_with(|question| question.set(Question { told, asked: 0 }));
}

/// The current span was asked for.
pub(super) fn ask(current: u64) {
    let _ = QUESTION.try_with(|question| {
        let Question { told, .. } = question.get();
        let asked = if told.contains(&current) { 0 } else { current };
        question.set(Question { told, asked });
    });
}

/// Whether this span is looked for because it is the current one.
pub(super) fn is_asked(span: u64) -> bool {
    QUESTION
        .try_with(|question| {
            let Question { told, asked } = question.get();
            question.set(Question { told, asked: 0 });
            asked == span
        })
        .unwrap_or(false)
}
