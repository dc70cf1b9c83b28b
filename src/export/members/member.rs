//! [`EndpointMember`]: one address of an endpoint, with its connections, its health and its counters. [`MemberRoute`]: the
//! member of one attempt.

use std::net::SocketAddr;

use super::super::endpoint::RequestTarget;
use super::super::health::{Health, Probe};
use super::super::transport::Transport;
use super::rendezvous::place_of;
use crate::stats::EndpointStats;
use crate::sync::{Arc, AtomicU64, Ordering};

#[derive(Debug)]
pub(in crate::export) struct EndpointMember {
    /// Among the members of a client.
    pub(in crate::export) number: u64,
    /// The entry of the setting that it belongs to.
    pub(super) entry: usize,
    /// Its address, if it comes from a look-up.
    pub(super) at: Option<SocketAddr>,
    /// The same in each process, for rendezvous hashing.
    pub(super) place: u64,
    host: String,
    port: u16,
    /// Connections may be shared with the client of another signal; the health is of this signal alone.
    pub(in crate::export) transport: Arc<Transport>,
    pub(in crate::export) target: RequestTarget,
    pub(in crate::export) health: Health,
    /// Routes to it that exist.
    routes: AtomicU64,
    counts: MemberCounts,
}

#[derive(Debug, Default)]
struct MemberCounts {
    delivered: AtomicU64,
    rejected: AtomicU64,
    requests_ok: AtomicU64,
    requests_failed: AtomicU64,
}

/// How a member is made.
pub(super) struct MemberParts {
    pub(super) number: u64,
    pub(super) entry: usize,
    pub(super) at: Option<SocketAddr>,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) transport: Arc<Transport>,
    pub(super) target: RequestTarget,
    pub(super) health: Health,
}

impl EndpointMember {
    pub(super) fn new(parts: MemberParts) -> Self {
        let MemberParts {
            number,
            entry,
            at,
            host,
            port,
            transport,
            target,
            health,
        } = parts;
        Self {
            number,
            entry,
            at,
            place: place_of(&host, port),
            host,
            port,
            transport,
            target,
            health,
            routes: AtomicU64::new(0),
            counts: MemberCounts::default(),
        }
    }

    /// Requests that are on their way to it.
    pub(super) fn load(&self) -> u64 {
        self.routes.load(Ordering::Relaxed)
    }

    /// Counts a request that it took.
    pub(in crate::export) fn took(&self, delivered: u64, rejected: u64) {
        let counts = &self.counts;
        counts.delivered.fetch_add(delivered, Ordering::Relaxed);
        counts.rejected.fetch_add(rejected, Ordering::Relaxed);
        counts.requests_ok.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an attempt that failed.
    pub(in crate::export) fn failed(&self) {
        self.counts.requests_failed.fetch_add(1, Ordering::Relaxed);
    }

    /// The counters alone, without a lock.
    pub(super) fn counts(&self) -> EndpointStats {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        EndpointStats {
            delivered: get(&self.counts.delivered),
            rejected: get(&self.counts.rejected),
            requests_ok: get(&self.counts.requests_ok),
            requests_failed: get(&self.counts.requests_failed),
            requests_in_flight: self.load(),
            ..EndpointStats::default()
        }
    }

    pub(super) fn stats(&self) -> EndpointStats {
        let mut stats = self.counts();
        stats.address.clone_from(&self.host);
        stats.port = self.port;
        stats.is_up = self.health.takes_requests();
        stats.last_error = self.health.last_error();
        stats
    }
}

/// The member of one attempt. Counts as a request on its way until it is dropped.
#[derive(Debug)]
pub(in crate::export) struct MemberRoute {
    pub(in crate::export) member: Arc<EndpointMember>,
    /// `Some`: the member is down, and this request probes it.
    pub(in crate::export) probe: Option<Probe>,
}

impl MemberRoute {
    pub(super) fn new(member: Arc<EndpointMember>, probe: Option<Probe>) -> Self {
        member.routes.fetch_add(1, Ordering::Relaxed);
        Self { member, probe }
    }
}

impl Drop for MemberRoute {
    fn drop(&mut self) {
        self.member.routes.fetch_sub(1, Ordering::Relaxed);
    }
}
