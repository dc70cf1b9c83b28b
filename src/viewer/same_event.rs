//! [`RecordsByTime`]: which span events of a trace came as log records too, so that each shows once.

use std::borrow::Cow;
use std::collections::HashMap;

use super::record::StoredRecord;
use crate::drawing::RecordName;
use crate::wire::decode::{DecodedValue, LogRecord};

/// Records of one span and one nanosecond that are compared with an event: a sender may give thousands the same time.
const COMPARED: usize = 64;

/// A span, and a moment in nanoseconds since 1970.
type Moment = ([u8; 8], u64);

/// The log records of a trace by span and time.
#[derive(Default)]
pub(super) struct RecordsByTime<'a> {
    /// Each with its index.
    open: HashMap<Moment, Vec<(usize, RecordName<'a>)>>,
    /// By index.
    is_span_event: Vec<bool>,
}

impl<'a> RecordsByTime<'a> {
    pub(super) fn new(records: &[&'a StoredRecord]) -> Self {
        let mut open = HashMap::<_, Vec<_>>::new();
        for (index, stored) in records.iter().enumerate() {
            let record = stored.record();
            if let Some(span) = record.span_id {
                let same_time = open.entry((span, stored.at)).or_default();
                same_time.push((index, name(&record)));
            }
        }
        Self {
            open,
            is_span_event: vec![false; records.len()],
        }
    }

    /// Whether a span event came as a log record too. The record is that event from now on, and no other's.
    pub(super) fn take(&mut self, span: [u8; 8], at: u64, event: &str) -> bool {
        let Some(same_time) = self.open.get_mut(&(span, at)) else {
            return false;
        };
        let mut compared = same_time.iter().take(COMPARED);
        let Some(position) = compared.position(|(_, name)| name.fits(event)) else {
            return false;
        };
        let (index, _) = same_time.remove(position);
        if let Some(is_span_event) = self.is_span_event.get_mut(index) {
            *is_span_event = true;
        }
        true
    }

    pub(super) fn is_span_event(&self, index: usize) -> bool {
        self.is_span_event.get(index).is_some_and(|is| *is)
    }
}

fn name<'a>(record: &LogRecord<'a>) -> RecordName<'a> {
    let body = match record.body {
        Some(DecodedValue::String(text)) => Some(Cow::Borrowed(text)),
        Some(DecodedValue::Bool(value)) => Some(value.to_string().into()),
        Some(DecodedValue::Int(value)) => Some(value.to_string().into()),
        Some(DecodedValue::Double(value)) => Some(value.to_string().into()),
        Some(_) => Some(Cow::Borrowed("")),
        None => None,
    };
    let keys = record.attributes.iter().map(|(key, _)| *key);
    RecordName::new(body, record.event_name, keys)
}
