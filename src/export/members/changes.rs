//! Members come and go: with the settings, with look-ups, and with a shutdown.

use std::net::SocketAddr;

use super::member::MemberParts;
use super::{EndpointMember, MemberList, MembersState};
use crate::error::Error;
use crate::export::endpoint::Endpoint;
use crate::export::endpoint::list::EndpointEntry;
use crate::export::health::Health;
use crate::export::transport::Transport;
use crate::stats::EndpointStats;
use crate::sync::{Arc, lock};

impl MemberList {
    /// Makes the members that are no names.
    pub(super) fn fill(&self) -> Result<(), Error> {
        let mut state = lock(&self.state);
        let entries = self.entries.iter().enumerate();
        let fixed = entries.filter(|(_, (entry, _))| !entry.is_name);
        let list: Result<Vec<_>, _> = fixed
            .map(|(index, _)| self.member(&mut state, index, None))
            .collect();
        state.list = list?.into();
        Ok(())
    }

    fn member(
        &self,
        state: &mut MembersState,
        entry: usize,
        at: Option<SocketAddr>,
    ) -> Result<Arc<EndpointMember>, Error> {
        let (EndpointEntry { endpoint, .. }, template) = &self.entries[entry];
        let donated = self
            .donor
            .as_ref()
            .and_then(|donor| donor.transport(endpoint, at));
        let transport = match donated {
            Some(transport) => transport,
            None => Arc::new(template.transport(at)?),
        };
        state.next_number += 1;
        let health = Health::new(
            self.retry.clone(),
            Arc::clone(&self.changed),
            Arc::clone(&self.random),
        );
        if state.is_closing {
            health.begin_shutdown();
        }
        Ok(Arc::new(EndpointMember::new(MemberParts {
            number: state.next_number,
            entry,
            at,
            host: at.map_or_else(|| endpoint.host.clone(), |at| at.ip().to_string()),
            port: at.map_or(endpoint.port, |at| at.port()),
            target: transport.target_of(endpoint),
            transport,
            health,
        })))
    }

    /// The connections to the same address.
    fn transport(&self, endpoint: &Endpoint, at: Option<SocketAddr>) -> Option<Arc<Transport>> {
        let list = self.list();
        let same = list.iter().find(|member| {
            let (own, _) = &self.entries[member.entry];
            member.at == at && own.endpoint.shares_connection(endpoint)
        });
        same.map(|member| Arc::clone(&member.transport))
    }

    /// The addresses that a look-up found for an entry. Members that stay keep their connections.
    ///
    /// One lock from reading to writing: another look-up and a shutdown see the members before or after.
    pub(super) fn update(&self, entry: usize, addresses: &[SocketAddr]) {
        let is_gone = |m: &Arc<EndpointMember>| {
            m.entry == entry && m.at.is_none_or(|at| !addresses.contains(&at))
        };
        let gone = {
            let mut state = lock(&self.state);
            let list = Arc::clone(&state.list);
            let (gone, mut kept): (Vec<_>, Vec<_>) = list.iter().cloned().partition(is_gone);
            for at in addresses {
                let is_known = |m: &Arc<EndpointMember>| m.entry == entry && m.at == Some(*at);
                if !kept.iter().any(is_known) {
                    // Fails where the first one did: a build without the transport.
                    kept.extend(self.member(&mut state, entry, Some(*at)));
                }
            }
            state.list = kept.into();
            state.former.add(&gone);
            gone
        };
        for member in gone {
            member.transport.disconnect();
        }
        self.changed.notify_waiters();
    }

    /// Begins a shutdown: see [`Health::begin_shutdown`].
    pub(in crate::export) fn begin_shutdown(&self) {
        {
            let mut state = lock(&self.state);
            state.is_closing = true;
            for member in state.list.iter() {
                member.health.begin_shutdown();
            }
        }
        self.names.look_up_now();
        self.changed.notify_waiters();
    }

    /// The counters of each member; those of former members together, without an address.
    pub(in crate::export) fn stats(&self) -> Vec<EndpointStats> {
        let (list, former) = {
            let mut state = lock(&self.state);
            (Arc::clone(&state.list), state.former.stats())
        };
        let members = list.iter().map(|member| member.stats());
        members.chain(former).collect()
    }
}
