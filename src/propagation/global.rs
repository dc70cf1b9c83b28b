//! The propagator that all of the process uses.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

use super::{
    BaggagePropagator, CompositePropagator, Extractor, Injector, Propagator, TraceContextPropagator,
};
use crate::config::PropagatorKind;
use crate::context::TraceContext;

/// The process's propagator: at every call, the one that is set then (PROP-2). Reading it takes no
/// lock.
///
/// [Who decides](crate::propagation#which-formats-and-who-decides). Without any set-up it is W3C's
/// trace context and baggage.
pub const fn global() -> GlobalPropagator {
    GlobalPropagator(())
}

/// Sets the process's propagator; no pipeline changes it from then on. Another call does.
///
/// ```
/// use tracing_otlp::propagation::{self, B3Propagator, Propagator as _};
///
/// propagation::set_global(B3Propagator::single());
/// assert_eq!(propagation::global().fields(), ["b3"]);
/// ```
pub fn set_global(propagator: impl Propagator) {
    GLOBAL.store(Some(Arc::new(Global {
        propagator: Box::new(propagator),
        by: By::Code,
    })));
}

/// What a pipeline was told, by code or else by its settings. Says nothing where it was told
/// nothing.
pub(crate) fn set_by_pipeline(
    propagator: Option<Box<dyn Propagator>>,
    kinds: Option<&[PropagatorKind]>,
) {
    let propagator = propagator.or_else(|| Some(Box::new(CompositePropagator::of(kinds?)) as _));
    let Some(propagator) = propagator else {
        return;
    };
    let new = Arc::new(Global {
        propagator,
        by: By::Pipeline,
    });
    GLOBAL.rcu(|old| match old {
        Some(old) if old.by == By::Code => Some(Arc::clone(old)),
        _ => Some(Arc::clone(&new)),
    });
}

/// What [`global()`] gives: a name for whatever is set, to be kept or copied at will.
#[derive(Debug, Clone, Copy)]
pub struct GlobalPropagator(());

impl Propagator for GlobalPropagator {
    fn inject(&self, cx: &TraceContext, carrier: &mut dyn Injector) {
        match &*GLOBAL.load() {
            Some(global) => global.propagator.inject(cx, carrier),
            None => {
                TraceContextPropagator.inject(cx, carrier);
                BaggagePropagator.inject(cx, carrier);
            }
        }
    }

    fn extract(&self, parent: TraceContext, carrier: &dyn Extractor) -> TraceContext {
        match &*GLOBAL.load() {
            Some(global) => global.propagator.extract(parent, carrier),
            None => {
                let cx = TraceContextPropagator.extract(parent, carrier);
                BaggagePropagator.extract(cx, carrier)
            }
        }
    }

    fn fields(&self) -> Vec<&'static str> {
        match &*GLOBAL.load() {
            Some(global) => global.propagator.fields(),
            None => CompositePropagator::of(PropagatorKind::DEFAULT).fields(),
        }
    }
}

struct Global {
    propagator: Box<dyn Propagator>,
    by: By,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Pipeline,
    Code,
}

static GLOBAL: ArcSwapOption<Global> = ArcSwapOption::const_empty();
