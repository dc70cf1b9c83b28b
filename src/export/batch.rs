//! [`Batch`]: encoded spans, ready to be framed, split or copied.

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};

use crate::context::TraceId;
use crate::signal::Signal;
use crate::wire::decode::bytes_of;
use crate::wire::request::{self, ScopeGroup};

/// Encoded spans, or log records, of one resource, for one request.
///
/// A batch holds one [signal](Self::signal). The docs below speak of spans; for log records they hold with
/// the messages of logs. An exporter gets logs only if it
/// [`supports`](crate::export::Exporter::supports) them.
///
/// A clone shares the bytes. At the drop of the last clone they return to the pipeline's pool.
#[derive(Debug, Clone)]
pub struct Batch {
    signal: Signal,
    resource: Bytes,
    groups: Vec<ScopeGroup>,
    spans: usize,
}

impl Batch {
    /// `resource`: encoded fields of `ResourceSpans` other than `scope_spans`.
    pub(crate) fn new(
        signal: Signal,
        resource: Bytes,
        groups: Vec<ScopeGroup>,
        spans: usize,
    ) -> Self {
        Self {
            signal,
            resource,
            groups,
            spans,
        }
    }

    /// The signal of the batch.
    pub fn signal(&self) -> Signal {
        self.signal
    }

    /// The encoded fields of `ResourceSpans` other than `scope_spans`.
    pub(crate) fn resource(&self) -> &[u8] {
        &self.resource
    }

    /// The number of spans or log records.
    pub fn span_count(&self) -> usize {
        self.spans
    }

    /// The length of the encoded `ExportTraceServiceRequest`, or `ExportLogsServiceRequest`, in bytes.
    pub fn encoded_len(&self) -> usize {
        request::framed_len(&self.resource, &self.groups)
    }

    /// The encoded `ExportTraceServiceRequest` in slices, without copying the spans.
    pub fn frames(&self) -> Vec<Bytes> {
        request::frame(&self.resource, &self.groups)
    }

    /// The encoded `ExportTraceServiceRequest` in one piece.
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

    /// The single spans, in order. Each item is the encoded fields of `ScopeSpans` other than `spans`
    /// (`scope` and `schema_url`), and the encoded `Span` message; for logs, those of `ScopeLogs` and the
    /// `LogRecord`.
    pub fn spans(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.groups.iter().flat_map(|group| {
            let runs = group.spans.iter();
            let spans = runs.flat_map(|run| request::each_span(run));
            spans.map(|span| (&group.scope[..], span))
        })
    }

    /// The parts of the batch by trace, in the order of their first spans; the spans are not copied. For an
    /// exporter that routes by trace, such as one that writes into the partitions of a log. Log records of no
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

    /// The parts of the batch: `part_of` names the part of each encoded span, by a number from 0 on. Parts keep
    /// the order of the spans; a number that was never named has none.
    pub(crate) fn partition(self, mut part_of: impl FnMut(&[u8]) -> usize) -> Vec<Self> {
        let mut parts: Vec<(Vec<ScopeGroup>, usize)> = Vec::new();
        for group in self.groups {
            // Where each part has this scope.
            let mut begun: Vec<usize> = Vec::new();
            let mut put = |part: usize, piece: Bytes, spans: usize| {
                if parts.len() <= part {
                    parts.resize_with(part + 1, Default::default);
                }
                let (groups, count) = &mut parts[part];
                *count += spans;
                if begun.contains(&part)
                    && let Some(group) = groups.last_mut()
                {
                    group.spans.push(piece);
                } else {
                    begun.push(part);
                    groups.push(ScopeGroup {
                        scope: group.scope.clone(),
                        spans: vec![piece],
                    });
                }
            };
            for run in group.spans {
                // Neighbours of one part: its number, where they begin, and how many they are.
                let mut row: Option<(usize, usize, usize)> = None;
                let mut at = 0;
                for item in request::each_span(&run) {
                    let part = part_of(item);
                    row = match row {
                        Some((same, start, spans)) if same == part => {
                            Some((part, start, spans + 1))
                        }
                        Some((other, start, spans)) => {
                            put(other, run.slice(start..at), spans);
                            Some((part, at, 1))
                        }
                        None => Some((part, at, 1)),
                    };
                    at += request::field_len(item.len());
                }
                if let Some((part, start, spans)) = row {
                    put(part, run.slice(start..at), spans);
                }
            }
        }
        let parts = parts.into_iter().filter(|(_, spans)| *spans > 0);
        let (signal, resource) = (self.signal, self.resource);
        parts
            .map(|(groups, spans)| Self::new(signal, resource.clone(), groups, spans))
            .collect()
    }

    /// Splits the batch into two halves by spans, in order; a batch of one span (or none) is returned whole,
    /// as the error.
    pub fn split(mut self) -> Result<(Self, Self), Self> {
        if self.spans < 2 {
            return Err(self);
        }
        let half = self.spans / 2;
        let mut first = Vec::new();
        let mut taken = 0;
        while taken < half && !self.groups.is_empty() {
            let mut group = ScopeGroup {
                scope: self.groups[0].scope.clone(),
                spans: Vec::new(),
            };
            while taken < half && !self.groups[0].spans.is_empty() {
                let run = &mut self.groups[0].spans[0];
                let count = request::count_spans(run).unwrap_or(0);
                if count <= half - taken {
                    taken += count;
                    group.spans.push(self.groups[0].spans.remove(0));
                } else {
                    let at = request::prefix_of_spans(run, half - taken).unwrap_or(run.len());
                    group.spans.push(run.split_to(at));
                    taken = half;
                }
            }
            first.push(group);
            if self.groups[0].spans.is_empty() {
                self.groups.remove(0);
            }
        }
        let rest = self.spans - taken;
        Ok((
            Self::new(self.signal, self.resource.clone(), first, taken),
            Self::new(self.signal, self.resource, self.groups, rest),
        ))
    }
}
