//! [`FlushRequest`]: a caller waits for a flush or the shutdown; [`RequestQueue`]: the requests on their way
//! to the worker.
//!
//! Submitting a request and collecting it take the same lock. So every span that the caller pushed before
//! is in the shards when the worker drains them for the request.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::wake::Wake;
use crate::error::Error;
use crate::sync::{Arc, Condvar, Mutex, lock, wait, wait_timeout};

/// The operation of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    Flush,
    Shutdown,
}

impl Command {
    fn step(self) -> &'static str {
        match self {
            Self::Flush => "flush",
            Self::Shutdown => "shutdown",
        }
    }
}

/// The result of a request. Clones go to all callers that wait for it.
pub(crate) type FlushResult = Result<(), FlushError>;

/// An [`Error`] that can be cloned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FlushError {
    Timeout {
        command: Command,
        after: Duration,
        /// The obstacle, if known.
        why: Option<String>,
    },
    Lost {
        lost: Lost,
        why: Option<String>,
    },
    Worker(&'static str),
    /// This process is a fork of the process `origin`, which has the worker.
    Forked {
        origin: u32,
        spans: u64,
    },
}

/// The numbers of items that could not be delivered.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) spans: u64,
    pub(crate) logs: u64,
    /// Attributes, events, links and texts that spans left out for want of memory.
    pub(crate) left_out: u64,
}

impl From<FlushError> for Error {
    fn from(error: FlushError) -> Self {
        match error {
            FlushError::Timeout {
                command,
                after,
                why,
            } => Error::timeout(command.step(), after, why),
            FlushError::Lost { lost, why } => Error::export(lost.in_words(why.as_deref())),
            FlushError::Worker(message) => Error::worker(message),
            FlushError::Forked { origin, spans } => Error::worker(forked(origin, spans)),
        }
    }
}

impl Lost {
    pub(super) fn in_words(self, why: Option<&str>) -> String {
        let Self {
            spans,
            logs,
            left_out,
        } = self;
        let mut text = match (spans, logs) {
            (0, 0) => String::new(),
            (_, 0) => format!("{spans} spans could not be delivered"),
            (0, _) => format!("{logs} log records could not be delivered"),
            _ => format!("{spans} spans and {logs} log records could not be delivered"),
        };
        if let Some(why) = why.filter(|_| !text.is_empty()) {
            text.push_str(": ");
            text.push_str(why);
        }
        if left_out > 0 {
            let sep = if text.is_empty() { "" } else { "; " };
            text.push_str(&format!(
                "{sep}spans left out {left_out} attributes, events, links or texts for want of \
                 memory: raise max_memory (with_max_memory)"
            ));
        }
        text
    }
}

/// The message for a fork of the process `origin`: it sends nothing.
pub(super) fn forked(origin: u32, spans: u64) -> String {
    format!(
        "process {} is a fork of {origin}, which has the pipeline: spans recorded here are not sent \
         ({spans} so far); build a pipeline after the fork, in the child",
        std::process::id()
    )
}

#[derive(Debug)]
pub(crate) struct FlushRequest {
    pub(crate) command: Command,
    pub(crate) timeout: Duration,
    /// `None`: beyond the range of an `Instant`.
    pub(crate) deadline: Option<Instant>,
    state: Mutex<FlushRequestState>,
    resolved: Condvar,
}

#[derive(Debug, Default)]
struct FlushRequestState {
    outcome: Option<FlushResult>,
    waker: Option<Waker>,
}

/// The time beyond its deadline for which a blocking call waits for the worker's result. The worker keeps the
/// deadline itself, unless an exporter blocks its thread.
const GRACE: Duration = Duration::from_millis(90);

impl FlushRequest {
    fn new(command: Command, timeout: Duration) -> Self {
        Self {
            command,
            timeout,
            deadline: Instant::now().checked_add(timeout),
            state: Mutex::new(FlushRequestState::default()),
            resolved: Condvar::new(),
        }
    }

    /// A request that is resolved from the start.
    pub(super) fn resolved(command: Command, timeout: Duration, outcome: FlushResult) -> Self {
        let request = Self::new(command, timeout);
        request.resolve(outcome);
        request
    }

    /// Sets the result and wakes the callers; the first result counts.
    pub(crate) fn resolve(&self, outcome: FlushResult) {
        let waker = {
            let mut state = lock(&self.state);
            state.outcome.get_or_insert(outcome);
            state.waker.take()
        };
        self.resolved.notify_all();
        if let Some(waker) = waker {
            // Foreign code: the executor that polled the future.
            let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
        }
    }

    pub(crate) fn is_resolved(&self) -> bool {
        lock(&self.state).outcome.is_some()
    }

    /// `why`: the obstacle.
    pub(crate) fn timed_out(&self, why: Option<String>) -> FlushResult {
        Err(FlushError::Timeout {
            command: self.command,
            after: self.timeout,
            why,
        })
    }

    pub(crate) fn is_overdue(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }

    /// Blocks until the request is resolved; `None` a little after the deadline, if the worker is blocked.
    pub(crate) fn wait(&self) -> Option<FlushResult> {
        let limit = self.deadline.and_then(|d| d.checked_add(GRACE));
        let mut state = lock(&self.state);
        loop {
            if let Some(outcome) = &state.outcome {
                return Some(outcome.clone());
            }
            state = match limit {
                None => wait(&self.resolved, state),
                Some(limit) => {
                    let left = limit.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return None;
                    }
                    wait_timeout(&self.resolved, state, left)
                }
            };
        }
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<FlushResult> {
        // Wakers are foreign code: cloned before the lock is taken, dropped after it is let go.
        let waker = cx.waker().clone();
        let _old = {
            let mut state = lock(&self.state);
            if let Some(outcome) = &state.outcome {
                return Poll::Ready(outcome.clone());
            }
            state.waker.replace(waker)
        };
        Poll::Pending
    }
}

/// Resolves when the request is resolved; needs no runtime.
#[derive(Debug)]
pub(crate) struct Resolution(pub(crate) Arc<FlushRequest>);

impl Future for Resolution {
    type Output = Result<(), Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll(cx).map_err(Error::from)
    }
}

/// The requests that the worker has not collected yet.
#[derive(Debug, Default)]
pub(crate) struct RequestQueue {
    state: Mutex<RequestQueueState>,
}

#[derive(Debug, Default)]
struct RequestQueueState {
    waiting: Vec<Arc<FlushRequest>>,
    /// The result of the shutdown, after the end of the worker.
    closed: Option<FlushResult>,
}

impl RequestQueue {
    /// Adds a request and wakes the worker; after the worker's end the request is resolved at once.
    pub(crate) fn submit(
        &self,
        command: Command,
        timeout: Duration,
        wake: &Wake,
    ) -> Arc<FlushRequest> {
        let request = Arc::new(FlushRequest::new(command, timeout));
        let closed = {
            let mut state = lock(&self.state);
            if state.closed.is_none() {
                state.waiting.push(Arc::clone(&request));
            }
            state.closed.clone()
        };
        match closed {
            None => wake.notify(),
            Some(outcome) => request.resolve(after_close(command, outcome)),
        }
        request
    }

    /// Takes the requests that were submitted since the last call.
    pub(crate) fn collect(&self) -> Vec<Arc<FlushRequest>> {
        std::mem::take(&mut lock(&self.state).waiting)
    }

    /// At the worker's end: resolves the waiting requests, and from now on each new one at once. The first
    /// result counts (BSP-7).
    pub(crate) fn close(&self, outcome: FlushResult) {
        let (waiting, outcome) = {
            let mut state = lock(&self.state);
            let outcome = state.closed.get_or_insert(outcome).clone();
            (std::mem::take(&mut state.waiting), outcome)
        };
        for request in waiting {
            request.resolve(after_close(request.command, outcome.clone()));
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        lock(&self.state).closed.is_some()
    }
}

/// After a shutdown the queue is empty, so a flush succeeds (BSP-7), whatever the result of the shutdown.
fn after_close(command: Command, outcome: FlushResult) -> FlushResult {
    match (command, outcome) {
        (Command::Flush, Err(FlushError::Timeout { .. } | FlushError::Lost { .. })) => Ok(()),
        (_, outcome) => outcome,
    }
}

#[cfg(all(test, not(tracing_otlp_loom)))]
#[allow(clippy::unwrap_used, reason = "a test may fail by panicking")]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_request_resolves_once_for_waiters_of_both_kinds() {
        let (requests, wake) = (RequestQueue::default(), Wake::new());
        let request = requests.submit(Command::Flush, LONG, &wake);
        let mut future = tokio_test::task::spawn(Resolution(Arc::clone(&request)));
        assert!(future.poll().is_pending());
        let waiter = {
            let request = Arc::clone(&request);
            std::thread::spawn(move || request.wait())
        };
        for taken in requests.collect() {
            taken.resolve(Ok(()));
            taken.resolve(Err(FlushError::Worker("late")));
        }
        assert_eq!(waiter.join().unwrap(), Some(Ok(())));
        assert!(future.is_woken());
        assert!(matches!(future.poll(), Poll::Ready(Ok(()))));
    }

    #[test]
    fn a_blocking_wait_ends_although_nobody_answers() {
        let request =
            RequestQueue::default().submit(Command::Flush, Duration::from_millis(5), &Wake::new());
        assert_eq!(request.wait(), None);
        let far = RequestQueue::default().submit(Command::Flush, Duration::MAX, &Wake::new());
        assert!(!far.is_overdue(Instant::now() + LONG));
    }

    /// BSP-7: later calls get the first outcome, a later flush has nothing to do.
    #[test]
    fn a_closed_queue_answers_at_once_with_the_first_result() {
        let (requests, wake) = (RequestQueue::default(), Wake::new());
        let early = requests.submit(Command::Shutdown, LONG, &wake);
        let lost = Err(FlushError::Lost {
            lost: Lost {
                spans: 3,
                ..Lost::default()
            },
            why: Some("no route".into()),
        });
        requests.close(lost.clone());
        requests.close(Ok(()));
        assert_eq!(early.wait(), Some(lost.clone()));
        assert_eq!(
            requests.submit(Command::Shutdown, LONG, &wake).wait(),
            Some(lost)
        );
        assert_eq!(
            requests.submit(Command::Flush, LONG, &wake).wait(),
            Some(Ok(()))
        );
        let error = requests
            .submit(Command::Shutdown, LONG, &wake)
            .wait()
            .unwrap();
        assert_eq!(
            Error::from(error.unwrap_err()).to_string(),
            "3 spans could not be delivered: no route"
        );
    }
}
