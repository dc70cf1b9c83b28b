//! [`LastWords`]: what is said of spans that will not end any more, because the process does.

use std::sync::Weak;

use super::edit::SpanEditor;
use super::open_spans::{BUCKETS, OpenSpans};
use super::recorder::Recorder;
use crate::attribute::KeyValue;
use crate::clock;
use crate::context::layer_registry::Change;
use crate::context::stack;
use crate::semconv;
use crate::span_data::Status;

/// The mark of a span that was ended because the process ends.
const UNFINISHED: &str = "tracing_otlp.unfinished";

/// Ends a layer's open spans, for as long as the layer is there.
#[derive(Clone)]
pub(crate) struct LastWords(Weak<Recorder>);

impl LastWords {
    pub(super) fn new(recorder: Weak<Recorder>) -> Self {
        Self(recorder)
    }

    /// Records a panic of this thread on the span that is current here: an event with these attributes, and
    /// an error's status.
    pub(crate) fn note_panic(&self, message: &str, attributes: &[KeyValue]) {
        /// Spans that a filter hides may lie before the one that is meant.
        const MOST: usize = 64;
        let Some(recorder) = self.0.upgrade() else {
            return;
        };
        let recorder = recorder.here();
        let spans = stack::spans_at_panic(recorder.layer, MOST);
        let Some(span) = spans.into_iter().find(|span| is_here(recorder, *span)) else {
            return;
        };
        recorder.editor().change(
            span,
            &Change::Event {
                name: semconv::EXCEPTION_EVENT,
                at: None,
                attributes,
            },
        );
        let description = message.to_owned().into();
        let status = Status::Error { description };
        recorder.editor().change(span, &Change::Status(&status));
    }

    /// Ends all spans that are open and exported, marked as unfinished; how many.
    pub(crate) fn end_all(&self) -> usize {
        let Some(recorder) = self.0.upgrade() else {
            return 0;
        };
        let recorder = recorder.here();
        let mut ended = end_table(recorder, &recorder.spans);
        if let Some(free) = recorder.free.get() {
            ended += end_table(recorder, free);
        }
        ended
    }
}

/// Whether a span is open here. No code of ours panics under a lock; if it did, this would not wait for
/// that lock, which nobody would ever give back.
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

/// Children end before their parents as a rule, but nothing depends on it.
fn end_table(recorder: &Recorder, spans: &OpenSpans) -> usize {
    let now = clock::now();
    let desk = SpanEditor { recorder, spans };
    let mut ended = 0;
    let mut ids = Vec::with_capacity(64);
    for bucket in 0..BUCKETS {
        loop {
            ids.clear();
            // What has ended is not found again; what begins meanwhile is left to whom it belongs.
            spans.open_since(bucket, now, &mut ids);
            let found = ids.iter().filter(|id| desk.end_unfinished(**id, now));
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
