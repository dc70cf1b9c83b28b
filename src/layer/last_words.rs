//! [`LastWords`]: what is said of spans that will not end any more, because the process does.

use std::sync::Weak;

use super::core::Core;
use super::late::Desk;
use super::open_spans::{BUCKETS, OpenSpans};
use crate::attribute::KeyValue;
use crate::clock;
use crate::context::doors::Change;
use crate::context::stack;
use crate::semconv;
use crate::span_data::Status;

/// The mark of a span that was ended because the process ends.
const UNFINISHED: &str = "tracing_otlp.unfinished";

/// Ends a layer's open spans, for as long as the layer is there.
#[derive(Clone)]
pub(crate) struct LastWords(Weak<Core>);

impl LastWords {
    pub(super) fn new(core: Weak<Core>) -> Self {
        Self(core)
    }

    /// Records a panic of this thread on the span that is current here: an event with these attributes, and
    /// an error's status.
    pub(crate) fn note_panic(&self, message: &str, attributes: &[KeyValue]) {
        /// Spans that a filter hides may lie before the one that is meant.
        const MOST: usize = 64;
        let Some(core) = self.0.upgrade() else {
            return;
        };
        let core = core.here();
        let spans = stack::spans_at_panic(core.layer, MOST);
        let Some(span) = spans.into_iter().find(|span| is_here(core, *span)) else {
            return;
        };
        core.desk().change(
            span,
            &Change::Event {
                name: semconv::EXCEPTION_EVENT,
                at: None,
                attributes,
            },
        );
        let description = message.to_owned().into();
        let status = Status::Error { description };
        core.desk().change(span, &Change::Status(&status));
    }

    /// Ends all spans that are open and exported, marked as unfinished; how many.
    pub(crate) fn end_all(&self) -> usize {
        let Some(core) = self.0.upgrade() else {
            return 0;
        };
        let core = core.here();
        let mut ended = end_table(core, &core.spans);
        if let Some(free) = core.free.get() {
            ended += end_table(core, free);
        }
        ended
    }
}

/// Whether a span is open here. No code of ours panics under a lock; if it did, this would not wait for
/// that lock, which nobody would ever give back.
fn is_here(core: &Core, span: u64) -> bool {
    const LOOKS: u32 = 1_000;
    let look = |_| {
        let has = core.spans.try_has(span);
        if has.is_none() {
            std::thread::yield_now();
        }
        has
    };
    (0..LOOKS).find_map(look) == Some(true)
}

/// Children end before their parents as a rule, but nothing depends on it.
fn end_table(core: &Core, spans: &OpenSpans) -> usize {
    let now = clock::now();
    let desk = Desk { core, spans };
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

impl Desk<'_> {
    fn end_unfinished(self, span: u64, now: u64) -> bool {
        let Some(mut span) = self.take_to_end(span) else {
            return false;
        };
        self.core
            .add_key_values(&mut span, &[KeyValue::new(UNFINISHED, true)]);
        self.core.finish_early(span, now);
        true
    }
}
