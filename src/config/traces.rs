//! What the variables of traces can name: exporters, samplers, propagators.

/// The exporters that `OTEL_TRACES_EXPORTER` can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum TracesExporterKind {
    /// Send to an OTLP endpoint.
    #[default]
    Otlp,
    /// Print each span to standard output.
    Console,
    /// Show the traces in the browser: see [`viewer()`](crate::viewer()). The variable alone does so
    /// only in a build with `debug_assertions`; a release build needs this value in code.
    #[cfg(feature = "viewer")]
    Viewer,
    /// Write OTLP as lines of JSON to standard output; `otlp/stdout`.
    #[cfg(feature = "file")]
    OtlpStdout,
    /// Export nothing; spans still have contexts, which are propagated. Exporters from code get spans all the
    /// same: [`with_exporter`](crate::OtlpBuilder::with_exporter),
    /// [`with_additional_endpoint`](crate::OtlpBuilder::with_additional_endpoint).
    None,
}

/// The samplers that `OTEL_TRACES_SAMPLER` can name. In the parent-based ones a child follows its
/// parent.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub enum SamplerConfig {
    /// Every root, and children as their parents: the specification's default.
    #[default]
    ParentBasedAlwaysOn,
    /// No root, and children as their parents.
    ParentBasedAlwaysOff,
    /// This part of the roots, between 0 and 1, and children as their parents.
    ParentBasedTraceIdRatio(f64),
    /// Every span.
    AlwaysOn,
    /// No span.
    AlwaysOff,
    /// This part of the traces, between 0 and 1, independent of the parent.
    TraceIdRatio(f64),
}

/// The formats that `OTEL_PROPAGATORS` can name; each is a type of
/// [`propagation`](crate::propagation).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PropagatorKind {
    /// W3C Trace Context: `tracecontext`.
    TraceContext,
    /// W3C Baggage: `baggage`.
    Baggage,
    /// Zipkin's B3 in one header: `b3`.
    B3,
    /// Zipkin's B3 in several headers: `b3multi`.
    B3Multi,
    /// Jaeger's own headers, deprecated: `jaeger`.
    Jaeger,
    /// AWS X-Ray: `xray`.
    XRay,
}

impl PropagatorKind {
    /// The default formats: W3C Trace Context and W3C Baggage.
    pub const DEFAULT: &[Self] = &[Self::TraceContext, Self::Baggage];
}
