//! What a client and its deliveries share: the way to the endpoint, and how it has fared.

use std::time::{Duration, Instant};

use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use super::transport::Transport;
use crate::config::ExporterConfig;
use crate::sync::{Mutex, lock};

#[derive(Debug)]
pub(super) struct Link {
    pub(super) transport: Transport,
    pub(super) config: ExporterConfig,
    /// The longest a send may take in all, also while nothing can be sent.
    pub(super) cap: Option<Duration>,
    /// Cuts short what is under way.
    pub(super) cancel: CancellationToken,
    trouble: Mutex<Option<String>>,
    /// Until when the endpoint has asked to be left alone.
    not_before: Mutex<Option<Instant>>,
}

/// The longest that new requests hold off at once, however long the endpoint asks for.
const LONGEST_QUIET: Duration = Duration::from_secs(60);
/// What nobody means who says it.
const ABSURD: Duration = Duration::from_secs(3600);

impl Link {
    pub(super) fn new(transport: Transport, config: ExporterConfig, cap: Option<Duration>) -> Self {
        Self {
            transport,
            config,
            cap,
            cancel: CancellationToken::new(),
            trouble: Mutex::new(None),
            not_before: Mutex::new(None),
        }
    }

    /// The endpoint has asked for a pause: new requests hold off too (OTLP-8).
    pub(super) fn hold_off(&self, wait: Duration) {
        if wait < ABSURD {
            let until = Instant::now().checked_add(wait.min(LONGEST_QUIET));
            let mut not_before = lock(&self.not_before);
            *not_before = (*not_before).max(until);
        }
    }

    /// Waits until the pause is over that the endpoint has asked for.
    pub(super) async fn quiet(&self) {
        loop {
            let until = *lock(&self.not_before);
            match until.filter(|until| Instant::now() < *until) {
                Some(until) => sleep_until(until.into()).await,
                None => return,
            }
        }
    }

    /// Keeps why there is no connection.
    pub(super) fn note(&self, trouble: String) {
        *lock(&self.trouble) = Some(trouble);
    }

    /// Why the endpoint cannot be reached, if it cannot.
    pub(super) fn trouble(&self) -> Option<String> {
        if self.transport.is_up() {
            return None;
        }
        lock(&self.trouble).clone()
    }
}
