//! [`Hint`]: a warning that is reported once in a process.

use crate::sync::{AtomicBool, Ordering};

/// A warning for the whole process, reported once. Callbacks only set a flag: the worker reports it.
#[derive(Debug)]
pub(crate) struct Hint {
    is_noticed: AtomicBool,
    is_told: AtomicBool,
    pub(super) text: &'static str,
}

impl Hint {
    const fn new(text: &'static str) -> Self {
        Self {
            is_noticed: AtomicBool::new(false),
            is_told: AtomicBool::new(false),
            text,
        }
    }

    /// Marks the warning as due.
    #[inline]
    pub(crate) fn notice(&self) {
        // Read before write: the cache line stays shared by all threads.
        if !self.is_noticed.load(Ordering::Relaxed) {
            self.is_noticed.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn is_due(&self) -> bool {
        self.is_noticed.load(Ordering::Relaxed) && !self.is_told.swap(true, Ordering::Relaxed)
    }
}

/// A probability sampler presumes that a trace id is random: the parent's flags do not say so (SMP-6).
pub(crate) static PRESUMED_RANDOM: Hint = Hint::new(
    "a sampler by probability met a parent that does not say whether its trace id is random: it is \
     taken for random, and if it is not, too many or too few traces are kept. Let the service where \
     the traces begin set the `random` flag of `traceparent`, or `rv` in `tracestate`",
);

/// A sampler by ratio decides for a span that has a parent (SMP-4).
pub(crate) static RATIO_BELOW_PARENT: Hint = Hint::new(
    "the sampler TraceIdRatio decided for a span with a parent: the service of the parent may take its \
     ratio in another way, and then parts of traces are kept. Use it for roots, in ParentBased \
     (`parentbased_traceidratio`), or use ProbabilitySampler",
);

/// The program uses more instrumentation scopes than a pipeline distinguishes.
pub(crate) static TOO_MANY_SCOPES: Hint = Hint::new(
    "more than 1,000 instrumentation scopes were asked for: spans of further ones go out under the common \
     scope, with the attribute `otel.scope.name`. Name tracers by library, not by what differs from call \
     to call",
);

/// An event has a field that tracing-opentelemetry's `MetricsLayer` takes for a metric.
pub(crate) static METRIC_FIELDS: Hint = Hint::new(
    "fields named `counter.*`, `monotonic_counter.*`, `histogram.*` or `gauge.*` are attributes of span events here, \
     and no metrics: tracing-opentelemetry's MetricsLayer measures them. Use a meter of the `opentelemetry` \
     API, or keep that layer beside this one",
);

/// All hints.
pub(crate) static HINTS: &[&Hint] = &[
    &PRESUMED_RANDOM,
    &RATIO_BELOW_PARENT,
    &TOO_MANY_SCOPES,
    &METRIC_FIELDS,
];
