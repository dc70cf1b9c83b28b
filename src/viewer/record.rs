//! [`StoredRecord`]: a log record as it came, and what the lists need of it.

use std::collections::VecDeque;
use std::sync::Arc;

use super::origin::Origin;
use crate::wire::decode::LogRecord;

/// What an allocation takes beyond its contents.
const ALLOCATION: usize = 24;

/// The least severity of an error.
const ERROR: i32 = 17;

/// A log record, encoded.
#[derive(Debug)]
pub(super) struct StoredRecord {
    pub(super) bytes: Box<[u8]>,
    pub(super) origin: Arc<Origin>,
    /// Its time, or that of its observation.
    pub(super) at: u64,
    pub(super) severity: i32,
}

impl StoredRecord {
    pub(super) fn new(record: &LogRecord<'_>, bytes: &[u8], origin: Arc<Origin>) -> Self {
        let at = match record.unix_nanos {
            0 => record.observed_unix_nanos,
            at => at,
        };
        Self {
            bytes: bytes.into(),
            origin,
            at,
            severity: record.severity_number,
        }
    }

    pub(super) fn is_error(&self) -> bool {
        self.severity >= ERROR
    }

    pub(super) fn cost(&self) -> usize {
        self.bytes.len() + size_of::<Self>() + 2 * ALLOCATION + 16 + 2 * size_of::<(u64, usize)>()
    }

    /// The record; it was decoded once already.
    pub(super) fn record(&self) -> LogRecord<'_> {
        LogRecord::decode(&self.bytes).unwrap_or_default()
    }
}

/// The newest log records without a trace, by the numbers that the store gave them.
#[derive(Debug, Default)]
pub(super) struct LooseRecords {
    records: VecDeque<(u64, Arc<StoredRecord>)>,
    pub(super) bytes: usize,
    pub(super) evicted: u64,
}

impl LooseRecords {
    pub(super) fn push(&mut self, number: u64, record: Arc<StoredRecord>) {
        self.bytes += record.cost();
        self.records.push_back((number, record));
    }

    /// Forgets the oldest one.
    pub(super) fn pop(&mut self) -> Option<Arc<StoredRecord>> {
        let (_, record) = self.records.pop_front()?;
        self.bytes -= record.cost();
        self.evicted += 1;
        Some(record)
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// The number of the newest one.
    pub(super) fn newest(&self) -> u64 {
        self.records.back().map_or(0, |(number, _)| *number)
    }

    /// The newest record whose number is below `before`.
    pub(super) fn newest_before(&self, before: u64) -> Option<(u64, Arc<StoredRecord>)> {
        let at = self.records.partition_point(|(number, _)| *number < before);
        let (number, record) = self.records.get(at.checked_sub(1)?)?;
        Some((*number, Arc::clone(record)))
    }
}
