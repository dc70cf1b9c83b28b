//! [`InFlight`]: counts the requests that a server is serving, so that a shutdown can wait for them.

use std::fmt;
use std::future::Future;

use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// Counts the requests that a server is serving, each until the end of its response's body.
///
/// Set by [`ServerLayer::with_in_flight`](super::ServerLayer::with_in_flight). Clones share the counter,
/// and several layers can use the same one.
#[derive(Clone)]
pub struct InFlight(TaskTracker);

/// Counts as one request until it is dropped: from [`InFlight::token`].
#[derive(Debug)]
#[must_use = "it counts until it is dropped"]
pub struct InFlightToken(#[allow(dead_code, reason = "held for its drop")] TaskTrackerToken);

impl InFlight {
    /// A counter at zero.
    pub fn new() -> Self {
        let tracker = TaskTracker::new();
        // `TaskTracker::wait` resolves only once the tracker is closed; tokens are still given.
        tracker.close();
        Self(tracker)
    }

    /// The number of requests in flight.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no request is in flight.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Resolves when no request is in flight.
    pub fn wait(&self) -> impl Future<Output = ()> + Send + 'static {
        let tracker = self.0.clone();
        async move { tracker.wait().await }
    }

    /// Counts one more until the token is dropped: for work that outlives its request and that a shutdown
    /// waits for, such as a WebSocket's session.
    ///
    /// ```
    /// # async fn talk() {}
    /// use tracing_otlp::middleware::InFlight;
    ///
    /// # async fn upgraded(in_flight: InFlight) {
    /// let session = in_flight.token();
    /// tokio::spawn(async move {
    ///     talk().await;
    ///     drop(session);
    /// });
    /// # }
    /// ```
    pub fn token(&self) -> InFlightToken {
        InFlightToken(self.0.token())
    }
}

impl Default for InFlight {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for InFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("InFlight").field(&self.len()).finish()
    }
}
