//! [`InProgress`]: copies of spans that are open for long, for a viewer.
//!
//! Runs on the worker's thread about once a second, if the pipeline is configured for it. A bucket is
//! locked once to list its spans, then once for each copy; nothing is allocated under the lock.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Weak;
use std::time::Duration;

use bytes::Bytes;

use super::open_spans::{BUCKETS, OpenSpans};
use super::recorder::Recorder;
use super::span::OpenSpan;
use crate::clock;
use crate::processor::ScopeId;

/// Spans of one look; the next look begins where this one stopped.
const MOST_SPANS: usize = 1_000;
/// Bytes of one look.
const MOST_BYTES: usize = 1 << 20;
/// A span with more than this is shown without attributes, events and links, so that its bucket is not
/// locked for long.
const LARGEST: usize = 64 << 10;
/// Looks after which a span that has not changed is shown again, as a sign of life.
const SIGN_OF_LIFE: u64 = 5;

pub(crate) struct InProgress {
    recorder: Weak<Recorder>,
    after: u64,
    ids: Vec<u64>,
    copies: Vec<u8>,
    /// The bucket that the next look begins with.
    next: usize,
    look: u64,
    /// By span id; only of spans that the last look found.
    shown: HashMap<[u8; 8], Shown>,
    hasher: RandomState,
}

struct Shown {
    hash: u64,
    /// The look at which it was shown last, and at which it was found last.
    at: u64,
    found: u64,
}

/// The place of a copy in [`InProgress::copies`].
struct SpanCopy {
    span_id: [u8; 8],
    scope: ScopeId,
    range: std::ops::Range<usize>,
}

impl InProgress {
    /// Copies spans that are open for longer than `after`.
    pub(super) fn new(recorder: Weak<Recorder>, after: Duration) -> Self {
        Self {
            recorder,
            after: u64::try_from(after.as_nanos()).unwrap_or(u64::MAX),
            ids: Vec::new(),
            copies: Vec::new(),
            next: 0,
            look: 0,
            shown: HashMap::new(),
            hasher: RandomState::new(),
        }
    }

    /// The spans to show now: the scope of each, and the encoded `Span` without an end.
    pub(crate) fn look(&mut self) -> Vec<(ScopeId, Bytes)> {
        let Some(recorder) = self.recorder.upgrade() else {
            return Vec::new();
        };
        // Without `here`: a fork has no worker, so this runs in the recorder's own process.
        let before = clock::now().saturating_sub(self.after);
        self.look += 1;
        self.copies.clear();
        let mut copies = Vec::new();
        self.of_table(&recorder.spans, before, &mut copies);
        if let Some(manual) = recorder.manual.get() {
            self.of_table(manual, before, &mut copies);
        }
        let mut out = Vec::new();
        for copy in copies {
            let bytes = self.copies.get(copy.range).unwrap_or_default();
            let hash = self.hasher.hash_one(bytes);
            let look = self.look;
            let shown = self.shown.entry(copy.span_id).or_insert(Shown {
                hash: !hash,
                at: 0,
                found: 0,
            });
            shown.found = look;
            if shown.hash != hash || look >= shown.at + SIGN_OF_LIFE {
                (shown.hash, shown.at) = (hash, look);
                out.push((copy.scope, Bytes::copy_from_slice(bytes)));
            }
        }
        let look = self.look;
        self.shown.retain(|_, shown| shown.found == look);
        out
    }

    fn of_table(&mut self, spans: &OpenSpans, before: u64, copies: &mut Vec<SpanCopy>) {
        self.ids.clear();
        self.ids.reserve_exact(MOST_SPANS);
        let first = self.next;
        for step in 0..BUCKETS {
            let bucket = (first + step) % BUCKETS;
            spans.open_since(bucket, before, &mut self.ids);
            if self.ids.len() >= MOST_SPANS {
                self.next = bucket;
                break;
            }
        }
        if self.ids.is_empty() {
            return;
        }
        self.copies.reserve_exact(MOST_BYTES);
        for id in std::mem::take(&mut self.ids) {
            let out = &mut self.copies;
            let copy = spans.with(id, |span| {
                let from = out.len();
                let is_copied = !span.identity.is_held() && span.copy_open(out, LARGEST);
                is_copied.then_some(SpanCopy {
                    span_id: span.identity.span_id,
                    scope: span.scope,
                    range: from..out.len(),
                })
            });
            copies.extend(copy.flatten());
        }
    }
}

impl OpenSpan {
    /// Appends the span without an end, and without attributes, events and links if they take more than
    /// `largest`; false without room in `out`, which does not grow under the lock.
    fn copy_open(&mut self, out: &mut Vec<u8>, largest: usize) -> bool {
        self.tidy();
        let body: &[u8] = match self.body.len() {
            len if len > largest => &[],
            _ => &self.body,
        };
        let (texts, fixed) = (self.texts_of_head(), 128);
        if out.capacity() - out.len() < body.len() + texts + fixed {
            return false;
        }
        out.extend_from_slice(body);
        self.put_open_head(out);
        true
    }
}
