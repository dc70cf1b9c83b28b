//! [`ConcurrencyLimiter`]: how many requests are under way at once (OTLP-9).

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::health::Probe;

/// Gives out so many permits and no more; a semaphore that counts what it gave.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use tracing_otlp::export::ConcurrencyLimiter;
///
/// let limiter = ConcurrencyLimiter::new(2);
/// let permit = limiter.acquire().await;
/// assert_eq!(limiter.in_use(), 1);
/// drop(permit);
/// assert_eq!(limiter.in_use(), 0);
/// # });
/// ```
#[derive(Debug, Clone)]
pub struct ConcurrencyLimiter {
    permits: Arc<Semaphore>,
    limit: usize,
}

/// The right to have one request under way; given back when dropped.
#[derive(Debug)]
#[must_use = "the permit is given back when it is dropped"]
pub struct ConcurrencyPermit {
    /// `None` only where the limiter was closed, which nobody does.
    _permit: Option<OwnedSemaphorePermit>,
    /// The endpoint is down, and the request is the one that asks whether it still is.
    pub(super) probe: Option<Probe>,
}

impl ConcurrencyLimiter {
    /// `limit` permits; at least one, and at most as many as a semaphore holds.
    pub fn new(limit: usize) -> Self {
        let limit = limit.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            permits: Arc::new(Semaphore::new(limit)),
            limit,
        }
    }

    /// Waits for a permit, in the order of the calls. Cancel safe.
    pub async fn acquire(&self) -> ConcurrencyPermit {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        ConcurrencyPermit {
            _permit: permit.ok(),
            probe: None,
        }
    }

    /// Permits that are out.
    pub fn in_use(&self) -> usize {
        self.limit.saturating_sub(self.permits.available_permits())
    }

    /// Permits in all.
    pub fn limit(&self) -> usize {
        self.limit
    }
}
