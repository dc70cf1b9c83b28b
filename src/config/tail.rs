//! [`TailConfig`]: the rules and bounds of tail sampling.

use std::time::Duration;

/// Tail sampling: decides when a local root closes whether its local trace is exported.
///
/// A local trace is a span without a parent in this process (a root, or a child of a remote span)
/// and all its descendants in this process. Its spans are held until the local root closes, after
/// its last child; then the trace is exported whole, or dropped and counted as
/// [`DropReason::TailDropped`](crate::DropReason::TailDropped). Any one rule keeps it: one of its
/// spans failed ([`keep_errors`](Self::keep_errors)), its local root was slow
/// ([`slower_than`](Self::slower_than), [`slower_than_quantile`](Self::slower_than_quantile)), or
/// its id is within the [`ratio`](Self::ratio).
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
/// The sampler comes first: spans that it does not record are never held. The decision is local, and
/// no header carries it: each service decides for itself. If only the ratio is set, services with
/// the same ratio agree, because it depends on the trace id alone.
///
/// # Bounds
///
/// Held spans are bounded in number, bytes and time. At a bound, the trace that was held longest is
/// decided early, by its spans so far: kept if one of them failed, if it already lasts longer than
/// `slower_than`, or by the ratio. A span that ends after its trace was decided is never held: it is
/// exported if its trace was kept, and otherwise if it failed itself, or is a slow local root.
///
/// A span that lives as long as the program makes one local trace of all its descendants: give
/// requests and jobs a root of their own (`parent: None`).
///
/// A flush does not export held spans. A shutdown, and the drop of the layer, decide every held
/// trace early.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct TailConfig {
    /// The part of all local traces that is kept in any case, from 0 to 1, by the trace id: the same
    /// traces as with [`TraceIdRatio`](crate::sampler::TraceIdRatio). Default 0.
    pub ratio: f64,
    /// Keeps a trace if one of its spans has the status error. Default true.
    pub keep_errors: bool,
    /// Keeps a trace whose local root lasts longer than this. Default `None`.
    pub slower_than: Option<Duration>,
    /// Keeps a trace whose local root lasts longer than this quantile of the latest local roots of the
    /// same name; above 0 and below 1, such as 0.99. Default `None`.
    ///
    /// No root counts as slow before at least 64 roots, and 4 / (1 - quantile), have ended. Durations
    /// are measured to a sixteenth, so slightly fewer traces are kept. The first 256 names have
    /// histograms of their own; further names share one. A histogram takes 2 KiB of
    /// [`BatchConfig::max_memory`](crate::config::BatchConfig::max_memory).
    pub slower_than_quantile: Option<f64>,
    /// The most spans that are held. Default 16,384.
    pub max_spans: usize,
    /// The most bytes of held spans and of memory kept for them, a part of
    /// [`BatchConfig::max_memory`](crate::config::BatchConfig::max_memory): at least 64 KiB, at most half of
    /// that. Default 4 MiB.
    pub max_bytes: usize,
    /// The longest that a trace is held, from the end of its first span on, to about a second. Default
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
