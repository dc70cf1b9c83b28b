//! The current context of a thread: a stack of its entered spans and open scopes.
//!
//! All layers of the process share the stack. A span's entry names its layer, because ids of two
//! registries may be equal; a scope counts for every layer. An exit out of order removes its own entry
//! from wherever it is, so that guards dropped in the wrong order, or held across an await, leave no
//! stale entry (PAIN 18).
//!
//! Whether an entry repeats one below is found by a walk over those. High in a stack it is found once and
//! noted in the entry, and the walk is made only where a filter says that it may ([`EnteredFilter`]). So a
//! new span and an event cost the same at every depth.

mod entered;

use std::cell::RefCell;
use std::sync::atomic::{AtomicU32, Ordering};

use self::entered::EnteredFilter;

use super::{TraceContext, otel_context};

/// The current context for a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Innermost {
    Nothing,
    Span(u64),
    /// A scope was opened after the last span was entered: [`scope_context`] is its context.
    Scope,
}

/// A span entered on this thread, or a scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct StackEntry {
    /// [`SCOPE`] for a scope.
    layer: u32,
    below: Below,
    /// For a scope its index in `scopes`.
    span: u64,
}

/// Whether the entries below one have its span too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Below {
    Unknown,
    Nothing,
    /// Beneath a scope: to a layer the scope is current between them.
    InOtherScope,
    InThisScope,
}

impl StackEntry {
    fn new(layer: u32, span: u64) -> Self {
        Self {
            layer,
            below: Below::Unknown,
            span,
        }
    }

    #[inline(always)]
    fn is(&self, layer: u32, span: u64) -> bool {
        self.span == span && self.layer == layer
    }
}

/// A number for a layer, or for a registry that notes its spans under a number of its own.
pub(crate) fn next_number() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Stands for the layer in the entry of a scope.
pub(crate) const SCOPE: u32 = u32::MAX;

#[derive(Debug)]
struct Stack {
    entries: Vec<StackEntry>,
    scopes: Vec<TraceContext>,
    /// The number of entries that the filter has, from the lowest on.
    filtered: usize,
    filter: EnteredFilter,
}

/// An entry with fewer below it is looked for among them each time.
const SHALLOW: usize = 8;

thread_local! {
    static STACK: RefCell<Stack> = const {
        RefCell::new(Stack {
            entries: Vec::new(),
            scopes: Vec::new(),
            filtered: 0,
            filter: EnteredFilter::new(),
        })
    };
}

impl Stack {
    /// What is below an entry.
    #[inline(always)]
    fn below(&mut self, at: usize, entry: StackEntry) -> Below {
        if at < SHALLOW {
            return below(self.entries.get(..at).unwrap_or_default(), entry);
        }
        match entry.below {
            Below::Unknown => self.look_below(at, entry),
            known => known,
        }
    }

    #[cold]
    #[inline(never)]
    fn look_below(&mut self, at: usize, entry: StackEntry) -> Below {
        let found = match self.may_be_below(at, entry) {
            true => below(self.entries.get(..at).unwrap_or_default(), entry),
            false => Below::Nothing,
        };
        if let Some(entry) = self.entries.get_mut(at) {
            entry.below = found;
        }
        found
    }

    fn may_be_below(&mut self, at: usize, entry: StackEntry) -> bool {
        if self.filter.is_small_for(self.entries.len()) {
            self.filter.enlarge(self.entries.len());
            self.filtered = 0;
        }
        let new = self.entries.iter().take(at + 1).skip(self.filtered);
        for entry in new.filter(|e| e.layer != SCOPE) {
            self.filter.add(entry.layer, entry.span);
        }
        self.filtered = self.filtered.max(at + 1);
        self.filter.count(entry.layer, entry.span) > 1
    }

    /// Removes the last entry of a span or scope.
    #[inline(always)]
    fn remove(&mut self, layer: u32, span: u64) -> bool {
        if self.entries.last().is_some_and(|e| e.is(layer, span)) {
            self.entries.pop();
            if self.filtered > self.entries.len() {
                self.remove_from_filter(layer, span);
            }
            return true;
        }
        self.remove_beneath(layer, span)
    }

    #[cold]
    #[inline(never)]
    fn remove_from_filter(&mut self, layer: u32, span: u64) {
        self.filtered -= 1;
        if layer != SCOPE {
            self.filter.remove(layer, span);
        }
    }

    #[cold]
    #[inline(never)]
    fn remove_beneath(&mut self, layer: u32, span: u64) -> bool {
        let Some(at) = self.entries.iter().rposition(|e| e.is(layer, span)) else {
            return false;
        };
        self.entries.remove(at);
        if at < self.filtered {
            self.remove_from_filter(layer, span);
        }
        if layer == SCOPE {
            // What was entered within it, and is not left, belongs to the scope around.
            let above = self.entries.iter_mut().skip(at);
            above.for_each(|entry| entry.below = Below::Unknown);
        }
        true
    }

    /// The last entry, if it is certain to repeat none below in its scope.
    #[inline(always)]
    fn last(&self) -> Option<StackEntry> {
        let (last, below) = self.entries.split_last()?;
        let is_new = match below.len() < SHALLOW {
            true => {
                let mut in_scope = below.iter().rev().take_while(|e| e.layer != SCOPE);
                !in_scope.any(|e| e.is(last.layer, last.span))
            }
            false => last.below == Below::Nothing,
        };
        is_new.then_some(*last)
    }

    /// The first result of `f` on the spans of a registry, each once, whatever scopes are open.
    #[inline(always)]
    fn find_of<R>(&mut self, registry: u32, mut f: impl FnMut(u64) -> Option<R>) -> Option<R> {
        self.find(|stack, at, entry| {
            let is_of = entry.layer == registry && stack.below(at, entry) == Below::Nothing;
            is_of.then(|| f(entry.span)).flatten()
        })
    }

    /// The innermost entry for which `f` has a result.
    #[inline(always)]
    fn find<R>(
        &mut self,
        mut f: impl FnMut(&mut Self, usize, StackEntry) -> Option<R>,
    ) -> Option<R> {
        let mut at = self.entries.len();
        while let Some(below) = at.checked_sub(1) {
            at = below;
            let entry = *self.entries.get(at)?;
            let found = f(self, at, entry);
            if found.is_some() {
                return found;
            }
        }
        None
    }
}

/// What is among the entries below one.
#[inline(always)]
fn below(entries: &[StackEntry], entry: StackEntry) -> Below {
    let mut same = Below::InThisScope;
    for other in entries.iter().rev() {
        if other.is(entry.layer, entry.span) {
            return same;
        }
        if other.layer == SCOPE {
            same = Below::InOtherScope;
        }
    }
    Below::Nothing
}

/// Notes that `layer`'s span was entered on this thread.
#[inline]
pub(crate) fn enter(layer: u32, span: u64) {
    // `try_with` fails only while the thread ends. No foreign code runs within the borrow, so
    // `borrow_mut` cannot panic.
    let _ = STACK.try_with(|s| s.borrow_mut().entries.push(StackEntry::new(layer, span)));
}

/// Notes that `layer`'s span was left on this thread; returns whether it had been entered on it.
#[inline]
pub(crate) fn exit(layer: u32, span: u64) -> bool {
    STACK
        .try_with(|s| s.borrow_mut().remove(layer, span))
        .unwrap_or(false)
}

/// A scope that is open on this thread until the guard is dropped, also by a panic.
#[derive(Debug)]
pub(crate) struct OpenScope {
    at: usize,
    /// Closes the scope on the thread that opened it.
    _not_send: std::marker::PhantomData<*const ()>,
}

/// Opens a scope on this thread.
#[inline]
pub(crate) fn open(context: TraceContext) -> OpenScope {
    let observer = otel_context::get();
    let shown = observer.map(|_| context.clone());
    let at = STACK.try_with(|s| {
        let mut stack = s.borrow_mut();
        let at = stack.scopes.len();
        stack.scopes.push(context);
        let span = at as u64;
        stack.entries.push(StackEntry::new(SCOPE, span));
        at
    });
    if let (Some(observer), Some(context), Ok(at)) = (observer, shown, at) {
        observer.entered(SCOPE, at as u64, &context, [0; 8]);
    }
    OpenScope {
        at: at.unwrap_or(usize::MAX),
        _not_send: std::marker::PhantomData,
    }
}

impl Drop for OpenScope {
    #[inline]
    fn drop(&mut self) {
        if let Some(observer) = otel_context::get() {
            observer.left(SCOPE, self.at as u64);
        }
        let _ = STACK.try_with(|s| {
            let mut stack = s.borrow_mut();
            // The scope of a forgotten inner guard ends with this one.
            while stack.scopes.len() > self.at {
                stack.scopes.pop();
                let scope = stack.scopes.len() as u64;
                stack.remove(SCOPE, scope);
            }
        });
    }
}

/// The current context on this thread for `layer`: the last entry. Skipped are a repeated entry of a
/// span without a scope between (the registry does the same), and a span for which `is_current` is false.
#[inline(always)]
pub(crate) fn innermost(layer: u32, is_current: impl Fn(u64) -> bool) -> Innermost {
    match last() {
        Some(last) if last.layer == SCOPE => Innermost::Scope,
        Some(last) if last.layer == layer && is_current(last.span) => Innermost::Span(last.span),
        _ => find_innermost(layer, is_current),
    }
}

#[inline(never)]
fn find_innermost(layer: u32, is_current: impl Fn(u64) -> bool) -> Innermost {
    let found = STACK.try_with(|s| {
        s.borrow_mut().find(|stack, at, entry| {
            if entry.layer == layer
                && stack.below(at, entry) != Below::InThisScope
                && is_current(entry.span)
            {
                return Some(Innermost::Span(entry.span));
            }
            (entry.layer == SCOPE).then_some(Innermost::Scope)
        })
    });
    let found = found.ok().flatten();
    found.unwrap_or(Innermost::Nothing)
}

/// The last entry of this thread, if it is certain to repeat none below in its scope: the common case, read
/// before a stack is walked.
#[inline(always)]
fn last() -> Option<StackEntry> {
    STACK.try_with(|s| s.borrow().last()).ok().flatten()
}

/// The last entered span of `layer` on this thread, also beneath scopes: the span of an event.
#[inline(always)]
pub(crate) fn innermost_span(layer: u32, is_current: impl Fn(u64) -> bool) -> Option<u64> {
    match last() {
        Some(last) if last.layer == layer && is_current(last.span) => Some(last.span),
        _ => find_innermost_span(layer, is_current),
    }
}

#[inline(never)]
fn find_innermost_span(layer: u32, is_current: impl Fn(u64) -> bool) -> Option<u64> {
    let found = STACK.try_with(|s| {
        s.borrow_mut().find(|stack, at, entry| {
            let is_it = entry.layer == layer
                && stack.below(at, entry) != Below::InThisScope
                && is_current(entry.span);
            is_it.then_some(entry.span)
        })
    });
    found.ok().flatten()
}

/// The current span of a registry, which is noted under this number; zero if there is none.
#[inline]
pub(crate) fn current(registry: u32) -> u64 {
    // A registry knows no scopes: a span that was entered before is current as it was then.
    let last = STACK.try_with(|s| {
        let stack = s.borrow();
        let (last, below) = stack.entries.split_last()?;
        let is_new = below.len() < SHALLOW && !below.iter().any(|e| e.is(last.layer, last.span));
        (last.layer == registry && is_new).then_some(last.span)
    });
    match last.ok().flatten() {
        Some(span) => span,
        None => find_current(registry),
    }
}

#[inline(never)]
fn find_current(registry: u32) -> u64 {
    let current = STACK.try_with(|s| s.borrow_mut().find_of(registry, Some));
    current.ok().flatten().unwrap_or(0)
}

/// The first result of `f` on the entered spans of a registry, the innermost first. `f` enters no span.
#[cold]
pub(crate) fn find_entered<R>(registry: u32, f: impl FnMut(u64) -> Option<R>) -> Option<R> {
    let found = STACK.try_with(|s| s.borrow_mut().find_of(registry, f));
    found.ok().flatten()
}

/// At most `most` entered spans of `layer` on this thread, the innermost first. For a panic, which may
/// occur while the stack is borrowed.
pub(crate) fn spans_at_panic(layer: u32, most: usize) -> Vec<u64> {
    let found = STACK.try_with(|s| {
        let stack = s.try_borrow().ok()?;
        let own = stack.entries.iter().rev().filter(|e| e.layer == layer);
        Some(own.map(|e| e.span).take(most).collect())
    });
    found.ok().flatten().unwrap_or_default()
}

/// Whether `f` is true for a span entered on this thread, by layer and id, the last first.
pub(crate) fn innermost_spans(mut f: impl FnMut(u32, u64) -> bool) -> bool {
    let found = STACK.try_with(|s| {
        let stack = s.borrow();
        let mut spans = stack.entries.iter().rev().filter(|e| e.layer != SCOPE);
        spans.any(|e| f(e.layer, e.span))
    });
    found.unwrap_or(false)
}

/// The context of the last scope opened on this thread.
#[cold]
pub(crate) fn scope_context() -> TraceContext {
    let last = STACK.try_with(|s| s.borrow().scopes.last().cloned());
    last.ok().flatten().unwrap_or_default()
}

/// Trace id, span id and W3C flags of that context; `None` if it is not valid.
#[cold]
pub(crate) fn scope_ids() -> Option<([u8; 16], [u8; 8], u8)> {
    let ids = STACK.try_with(|s| s.borrow().scopes.last().and_then(TraceContext::ids));
    ids.ok().flatten()
}

/// The last entry of a thread.
pub(super) enum Top {
    Nothing,
    Scope,
    /// A span, by its layer and id.
    Span(u32, u64),
    /// A repeated entry of a span of this layer.
    Again(u32),
}

#[inline]
pub(super) fn top() -> Top {
    match last() {
        Some(last) if last.layer == SCOPE => Top::Scope,
        Some(last) => Top::Span(last.layer, last.span),
        None => find_top(),
    }
}

#[inline(never)]
fn find_top() -> Top {
    let top = STACK.try_with(|s| {
        s.borrow_mut().find(|stack, at, last| {
            Some(match last.layer {
                SCOPE => Top::Scope,
                layer if stack.below(at, last) == Below::InThisScope => Top::Again(layer),
                layer => Top::Span(layer, last.span),
            })
        })
    });
    let top = top.ok().flatten();
    top.unwrap_or(Top::Nothing)
}

/// The context of the innermost entry that has one: `of` gives that of a span, by its layer and id. It runs
/// no foreign code.
pub(super) fn find_context(of: impl Fn(u32, u64) -> Option<TraceContext>) -> Option<TraceContext> {
    let found = STACK.try_with(|s| {
        s.borrow_mut().find(|stack, at, entry| {
            // A span that no layer holds inherits from the entries below.
            match entry.layer {
                SCOPE => stack.scopes.get(usize::try_from(entry.span).ok()?).cloned(),
                _ if stack.below(at, entry) == Below::InThisScope => None,
                layer => of(layer, entry.span),
            }
        })
    });
    found.ok().flatten()
}

#[cfg(test)]
mod tests;
