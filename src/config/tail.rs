//! [`TailConfig`]: which local traces are kept once they are over, and what may be held until then.

use std::time::Duration;

/// Which local traces are exported, decided when their local root closes.
///
/// A local trace is a span without a parent in this process (a root, or a child of a remote span)
/// and all that descends from it here. Its spans are held until the local root closes, which is
/// when its last child has closed; then it is exported whole, or dropped and counted as
/// [`DropReason::TailDropped`](crate::DropReason::TailDropped). It is kept if any one of the rules
/// says so: a span of it failed ([`keep_errors`](Self::keep_errors)), its local root was slow
/// ([`slower_than`](Self::slower_than), [`slower_than_quantile`](Self::slower_than_quantile)), or
/// its id falls into the [`ratio`](Self::ratio).
///
/// ```
/// use std::time::Duration;
/// use tracing_otlp::config::TailConfig;
///
/// let mut tail = TailConfig::default(); // failed traces
/// tail.slower_than = Some(Duration::from_millis(500)); // and slow ones
/// tail.ratio = 0.05; // and one in twenty of the rest
/// let builder = tracing_otlp::builder().with_tail_sampling(tail);
/// ```
///
/// The sampler comes first: what it does not record is never held. The decision is this process's
/// own, and no header carries it: services that this one called have decided for themselves. Where
/// only the ratio speaks they agree, since it goes by the trace id alone (SMP-4).
///
/// # Bounds
///
/// What is held is bounded in spans, bytes and time. At a bound, the trace that was held longest is
/// decided early, by what is known of it: kept if one of its spans failed, if it already lasts
/// longer than `slower_than`, or by the ratio. A span that ends after its trace was decided is
/// never held: it is exported if its trace was kept, and otherwise if it failed itself, or is a
/// local root that was slow.
///
/// So a span that lives as long as the program makes one local trace of all its descendants:
/// give requests and jobs a root of their own (`parent: None`).
///
/// A flush leaves held spans where they are. A shutdown, and the end of the layer, decide every
/// held trace early.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct TailConfig {
    /// The part of all local traces that is kept whatever became of them, from 0 to 1, by the trace
    /// id: the same traces as with [`TraceIdRatio`](crate::sampler::TraceIdRatio). Default 0.
    pub ratio: f64,
    /// Keeps a trace if one of its spans has the status error. Default true.
    pub keep_errors: bool,
    /// Keeps a trace whose local root lasts longer than this. Default `None`: none for that reason.
    pub slower_than: Option<Duration>,
    /// Keeps a trace whose local root lasts longer than this part of the latest ones of its name,
    /// above 0 and below 1, such as 0.99. Default `None`.
    ///
    /// Nothing is slow until enough were seen: 64, and 4 / (1 - quantile). Durations are told apart
    /// to a sixteenth, so rather less than that part is kept. The first 256 names have figures of
    /// their own; further ones share theirs. They take 2 KiB a name of
    /// [`BatchConfig::max_memory`](crate::config::BatchConfig::max_memory).
    pub slower_than_quantile: Option<f64>,
    /// Spans that may be held. Default 16,384.
    pub max_spans: usize,
    /// Bytes that held spans and the memory kept for them may take, a part of
    /// [`BatchConfig::max_memory`](crate::config::BatchConfig::max_memory): at least 64 KiB, at most half of
    /// that. Default 4 MiB.
    pub max_bytes: usize,
    /// The longest a trace is held, from the end of its first span on, to about a second. Default
    /// 30 s.
    pub max_hold: Duration,
}

impl Default for TailConfig {
    fn default() -> Self {
        Self {
            ratio: 0.0,
            keep_errors: true,
            slower_than: None,
            slower_than_quantile: None,
            max_spans: 16_384,
            max_bytes: 4 << 20,
            max_hold: Duration::from_secs(30),
        }
    }
}
