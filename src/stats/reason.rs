//! [`DropReason`]: why spans and records were lost.

use std::fmt;

/// Why a sampled span did not reach the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DropReason {
    /// The queue held its bound of spans or bytes when the span closed.
    QueueFull,
    /// The queue filled up faster than the endpoint took spans, and the span's trace was one of those that go
    /// whole ([`BatchConfig::shedding`](crate::config::BatchConfig::shedding)).
    Shed,
    /// Open spans held so much memory that none was left when the span was created. Its children become
    /// children of its parent.
    MemoryFull,
    /// The span closed after shutdown had begun.
    AlreadyShutdown,
    /// The span alone is larger than a request may be, by our limit or by the endpoint's.
    TooLarge,
    /// The endpoint answered with an error that must not be retried.
    Refused,
    /// Deadlines passed, attempts were used up or a shutdown ended the attempts, and certainly the endpoint
    /// did not take the span: no attempt reached it, or each was answered with a refusal of the endpoint.
    Unsent,
    /// The span was, or may have been, written to the endpoint, and no answer or only that of a gateway came: it may have arrived.
    Unconfirmed,
    /// The span still waited in the queue when the shutdown deadline passed.
    ShutdownTimeout,
    /// The span was open when its layer was dropped or replaced.
    LayerGone,
    /// The span closed in a fork of the pipeline's process: a fork has no worker thread. Build a pipeline of
    /// its own after the fork.
    Forked,
    /// Tail sampling decided against the span's trace, as configured: no loss
    /// ([`TailConfig`](crate::config::TailConfig)).
    TailDropped,
    /// The endpoint does not take the signal: it answered `UNIMPLEMENTED` or, at the signal's path, 404.
    /// Only for log records.
    Unsupported,
    /// The exporter failed: it could not write to its file, its console or wherever it leads, or it panicked. Or a
    /// defect of the worker.
    Internal,
}

impl DropReason {
    /// Every reason, in the order of their counters.
    pub const ALL: &'static [Self] = &[
        Self::QueueFull,
        Self::Shed,
        Self::MemoryFull,
        Self::AlreadyShutdown,
        Self::TooLarge,
        Self::Refused,
        Self::Unsent,
        Self::Unconfirmed,
        Self::ShutdownTimeout,
        Self::LayerGone,
        Self::Forked,
        Self::TailDropped,
        Self::Unsupported,
        Self::Internal,
    ];

    /// A low-cardinality name such as `queue_full`, fit for a metric's `error.type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Shed => "shed",
            Self::MemoryFull => "memory_full",
            Self::AlreadyShutdown => "already_shutdown",
            Self::TooLarge => "too_large",
            Self::Refused => "refused",
            Self::Unsent => "unsent",
            Self::Unconfirmed => "unconfirmed",
            Self::ShutdownTimeout => "shutdown_timeout",
            Self::LayerGone => "layer_gone",
            Self::Forked => "forked",
            Self::TailDropped => "tail_dropped",
            Self::Unsupported => "unsupported",
            Self::Internal => "internal",
        }
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// As ` (queue_full 3, refused 1)`; nothing if nothing was dropped.
pub(super) fn write_reasons(
    f: &mut fmt::Formatter<'_>,
    count: impl Fn(DropReason) -> u64,
) -> fmt::Result {
    let mut sep = " (";
    for &reason in DropReason::ALL {
        if count(reason) > 0 {
            write!(f, "{sep}{reason} {}", count(reason))?;
            sep = ", ";
        }
    }
    if sep == ", " {
        f.write_str(")")?;
    }
    Ok(())
}
