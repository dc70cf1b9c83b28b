//! The propagator that all of the process uses.

use std::cell::Cell;
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

/// Sets the process's propagator; no pipeline changes it from then on. Another call does. A
/// [`global()`] that is part of it stands for nothing.
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
        let Some(_inside) = Inside::enter() else {
            return;
        };
        match &*GLOBAL.load() {
            Some(global) => global.propagator.inject(cx, carrier),
            None => {
                TraceContextPropagator.inject(cx, carrier);
                BaggagePropagator.inject(cx, carrier);
            }
        }
    }

    fn extract(&self, parent: TraceContext, carrier: &dyn Extractor) -> TraceContext {
        let Some(_inside) = Inside::enter() else {
            return parent;
        };
        match &*GLOBAL.load() {
            Some(global) => global.propagator.extract(parent, carrier),
            None => {
                let cx = TraceContextPropagator.extract(parent, carrier);
                BaggagePropagator.extract(cx, carrier)
            }
        }
    }

    fn fields(&self) -> Vec<&'static str> {
        let Some(_inside) = Inside::enter() else {
            return Vec::new();
        };
        match &*GLOBAL.load() {
            Some(global) => global.propagator.fields(),
            None => CompositePropagator::of(PropagatorKind::DEFAULT).fields(),
        }
    }
}

/// While a thread is in the process's propagator. One that holds itself would call itself for ever.
struct Inside(());

thread_local! {
    static IS_INSIDE: Cell<bool> = const { Cell::new(false) };
}

impl Inside {
    fn enter() -> Option<Self> {
        let was = IS_INSIDE.try_with(|inside| inside.replace(true));
        (!was.unwrap_or(false)).then_some(Self(()))
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let _ = IS_INSIDE.try_with(|inside| inside.set(false));
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
