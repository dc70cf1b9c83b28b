//! [`ClientState`]: the state that a client shares with its deliveries, such as connections and the
//! endpoint's health.

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
    /// Connections may be shared with the client of another signal; the health is of this signal alone.
    pub(super) transport: Arc<Transport>,
    pub(super) signal: Signal,
    pub(super) target: Target,
    pub(super) config: ExporterConfig,
    pub(super) cap: Cap,
    pub(super) credentials: CredentialSource,
    /// Cancels the requests in flight.
    pub(super) cancel: CancellationToken,
    pub(super) health: Health,
    /// The size that the endpoint has refused as too large.
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

    /// Waits, without a bound, until a request may be sent on a connection, or a shutdown has given the
    /// endpoint up.
    pub(super) async fn ready(&self) -> Option<Probe> {
        loop {
            let probe = self.health.admission().await;
            if self.transport.is_up() || self.health.is_given_up() {
                return probe;
            }
            match self.transport.connect().await {
                // A connection alone does not prove the endpoint's health: an answer does.
                Ok(()) => return probe,
                Err(message) => self.health.unreached(&message, probe.is_some()),
            }
        }
    }
}
