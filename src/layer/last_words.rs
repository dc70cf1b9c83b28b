//! [`LastWords`]: panics, and the end of spans that are open at the end of the process.

use std::sync::Weak;

use super::edit::SpanEditor;
use super::open_spans::{BUCKETS, OpenSpans};
use super::recorder::Recorder;
use crate::attribute::KeyValue;
use crate::clock;
use crate::context::layer_registry::{Change, Exception};
use crate::context::stack;
use crate::span_data::Status;

/// The attribute of a span that the end of the process ended.
const UNFINISHED: &str = "tracing_otlp.unfinished";

/// Ends a layer's open spans, unless the layer is dropped.
#[derive(Clone)]
pub(crate) struct LastWords(Weak<Recorder>);

impl LastWords {
    pub(super) fn new(recorder: Weak<Recorder>) -> Self {
        Self(recorder)
    }

    /// Records a panic on this thread's current span, as an exception and by the status `Error`. Where
    /// exceptions are log records, one without a span is recorded too.
    pub(crate) fn note_panic(&self, exception: &Exception<'_>) {
        /// The innermost entered spans may be hidden by a filter: so many are tried.
        const MOST: usize = 64;
        let Some(recorder) = self.0.upgrade() else {
            return;
        };
        let recorder = recorder.here();
        let spans = stack::spans_at_panic(recorder.layer, MOST);
        let Some(span) = spans.into_iter().find(|span| is_here(recorder, *span)) else {
            return recorder.log_exception(exception, None);
        };
        let editor = recorder.editor();
        editor.change(span, &Change::Exception(exception));
        let description = exception.message.to_owned().into();
        editor.change(span, &Change::Status(&Status::Error { description }));
    }

    /// Ends all open exported spans, marks them as unfinished, and returns their number.
    pub(crate) fn end_all(&self) -> usize {
        let Some(recorder) = self.0.upgrade() else {
            return 0;
        };
        let recorder = recorder.here();
        let mut ended = end_table(recorder, &recorder.spans);
        if let Some(manual) = recorder.manual.get() {
            ended += end_table(recorder, manual);
        }
        ended
    }
}

/// Whether a span is open here. Tries the lock instead of waiting for it: a panic of this thread under
/// that lock would wait for ever.
fn is_here(recorder: &Recorder, span: u64) -> bool {
    const LOOKS: u32 = 1_000;
    let look = |_| {
        let has = recorder.spans.try_has(span);
        if has.is_none() {
            std::thread::yield_now();
        }
        has
    };
    (0..LOOKS).find_map(look) == Some(true)
}

/// Ends all open spans of a table, in the order of the buckets: a parent may end before its children.
fn end_table(recorder: &Recorder, spans: &OpenSpans) -> usize {
    let now = clock::now();
    let editor = SpanEditor { recorder, spans };
    let mut ended = 0;
    let mut ids = Vec::with_capacity(64);
    for bucket in 0..BUCKETS {
        loop {
            ids.clear();
            // An ended span is not found again, and spans that begin after `now` are left open.
            spans.open_since(bucket, now, &mut ids);
            let found = ids.iter().filter(|id| editor.end_unfinished(**id, now));
            let found = found.count();
            ended += found;
            if found == 0 {
                break;
            }
        }
    }
    ended
}

impl SpanEditor<'_> {
    fn end_unfinished(self, span: u64, now: u64) -> bool {
        let Some(mut span) = self.take_to_end(span) else {
            return false;
        };
        self.recorder
            .add_key_values(&mut span, &[KeyValue::new(UNFINISHED, true)]);
        self.recorder.finish_early(span, now);
        true
    }
}
