//! The global propagator of the process.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwapOption;

use super::{
    BaggagePropagator, CompositePropagator, Extractor, Injector, Propagator, TraceContextPropagator,
};
use crate::config::PropagatorKind;
use crate::context::TraceContext;

/// The global propagator: each call uses the one that is set at that moment. Reading it takes no lock.
///
/// By default it is W3C's trace context and baggage; for the order of settings see
/// [the module](crate::propagation#which-formats-and-who-decides).
pub const fn global() -> GlobalPropagator {
    GlobalPropagator(())
}

/// Sets the global propagator; later pipelines do not change it, another call does. A [`global()`]
/// within it has no effect.
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
    IS_SET.store(true, Ordering::Release);
}

/// Sets the propagator of a pipeline: from code, else from its settings. Does nothing without either,
/// or after [`set_global`].
pub(crate) fn set_by_pipeline(
    propagator: Option<Box<dyn Propagator>>,
    kinds: Option<&[PropagatorKind]>,
) {
    let propagator = propagator.or_else(|| Some(Box::new(CompositePropagator::new(kinds?)) as _));
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
    IS_SET.store(true, Ordering::Release);
}

/// A handle to the global propagator, from [`global()`]; it follows later changes.
#[derive(Debug, Clone, Copy)]
pub struct GlobalPropagator(());

impl Propagator for GlobalPropagator {
    fn inject(&self, cx: &TraceContext, carrier: &mut dyn Injector) {
        if !is_set() {
            return inject_default(cx, carrier);
        }
        let Some(_inside) = Inside::enter() else {
            return;
        };
        match &*GLOBAL.load() {
            Some(global) => global.propagator.inject(cx, carrier),
            None => inject_default(cx, carrier),
        }
    }

    fn extract(&self, parent: TraceContext, carrier: &dyn Extractor) -> TraceContext {
        if !is_set() {
            return extract_default(parent, carrier);
        }
        let Some(_inside) = Inside::enter() else {
            return parent;
        };
        match &*GLOBAL.load() {
            Some(global) => global.propagator.extract(parent, carrier),
            None => extract_default(parent, carrier),
        }
    }

    fn fields(&self) -> Vec<&'static str> {
        let Some(_inside) = Inside::enter() else {
            return Vec::new();
        };
        match &*GLOBAL.load() {
            Some(global) => global.propagator.fields(),
            None => CompositePropagator::new(PropagatorKind::DEFAULT).fields(),
        }
    }
}

fn inject_default(cx: &TraceContext, carrier: &mut dyn Injector) {
    TraceContextPropagator.inject(cx, carrier);
    BaggagePropagator.inject(cx, carrier);
}

fn extract_default(parent: TraceContext, carrier: &dyn Extractor) -> TraceContext {
    let cx = TraceContextPropagator.extract(parent, carrier);
    BaggagePropagator.extract(cx, carrier)
}

/// Whether a propagator has ever been set. Most processes set none: they need neither the pointer nor the
/// mark against recursion, each of which is an exchange of memory for each request.
static IS_SET: AtomicBool = AtomicBool::new(false);

#[inline]
fn is_set() -> bool {
    IS_SET.load(Ordering::Acquire)
}

/// Marks that a thread is within the global propagator, because one that contains [`global()`] would
/// recurse without end.
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
