//! [`StoredTrace`]: the spans of one trace as they are stored, and its [`Summary`].

use std::sync::Arc;

use super::origin::{Origin, cut};
use super::record::StoredRecord;
use crate::wire::decode::{DecodedValue, Span};

/// What an allocation takes beyond its contents: the allocator's own word, and its rounding.
const ALLOCATION: usize = 24;

/// What a trace takes beside its spans: itself, its summary, and its places in four tables.
const TRACE: usize = size_of::<StoredTrace>() + size_of::<Summary>() + 512;

/// A span as it came, and what the list needs of it.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) bytes: Box<[u8]>,
    pub(super) origin: Arc<Origin>,
    pub(super) id: [u8; 8],
    /// Zeros: no parent.
    pub(super) parent: [u8; 8],
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) is_error: bool,
    /// Whether it has not ended; then `end` is when it was heard of last.
    pub(super) is_open: bool,
    /// Events and links: few bytes each, and many where they are shown.
    items: usize,
}

/// What an event or a link is charged with beside its bytes.
const ITEM: usize = 128;

impl Stored {
    /// Copies the bytes: the batch's belong to the pipeline's pool and have to go back there.
    ///
    /// `heard`: when a span that is still open was heard of.
    pub(super) fn new(
        span: &Span<'_>,
        bytes: &[u8],
        origin: Arc<Origin>,
        heard: Option<u64>,
    ) -> Self {
        let end = heard.unwrap_or(span.end_unix_nanos);
        Self {
            bytes: bytes.into(),
            origin,
            id: span.span_id,
            parent: span.parent_span_id.unwrap_or_default(),
            start: span.start_unix_nanos,
            end: end.max(span.start_unix_nanos),
            is_open: heard.is_some(),
            is_error: span.status.code == 2,
            items: span.events.len() + span.links.len(),
        }
    }

    pub(super) fn cost(&self) -> usize {
        // Twice the pointer: the vector grows by doubling.
        let fixed = size_of::<Self>() + 2 * ALLOCATION + 16 + 2 * size_of::<usize>();
        self.bytes.len() + ITEM * self.items + fixed
    }

    /// The span; it was decoded once already.
    pub(super) fn span(&self) -> Span<'_> {
        Span::decode(&self.bytes).unwrap_or_default()
    }
}

/// The spans and log records of one trace.
#[derive(Debug)]
pub(super) struct StoredTrace {
    pub(super) id: [u8; 16],
    /// Sorted by id.
    pub(super) spans: Vec<Arc<Stored>>,
    /// In the order of their arrival.
    pub(super) records: Vec<Arc<StoredRecord>>,
    /// Spans that found no room.
    left_out: u64,
    records_left_out: u64,
    /// It failed or was slow: evicted last.
    pub(super) is_precious: bool,
    /// The number of its last change.
    pub(super) change: u64,
    /// Bytes that it takes.
    pub(super) cost: usize,
    /// Until it changes.
    summary: Option<Arc<Summary>>,
}

/// A trace's line in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) id: [u8; 16],
    /// The name of the root, or of the earliest span whose parent is not here.
    pub(super) name: Box<str>,
    /// The root's service.
    pub(super) service: Arc<str>,
    /// All services, the root's first.
    pub(super) services: Vec<Arc<str>>,
    /// Whether the root itself is here.
    pub(super) has_root: bool,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) spans: usize,
    pub(super) errors: usize,
    /// Spans that have not ended.
    pub(super) open: usize,
    /// When one of them was heard of last.
    pub(super) heard: u64,
    pub(super) left_out: u64,
    pub(super) records: usize,
    pub(super) records_left_out: u64,
    pub(super) is_slow_or_failed: bool,
}

impl Summary {
    pub(super) fn nanos(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }
}

/// Services that a summary names.
const MOST_SERVICES: usize = 8;

impl StoredTrace {
    pub(super) fn new(id: [u8; 16]) -> Self {
        Self {
            id,
            spans: Vec::new(),
            records: Vec::new(),
            left_out: 0,
            records_left_out: 0,
            is_precious: false,
            change: 0,
            cost: TRACE,
            summary: None,
        }
    }

    /// Adds a span; one with the same id is replaced, because a sender may repeat itself, and a span that
    /// was open has ended. What has ended is not open again.
    pub(super) fn put(&mut self, span: Stored, has_room: bool) {
        self.forget_summary();
        match self.spans.binary_search_by(|s| s.id.cmp(&span.id)) {
            Ok(at) if self.is_open(at) && !span.is_open && !has_room => {
                self.cost -= self.spans.remove(at).cost();
                self.left_out += 1;
            }
            Ok(at) if span.is_open && !self.is_open(at) => {}
            Ok(at) => {
                let old = self.spans.get_mut(at);
                if let Some(old) = old.filter(|old| has_room || span.cost() <= old.cost()) {
                    self.cost = self.cost + span.cost() - old.cost();
                    *old = Arc::new(span);
                }
            }
            Err(_) if !has_room => self.left_out += 1,
            Err(at) => {
                self.cost += span.cost();
                self.spans.insert(at, Arc::new(span));
            }
        }
    }

    pub(super) fn put_record(&mut self, record: StoredRecord, has_room: bool) {
        self.forget_summary();
        match has_room {
            true => {
                self.cost += record.cost();
                self.records.push(Arc::new(record));
            }
            false => self.records_left_out += 1,
        }
    }

    fn is_open(&self, at: usize) -> bool {
        self.spans.get(at).is_some_and(|s| s.is_open)
    }

    fn forget_summary(&mut self) {
        self.summary = None;
    }

    fn span(&self, id: [u8; 8]) -> Option<&Arc<Stored>> {
        let at = self.spans.binary_search_by(|s| s.id.cmp(&id)).ok()?;
        self.spans.get(at)
    }

    pub(super) fn summary(&mut self) -> Arc<Summary> {
        if let Some(summary) = &self.summary {
            return Arc::clone(summary);
        }
        let summary = Arc::new(self.summarize());
        self.summary = Some(Arc::clone(&summary));
        summary
    }

    fn summarize(&self) -> Summary {
        let is_top = |s: &&Arc<Stored>| s.parent == [0; 8] || self.span(s.parent).is_none();
        let tops = self.spans.iter().filter(is_top);
        // A root before what merely lacks its parent, and then the earliest. Spans that are each
        // other's parents have no top.
        let root = tops.min_by_key(|s| (s.parent != [0; 8], s.start));
        let root = root.or_else(|| self.spans.iter().min_by_key(|s| s.start));
        let mut services: Vec<Arc<str>> = root
            .map(|r| Arc::clone(&r.origin.service))
            .into_iter()
            .collect();
        for span in &self.spans {
            let service = &span.origin.service;
            if services.len() < MOST_SERVICES && !services.contains(service) {
                services.push(Arc::clone(service));
            }
        }
        for record in &self.records {
            let service = &record.origin.service;
            if services.len() < MOST_SERVICES && !services.contains(service) {
                services.push(Arc::clone(service));
            }
        }
        let open_spans = self.spans.iter().filter(|s| s.is_open);
        let first = self.records.iter().min_by_key(|r| r.at);
        let last = self.records.iter().map(|r| r.at).max();
        // Without a span, a trace is its log records: their spans are still open, or not sampled.
        let name = match (root, first) {
            (Some(root), _) => cut(root.span().name).into(),
            (None, Some(first)) => match first.record().body {
                Some(DecodedValue::String(body)) => cut(body).into(),
                _ => Box::default(),
            },
            (None, None) => Box::default(),
        };
        let start = self.spans.iter().map(|s| s.start).min();
        let end = self.spans.iter().map(|s| s.end).max();
        Summary {
            id: self.id,
            name,
            service: services.first().cloned().unwrap_or_else(|| "".into()),
            services,
            has_root: root.is_some_and(|r| r.parent == [0; 8]),
            start: start.or(first.map(|r| r.at)).unwrap_or(0),
            end: end.or(last).unwrap_or(0),
            spans: self.spans.len(),
            errors: self.spans.iter().filter(|s| s.is_error).count(),
            open: self.spans.iter().filter(|s| s.is_open).count(),
            heard: open_spans.map(|s| s.end).max().unwrap_or(0),
            left_out: self.left_out,
            records: self.records.len(),
            records_left_out: self.records_left_out,
            is_slow_or_failed: self.is_precious,
        }
    }
}
