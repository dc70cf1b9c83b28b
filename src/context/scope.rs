//! Scopes: a context without a span, for a closure, a future or another thread.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::current_context::current_context;
use super::{TraceContext, stack};

/// The current context: that of the innermost entered span or open scope on this thread.
///
/// Works anywhere: in a handler, in a log formatter, inside a span or in a scope alone, and also for
/// spans that are not sampled. If nothing is current, the context is not
/// [valid](TraceContext::is_valid). No allocation.
///
/// ```
/// use tracing_otlp::{SpanId, TraceContext, TraceId, context};
/// use tracing_otlp::context::TraceFlags;
///
/// let cx = TraceContext::new(
///     TraceId::from_bytes([1; 16]),
///     SpanId::from_bytes([2; 8]),
///     TraceFlags::SAMPLED,
/// );
/// context::sync_scope(cx.clone(), || assert_eq!(context::current(), cx));
/// assert!(!context::current().is_valid());
/// ```
#[inline]
pub fn current() -> TraceContext {
    current_context()
}

/// Runs `future` in `context`, in each poll and in its drop.
///
/// A span made in the scope, outside of other spans of the scope, is a child of the context and
/// continues its trace and its sampling decision. The context takes precedence over the spans around
/// the scope; a span entered within takes precedence over the context. A context that is not
/// [valid](TraceContext::is_valid) separates: spans made in it begin new traces.
///
/// ```
/// # use tracing_otlp::{SpanId, TraceContext, TraceId, context};
/// # use tracing_otlp::context::TraceFlags;
/// # async fn handle() {}
/// # async fn run(remote: TraceContext) {
/// context::scope(remote, async {
///     handle().await; // its spans are children of `remote`
/// })
/// .await;
/// # }
/// ```
pub fn scope<F: Future>(context: TraceContext, future: F) -> WithTraceContext<F> {
    WithTraceContext {
        future: Some(future),
        is_scope: true,
        context,
    }
}

/// Runs `f` in `context`, as [`scope`] does for a future.
pub fn sync_scope<R>(context: TraceContext, f: impl FnOnce() -> R) -> R {
    let _open = stack::open(context);
    f()
}

/// Carries the current context to the place where the closure runs: another thread, a blocking task.
///
/// ```
/// use tracing_otlp::context;
///
/// # fn work() {}
/// std::thread::spawn(context::in_current_trace_context(|| {
///     work(); // its spans are children of what was current at the spawn
/// }));
/// ```
///
/// If nothing is current, the closure runs without a scope.
pub fn in_current_trace_context<R>(f: impl FnOnce() -> R) -> impl FnOnce() -> R {
    let context = captured();
    move || {
        let _open = context.map(stack::open);
        f()
    }
}

/// The current context, if any: an empty one would open a scope that separates the work from the
/// spans around it at its destination.
fn captured() -> Option<TraceContext> {
    let context = current();
    (context != TraceContext::default()).then_some(context)
}

/// Contexts for futures.
pub trait FutureExt: Future + Sized {
    /// Runs the future in `context`: [`scope`] as a method.
    fn with_trace_context(self, context: TraceContext) -> WithTraceContext<Self> {
        scope(context, self)
    }

    /// Runs the future in the context that is current at this call, for spawned tasks. If nothing is
    /// current, the future runs without a scope.
    ///
    /// ```
    /// use tracing_otlp::context::FutureExt as _;
    ///
    /// # async fn work() {}
    /// # async fn run() {
    /// tokio::spawn(work().in_current_trace_context());
    /// # }
    /// ```
    fn in_current_trace_context(self) -> WithTraceContext<Self> {
        let context = captured();
        WithTraceContext {
            future: Some(self),
            is_scope: context.is_some(),
            context: context.unwrap_or_default(),
        }
    }
}

impl<F: Future> FutureExt for F {}

pin_project! {
    /// A future that runs in a context; from [`scope`] and [`FutureExt`].
    #[derive(Debug)]
    #[must_use = "a future does nothing unless it is polled"]
    pub struct WithTraceContext<F> {
        // An option, so that it can be dropped in its context.
        #[pin]
        future: Option<F>,
        // False if nothing was current at the capture: then no scope is opened.
        is_scope: bool,
        context: TraceContext,
    }

    impl<F> PinnedDrop for WithTraceContext<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            let _open = this.is_scope.then(|| stack::open(this.context.clone()));
            this.future.set(None);
        }
    }
}

impl<F> WithTraceContext<F> {
    /// The context of the future's scope; not valid if nothing was current at the capture.
    pub fn trace_context(&self) -> &TraceContext {
        &self.context
    }
}

impl<F: Future> Future for WithTraceContext<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let _open = this.is_scope.then(|| stack::open(this.context.clone()));
        match this.future.as_pin_mut() {
            Some(future) => future.poll(cx),
            // Only while it is dropped.
            None => Poll::Pending,
        }
    }
}
