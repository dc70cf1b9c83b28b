//! [`CompositePropagator`]: several formats at once.

use std::fmt;

use super::{
    B3Propagator, BaggagePropagator, Extractor, Injector, JaegerPropagator, Propagator,
    TraceContextPropagator, XRayPropagator,
};
use crate::config::{OtlpConfig, PropagatorKind};
use crate::context::TraceContext;

/// Several propagators in order: all write, and of those that find a context the last one counts.
/// Without a propagator, no context is propagated.
///
/// ```
/// use tracing_otlp::config::PropagatorKind;
/// use tracing_otlp::propagation::{B3Propagator, CompositePropagator, Propagator as _};
///
/// let both = CompositePropagator::new(&[PropagatorKind::TraceContext, PropagatorKind::Baggage])
///     .with(B3Propagator::multi());
/// assert_eq!(both.fields()[..3], ["traceparent", "tracestate", "baggage"]);
/// ```
#[derive(Default)]
pub struct CompositePropagator(Vec<CompositeMember>);

struct CompositeMember {
    propagator: Box<dyn Propagator>,
    fields: Vec<&'static str>,
}

impl CompositePropagator {
    /// Writes and reads nothing. `none` in `OTEL_PROPAGATORS`.
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// The propagators of these formats, in their order.
    pub fn new(kinds: &[PropagatorKind]) -> Self {
        let all = kinds.iter().copied().map(propagator);
        Self(all.map(CompositeMember::of).collect())
    }

    /// The propagators of `OTEL_PROPAGATORS`; by default W3C's trace context and baggage.
    ///
    /// An invalid entry leaves a warning in the [`warnings`](OtlpConfig::warnings) of
    /// [`OtlpConfig::from_env`], which a pipeline reports by itself.
    pub fn from_env() -> Self {
        match OtlpConfig::from_env().propagators {
            Some(kinds) => Self::new(&kinds),
            None => Self::new(PropagatorKind::DEFAULT),
        }
    }

    /// Adds a last propagator.
    #[must_use]
    pub fn with(mut self, propagator: impl Propagator) -> Self {
        self.0.push(CompositeMember::of(Box::new(propagator)));
        self
    }
}

impl CompositeMember {
    fn of(propagator: Box<dyn Propagator>) -> Self {
        Self {
            fields: propagator.fields(),
            propagator,
        }
    }
}

/// Keeps a propagator from removing fields of the propagators before it, which have just written them.
struct AfterOthers<'a> {
    carrier: &'a mut dyn Injector,
    before: &'a [CompositeMember],
}

impl Injector for AfterOthers<'_> {
    fn set(&mut self, key: &str, value: &str) {
        self.carrier.set(key, value);
    }

    fn remove(&mut self, key: &str) {
        let is_written = |member: &CompositeMember| member.fields.contains(&key);
        if !self.before.iter().any(is_written) {
            self.carrier.remove(key);
        }
    }
}

impl Propagator for CompositePropagator {
    fn inject(&self, cx: &TraceContext, carrier: &mut dyn Injector) {
        for (at, member) in self.0.iter().enumerate() {
            let mut carrier = AfterOthers {
                carrier,
                before: &self.0[..at],
            };
            member.propagator.inject(cx, &mut carrier);
        }
    }

    fn extract(&self, parent: TraceContext, carrier: &dyn Extractor) -> TraceContext {
        let all = self.0.iter();
        all.fold(parent, |cx, member| member.propagator.extract(cx, carrier))
    }

    fn fields(&self) -> Vec<&'static str> {
        let mut fields = Vec::new();
        for field in self.0.iter().flat_map(|member| &member.fields) {
            if !fields.contains(field) {
                fields.push(*field);
            }
        }
        fields
    }
}

impl fmt::Debug for CompositePropagator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CompositePropagator")
            .field(&self.fields())
            .finish()
    }
}

fn propagator(kind: PropagatorKind) -> Box<dyn Propagator> {
    match kind {
        PropagatorKind::TraceContext => Box::new(TraceContextPropagator),
        PropagatorKind::Baggage => Box::new(BaggagePropagator),
        PropagatorKind::B3 => Box::new(B3Propagator::single()),
        PropagatorKind::B3Multi => Box::new(B3Propagator::multi()),
        PropagatorKind::Jaeger => Box::new(JaegerPropagator),
        PropagatorKind::XRay => Box::new(XRayPropagator),
    }
}
