//! [`Signal`]: what kind of telemetry a batch holds.

use std::fmt;

/// A kind of telemetry that a pipeline exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Signal {
    /// Spans, with their events and links.
    Traces,
    /// Log records.
    Logs,
}

impl Signal {
    /// What its items are called, in texts for people.
    pub(crate) fn items(self) -> &'static str {
        match self {
            Self::Traces => "spans",
            Self::Logs => "log records",
        }
    }
}

impl fmt::Display for Signal {
    /// `traces` or `logs`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Traces => "traces",
            Self::Logs => "logs",
        })
    }
}
