//! [`Batch`]: encoded spans or log records, ready to be framed, split or copied.

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};

use crate::context::TraceId;
use crate::signal::Signal;
use crate::wire::decode::bytes_of;
use crate::wire::request::{self, ScopeGroup};

/// Encoded items of one resource, for one request: spans or log records.
///
/// The items of a batch have one [signal](Self::signal). An exporter gets log records only if it
/// [`supports`](crate::export::Exporter::supports) them.
///
/// A clone shares the bytes. At the drop of the last clone they return to the pipeline's pool.
#[derive(Debug, Clone)]
pub struct Batch {
    signal: Signal,
    resource: Bytes,
    groups: Vec<ScopeGroup>,
    items: usize,
}

/// One item of a [`Batch`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatchItem<'a> {
    /// The encoded fields `scope` and `schema_url` of `ScopeSpans`; for a log record, of `ScopeLogs`.
    pub scope: &'a [u8],
    /// The encoded `Span` or `LogRecord`, without a tag or length before it.
    pub message: &'a [u8],
}

impl Batch {
    /// `resource`: encoded fields of `ResourceSpans` other than `scope_spans`, or of `ResourceLogs` other than
    /// `scope_logs`.
    pub(crate) fn new(
        signal: Signal,
        resource: Bytes,
        groups: Vec<ScopeGroup>,
        items: usize,
    ) -> Self {
        Self {
            signal,
            resource,
            groups,
            items,
        }
    }

    /// The signal of the batch.
    pub fn signal(&self) -> Signal {
        self.signal
    }

    /// The `resource` of [`new`](Self::new).
    pub(crate) fn resource(&self) -> &[u8] {
        &self.resource
    }

    /// The number of spans or log records.
    pub fn item_count(&self) -> usize {
        self.items
    }

    /// The length of the encoded `ExportTraceServiceRequest`, or `ExportLogsServiceRequest`, in bytes.
    pub fn encoded_len(&self) -> usize {
        request::framed_len(&self.resource, &self.groups)
    }

    /// The encoded request in slices, without copying the items.
    pub fn frames(&self) -> Vec<Bytes> {
        request::frame(&self.resource, &self.groups)
    }

    /// The encoded request in one piece.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(self.encoded_len());
        for frame in self.frames() {
            out.extend_from_slice(&frame);
        }
        out.freeze()
    }

    /// A request that shows these spans as open, in a field that OTLP does not define.
    pub(crate) fn to_open_request(&self) -> Bytes {
        request::as_open(&self.to_bytes())
    }

    /// The items, in order.
    pub fn items(&self) -> impl Iterator<Item = BatchItem<'_>> {
        self.groups.iter().flat_map(|group| {
            let messages = group.items.iter().flat_map(|run| request::each_item(run));
            messages.map(|message| BatchItem {
                scope: &group.scope,
                message,
            })
        })
    }

    /// The parts of the batch by trace, in the order of their first items; no item is copied. For an exporter
    /// that routes by trace, such as one that writes into the partitions of a log. Log records without a
    /// trace are one part, whose id is not [valid](TraceId::is_valid).
    pub fn by_trace(self) -> Vec<(TraceId, Self)> {
        let field = self.trace_id_field();
        let mut traces = Vec::new();
        let mut parts_of = HashMap::new();
        let parts = self.partition(|item| {
            let id = bytes_of(item, field).and_then(|id| id.try_into().ok());
            let id = id.unwrap_or_default();
            // Neighbours often are of one trace.
            if traces.last() == Some(&id) {
                return traces.len() - 1;
            }
            *parts_of.entry(id).or_insert_with(|| {
                traces.push(id);
                traces.len() - 1
            })
        });
        let traces = traces.into_iter().map(TraceId::from_bytes);
        traces.zip(parts).collect()
    }

    /// The field of the trace id: `Span.trace_id` or `LogRecord.trace_id`.
    pub(super) fn trace_id_field(&self) -> u32 {
        match self.signal {
            Signal::Traces => 1,
            Signal::Logs => 9,
        }
    }

    /// The parts of the batch: `part_of` gives the part of each encoded item, by a number from 0 on. Parts keep
    /// the order of the items; a number without an item has no part.
    pub(crate) fn partition(self, mut part_of: impl FnMut(&[u8]) -> usize) -> Vec<Self> {
        let mut parts: Vec<(Vec<ScopeGroup>, usize)> = Vec::new();
        for group in self.groups {
            // Where each part has this scope.
            let mut begun: Vec<usize> = Vec::new();
            let mut put = |part: usize, piece: Bytes, items: usize| {
                if parts.len() <= part {
                    parts.resize_with(part + 1, Default::default);
                }
                let (groups, count) = &mut parts[part];
                *count += items;
                if begun.contains(&part)
                    && let Some(group) = groups.last_mut()
                {
                    group.items.push(piece);
                } else {
                    begun.push(part);
                    groups.push(ScopeGroup {
                        scope: group.scope.clone(),
                        items: vec![piece],
                    });
                }
            };
            for run in group.items {
                // Neighbours of one part: its number, where they begin, and how many they are.
                let mut row: Option<(usize, usize, usize)> = None;
                let mut at = 0;
                for item in request::each_item(&run) {
                    let part = part_of(item);
                    row = match row {
                        Some((same, start, items)) if same == part => {
                            Some((part, start, items + 1))
                        }
                        Some((other, start, items)) => {
                            put(other, run.slice(start..at), items);
                            Some((part, at, 1))
                        }
                        None => Some((part, at, 1)),
                    };
                    at += request::field_len(item.len());
                }
                if let Some((part, start, items)) = row {
                    put(part, run.slice(start..at), items);
                }
            }
        }
        let parts = parts.into_iter().filter(|(_, items)| *items > 0);
        let (signal, resource) = (self.signal, self.resource);
        parts
            .map(|(groups, items)| Self::new(signal, resource.clone(), groups, items))
            .collect()
    }

    /// Splits the batch into two halves by the number of items, in order; a batch of one item or none is
    /// returned whole, as the error.
    pub fn split(mut self) -> Result<(Self, Self), Self> {
        if self.items < 2 {
            return Err(self);
        }
        let half = self.items / 2;
        let mut first = Vec::new();
        let mut taken = 0;
        while taken < half && !self.groups.is_empty() {
            let mut group = ScopeGroup {
                scope: self.groups[0].scope.clone(),
                items: Vec::new(),
            };
            while taken < half && !self.groups[0].items.is_empty() {
                let run = &mut self.groups[0].items[0];
                let count = request::count_items(run).unwrap_or(0);
                if count <= half - taken {
                    taken += count;
                    group.items.push(self.groups[0].items.remove(0));
                } else {
                    let at = request::prefix_of_items(run, half - taken).unwrap_or(run.len());
                    group.items.push(run.split_to(at));
                    taken = half;
                }
            }
            first.push(group);
            if self.groups[0].items.is_empty() {
                self.groups.remove(0);
            }
        }
        let rest = self.items - taken;
        Ok((
            Self::new(self.signal, self.resource.clone(), first, taken),
            Self::new(self.signal, self.resource, self.groups, rest),
        ))
    }
}
