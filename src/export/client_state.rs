//! What a client and its deliveries share: the way to the endpoint, and how it has fared.

use tokio_util::sync::CancellationToken;

use super::credentials::CredentialSource;
use super::deadline::Cap;
use super::endpoint::{Signal, Target};
use super::health::{Health, Probe};
use super::size::SizeLimit;
use super::transport::Transport;
use crate::config::ExporterConfig;
use crate::sync::Arc;

#[derive(Debug)]
pub(super) struct ClientState {
    /// Connections may be shared with the client of another signal; how the endpoint fares is each
    /// signal's own.
    pub(super) transport: Arc<Transport>,
    pub(super) signal: Signal,
    pub(super) target: Target,
    pub(super) config: ExporterConfig,
    pub(super) cap: Cap,
    pub(super) credentials: CredentialSource,
    /// Cuts short what is under way.
    pub(super) cancel: CancellationToken,
    pub(super) health: Health,
    /// What the endpoint has refused as too large.
    pub(super) size: SizeLimit,
}

impl ClientState {
    pub(super) fn new(
        transport: Arc<Transport>,
        (signal, target): (Signal, Target),
        config: ExporterConfig,
        cap: Cap,
    ) -> Self {
        Self {
            transport,
            signal,
            target,
            cap,
            credentials: CredentialSource::new(
                config.header_provider.clone(),
                config.retry.clone(),
            ),
            cancel: CancellationToken::new(),
            health: Health::new(config.retry.clone()),
            size: SizeLimit::default(),
            config,
        }
    }

    /// Waits until there is a connection on which a request may go out, however long that takes; or
    /// until a shutdown has given the endpoint up.
    pub(super) async fn ready(&self) -> Option<Probe> {
        loop {
            let probe = self.health.admission().await;
            if self.transport.is_up() || self.health.is_given_up() {
                return probe;
            }
            match self.transport.connect().await {
                // That somebody listens proves little: the next answer says more.
                Ok(()) => return probe,
                Err(message) => self.health.unreached(&message, probe.is_some()),
            }
        }
    }
}
