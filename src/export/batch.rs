//! [`Batch`]: encoded spans, ready to be framed, split or copied.

use bytes::{Bytes, BytesMut};

use crate::signal::Signal;
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
