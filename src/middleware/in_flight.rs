//! [`InFlight`]: how many requests are being served, and when there are none left.

use std::fmt;
use std::future::Future;

use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// The requests that are being served, each until its response's body has ended.
///
/// Given to [`ServerLayer::with_in_flight`](super::ServerLayer::with_in_flight); all clones count the
/// same. One counter can serve several layers.
#[derive(Clone)]
pub struct InFlight(TaskTracker);

/// One of them, until it is dropped: from [`InFlight::token`].
#[derive(Debug)]
#[must_use = "it counts until it is dropped"]
pub struct InFlightToken(#[allow(dead_code, reason = "held for its drop")] TaskTrackerToken);

impl InFlight {
    /// None yet.
    pub fn new() -> Self {
        let tracker = TaskTracker::new();
        // What "closed" means to it is no concern here: whoever waits for none, waits for none.
        tracker.close();
        Self(tracker)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Resolves when there are none.
    pub fn wait(&self) -> impl Future<Output = ()> + Send + 'static {
        let tracker = self.0.clone();
        async move { tracker.wait().await }
    }

    /// Counts one more, until what this returns is dropped: what goes on after its request, such as
    /// a WebSocket's session, and is to be waited for like one.
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
