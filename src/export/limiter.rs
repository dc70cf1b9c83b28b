//! [`ConcurrencyLimiter`]: the bound of concurrent requests (OTLP-9).

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A semaphore for concurrent requests: hands out at most [`limit`](Self::limit) permits and counts them.
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

/// The right to have one request in flight; returned on drop.
#[derive(Debug)]
#[must_use = "the permit is returned when it is dropped"]
pub struct ConcurrencyPermit {
    /// `None` only after the semaphore was closed, which never happens.
    _permit: Option<OwnedSemaphorePermit>,
}

impl ConcurrencyLimiter {
    /// A limiter with `limit` permits: at least one, at most [`Semaphore::MAX_PERMITS`].
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
        }
    }

    /// A permit, if one is free.
    pub(super) fn try_acquire(&self) -> Option<ConcurrencyPermit> {
        let permit = Arc::clone(&self.permits).try_acquire_owned().ok()?;
        Some(ConcurrencyPermit {
            _permit: Some(permit),
        })
    }

    /// The number of permits in use.
    pub fn in_use(&self) -> usize {
        self.limit.saturating_sub(self.permits.available_permits())
    }

    /// The number of permits in all.
    pub fn limit(&self) -> usize {
        self.limit
    }
}
