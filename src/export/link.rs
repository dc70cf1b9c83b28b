//! What a client and its deliveries share: the way to the endpoint, and how it has fared.

use std::time::Duration;

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
}

impl Link {
    pub(super) fn new(transport: Transport, config: ExporterConfig, cap: Option<Duration>) -> Self {
        Self {
            transport,
            config,
            cap,
            cancel: CancellationToken::new(),
            trouble: Mutex::new(None),
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
