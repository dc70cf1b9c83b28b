//! [`ClientState`]: the state that a client shares with its deliveries, such as the members of its endpoint.

use tokio_util::sync::CancellationToken;

use super::credentials::CredentialSource;
use super::deadline::Cap;
use super::endpoint::ExportSignal;
use super::members::{MemberList, MemberRoute};
use super::random::RandomNumbers;
use super::size::SizeLimit;
use crate::config::ConnectionConfig;
use crate::sync::Arc;

#[derive(Debug)]
pub(super) struct ClientState {
    pub(super) members: Arc<MemberList>,
    pub(super) signal: ExportSignal,
    pub(super) config: ConnectionConfig,
    pub(super) cap: Cap,
    pub(super) credentials: CredentialSource,
    pub(super) random: Arc<RandomNumbers>,
    /// Cancels the requests in flight.
    pub(super) cancel: CancellationToken,
    /// The size that the endpoint has refused as too large.
    pub(super) size: SizeLimit,
}

impl ClientState {
    pub(super) fn new(
        members: Arc<MemberList>,
        signal: ExportSignal,
        config: ConnectionConfig,
        cap: Cap,
        random: Arc<RandomNumbers>,
    ) -> Self {
        Self {
            members,
            signal,
            cap,
            credentials: CredentialSource::new(
                config.header_provider.clone(),
                config.retry.clone(),
                Arc::clone(&random),
            ),
            random,
            cancel: CancellationToken::new(),
            size: SizeLimit::default(),
            config,
        }
    }

    /// Whether the spans of a trace go to one member.
    pub(super) fn is_affine(&self) -> bool {
        self.config.trace_affinity && !self.members.is_single()
    }

    /// Waits, without a bound, until a request may be sent on a connection; `None`: a shutdown has given the
    /// endpoint up.
    pub(super) async fn ready(&self) -> Option<MemberRoute> {
        loop {
            let route = self.members.pick(&[]).await?;
            let member = &route.member;
            let connected = match member.transport.is_up() {
                true => Ok(()),
                false => member.transport.connect().await,
            };
            match connected {
                // Traces have members of their own: a route that is kept until a batch is due would hold the
                // turn to probe its member, and no trace of that member could take it.
                Ok(()) if self.is_affine() => return None,
                // A connection alone does not prove the endpoint's health: an answer does.
                Ok(()) => return Some(route),
                Err(message) => {
                    member.health.unreached(&message, route.probe.is_some());
                    self.members.note_loss();
                }
            }
        }
    }
}
