//! [`MemberList`]: the addresses of an endpoint, and the one that a request goes to.
//!
//! Most endpoints have one member, and then a request waits for its [`Health`] alone. With more of them
//!
//! - a client uses [`LINKS`] members at a time, drawn by a number of its own, so that a thousand processes
//!   spread over all members and no member has a thousand times all connections;
//! - of two of these a request takes the one with fewer requests on their way;
//! - a member that fails is closed, as an endpoint that is down is, and the next best takes its place. Whether
//!   it is back is found out by a connection beside the requests.
//!
//! The members of a name come from look-ups ([`names`]).

mod choice;
mod former;
mod look_up;
mod member;
mod names;
mod owners;
mod rendezvous;
#[cfg(test)]
mod simulation;

#[cfg(all(test, feature = "testing"))]
pub(super) mod tests;

use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::sleep_until;

use self::choice::{draw, less_loaded};
use self::former::FormerMembers;
use self::member::MemberParts;
pub(super) use self::member::{EndpointMember, MemberRoute};
use self::names::DnsNames;
pub(super) use self::owners::Owners;
pub(super) use self::rendezvous::key_of;
use self::rendezvous::mix;
use super::endpoint::list::EndpointEntry;
use super::health::Health;
use super::retry::jitter;
use super::transport::TransportTemplate;
use crate::config::RetryConfig;
use crate::error::Error;
use crate::stats::EndpointStats;
use crate::sync::{Arc, Mutex, lock};

/// The members that a client sends to at a time.
const LINKS: usize = 3;

/// So often one of the links is drawn anew where there are more members, so that an unlucky draw of many
/// processes does not last.
const REDRAW_EVERY: Duration = Duration::from_secs(30);

/// A wait without an event ends after this time.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct MemberList {
    entries: Vec<(EndpointEntry, TransportTemplate)>,
    retry: RetryConfig,
    state: Mutex<MembersState>,
    names: DnsNames,
    /// Notified when a member opens, or members come or go.
    changed: Arc<Notify>,
    /// The members of another signal, whose connections are shared.
    donor: Option<Arc<MemberList>>,
}

#[derive(Debug)]
struct MembersState {
    list: Arc<[Arc<EndpointMember>]>,
    /// Members that a look-up did not name any more.
    former: FormerMembers,
    next_number: u64,
    /// Each draws one link.
    seeds: [u64; LINKS],
    /// The link that is drawn anew next, and when.
    redraw: (usize, Instant),
    is_closing: bool,
}

impl MemberList {
    /// `entries`: at least one. `donor`: its connections are shared where both have the same member.
    pub(super) fn new(
        entries: Vec<(EndpointEntry, TransportTemplate)>,
        retry: RetryConfig,
        donor: Option<Arc<Self>>,
    ) -> Result<Arc<Self>, Error> {
        let names = DnsNames::new(entries.iter().map(|(entry, _)| entry), &retry);
        let seed = || (jitter() * u64::MAX as f64) as u64;
        let members = Self {
            entries,
            retry,
            state: Mutex::new(MembersState {
                list: Arc::new([]),
                former: FormerMembers::default(),
                next_number: 0,
                seeds: [(); LINKS].map(|()| mix(seed())),
                redraw: (0, Instant::now() + REDRAW_EVERY),
                is_closing: false,
            }),
            names,
            changed: Arc::new(Notify::new()),
            donor,
        };
        let mut list = Vec::new();
        for index in 0..members.entries.len() {
            if !members.entries[index].0.is_name {
                list.push(members.member(index, None)?);
            }
        }
        lock(&members.state).list = list.into();
        Ok(Arc::new(members))
    }

    fn member(
        &self,
        entry: usize,
        at: Option<std::net::SocketAddr>,
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
        let number = {
            let mut state = lock(&self.state);
            state.next_number += 1;
            state.next_number
        };
        let health = Health::new(self.retry.clone(), Arc::clone(&self.changed));
        Ok(Arc::new(EndpointMember::new(MemberParts {
            number,
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
    fn transport(
        &self,
        endpoint: &super::endpoint::Endpoint,
        at: Option<std::net::SocketAddr>,
    ) -> Option<Arc<super::transport::Transport>> {
        let list = self.list();
        let same = list.iter().find(|member| {
            let (own, _) = &self.entries[member.entry];
            member.at == at && own.endpoint.shares_connection(endpoint)
        });
        same.map(|member| Arc::clone(&member.transport))
    }

    pub(super) fn list(&self) -> Arc<[Arc<EndpointMember>]> {
        Arc::clone(&lock(&self.state).list)
    }

    /// The only member there can be.
    fn only(&self) -> Option<Arc<EndpointMember>> {
        match (&self.list()[..], self.names.is_empty()) {
            ([only], true) => Some(Arc::clone(only)),
            _ => None,
        }
    }

    /// Whether the endpoint has one member, and no other can come.
    pub(super) fn is_single(&self) -> bool {
        self.only().is_some()
    }

    /// Waits until a member may get a request; `None`: a shutdown has given all of them up. Members of
    /// `tried` come last. Cancel safe.
    pub(super) async fn pick(self: &Arc<Self>, tried: &[u64]) -> Option<MemberRoute> {
        if let Some(only) = self.only() {
            let probe = only.health.admission().await;
            return (!only.health.is_given_up()).then(|| MemberRoute::new(only, probe));
        }
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            // Registered before the state is read, so that no change is missed.
            changed.as_mut().enable();
            self.look_up_names();
            if self.is_given_up() {
                return None;
            }
            if let Some(route) = self.choose(tried).or_else(|| self.choose(&[])) {
                return Some(route);
            }
            let until = self.next_event();
            tokio::select! {
                () = sleep_until(until.into()) => {}
                () = changed => {}
            }
        }
    }

    /// The members among which traces are divided; waits until there is one. `None`: a shutdown has given all of
    /// them up. Those of `avoid` are left out while there are others.
    pub(super) async fn owners(self: &Arc<Self>, avoid: &[u64]) -> Option<Owners> {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            self.look_up_names();
            if self.is_given_up() {
                return None;
            }
            let list = self.list();
            // A probe that is due is a request; without a connection, it is made beside the requests.
            let is_usable = |m: &&Arc<EndpointMember>| {
                let is_due = m.transport.is_up() && m.health.is_due();
                is_due || !m.health.is_closed() || self.probe(m).is_some()
            };
            let usable: Vec<_> = list.iter().filter(is_usable).collect();
            let wanted = usable.iter().filter(|m| !avoid.contains(&m.number));
            let of = |m: &&Arc<EndpointMember>| (m.number, m.place);
            let wanted: Vec<_> = wanted.map(of).collect();
            let all = || usable.iter().map(of).collect();
            match (usable.is_empty(), wanted.is_empty()) {
                (true, _) => {}
                (false, true) => return Some(Owners::of_members(all())),
                (false, false) => return Some(Owners::of_members(wanted)),
            }
            tokio::select! {
                () = sleep_until(self.next_event().into()) => {}
                () = changed => {}
            }
        }
    }

    /// A way to this member; `None`: it is down, or not there any more.
    pub(super) fn route_to(self: &Arc<Self>, number: u64) -> Option<MemberRoute> {
        let list = self.list();
        let member = list.iter().find(|member| member.number == number)?;
        match member.health.is_closed() {
            true => self.probe(member),
            false => Some(MemberRoute::new(Arc::clone(member), None)),
        }
    }

    /// Connects to a member, if none is connected to; an error if none can be reached.
    pub(super) async fn connect(self: &Arc<Self>) -> Result<(), String> {
        if self.list().iter().any(|m| m.transport.is_connected()) {
            return Ok(());
        }
        let mut error = None;
        if self.list().is_empty() {
            for entry in 0..self.entries.len() {
                match self.look_up(entry).await {
                    Ok(addresses) => self.update(entry, &addresses),
                    Err(why) => error = Some(why),
                }
            }
        }
        for member in self.list().iter() {
            match member.transport.connect().await {
                Ok(()) => return Ok(()),
                Err(why) => error = Some(why),
            }
        }
        Err(error.unwrap_or_else(|| "no endpoint".to_owned()))
    }

    /// A member that is due for a probe, else the better of two links.
    fn choose(self: &Arc<Self>, tried: &[u64]) -> Option<MemberRoute> {
        let list = self.list();
        let untried = || list.iter().filter(|m| !tried.contains(&m.number));
        for member in untried() {
            if let Some(route) = self.probe(member) {
                return Some(route);
            }
        }
        let open: Vec<_> = untried().filter(|m| !m.health.is_closed()).collect();
        let links = self.links(&open);
        let load = |link: usize| links.get(link).map_or(0, |member| member.load());
        let chosen = less_loaded(links.len(), load, random_below);
        let chosen = links.get(chosen)?;
        Some(MemberRoute::new(Arc::clone(chosen), None))
    }

    /// A request that probes `member`, if one is due. A member without a connection gets none: it is
    /// connected to beside the requests.
    fn probe(self: &Arc<Self>, member: &Arc<EndpointMember>) -> Option<MemberRoute> {
        let probe = member.health.try_probe()?;
        if member.transport.is_up() {
            return Some(MemberRoute::new(Arc::clone(member), Some(probe)));
        }
        let (members, member) = (Arc::clone(self), Arc::clone(member));
        tokio::spawn(async move {
            match member.transport.connect().await {
                // An answer proves it: the next request asks for one.
                Ok(()) => member.health.is_reachable(),
                Err(message) => member.health.unreached(&message, true),
            }
            drop(probe);
            members.changed.notify_waiters();
        });
        None
    }

    /// The members that this client uses, of those that are open.
    fn links(&self, open: &[&Arc<EndpointMember>]) -> Vec<Arc<EndpointMember>> {
        if open.len() <= LINKS {
            return open.iter().map(|member| Arc::clone(member)).collect();
        }
        let places: Vec<_> = open.iter().map(|member| member.place).collect();
        let drawn = draw(self.seeds(), &places).into_iter();
        let drawn = drawn.filter_map(|position| open.get(position));
        drawn.map(|member| Arc::clone(member)).collect()
    }

    fn seeds(&self) -> [u64; LINKS] {
        let mut state = lock(&self.state);
        let (slot, at) = state.redraw;
        let now = Instant::now();
        if now >= at {
            state.seeds[slot] = mix(state.seeds[slot]);
            state.redraw = ((slot + 1) % LINKS, now + REDRAW_EVERY);
        }
        state.seeds
    }

    /// Whether a member outside of `tried` takes requests.
    pub(super) fn is_any_open(&self, tried: &[u64]) -> bool {
        let mut list = self.list().iter().cloned().collect::<Vec<_>>().into_iter();
        list.any(|m| !tried.contains(&m.number) && !m.health.is_closed())
    }

    /// When a probe or a look-up is due.
    fn next_event(&self) -> Instant {
        let far = Instant::now() + LONGEST_WAIT;
        let list = self.list();
        let probes = list.iter().filter_map(|member| member.health.wait_until());
        let events = probes.chain(self.names.next_look_up());
        events.fold(far, Instant::min)
    }

    /// Begins a shutdown: see [`Health::begin_shutdown`].
    pub(super) fn begin_shutdown(&self) {
        lock(&self.state).is_closing = true;
        for member in self.list().iter() {
            member.health.begin_shutdown();
        }
        self.names.look_up_now();
        self.changed.notify_waiters();
    }

    /// Whether a shutdown has given up all members, or the names of which none could be looked up.
    pub(super) fn is_given_up(&self) -> bool {
        let list = self.list();
        match list.is_empty() {
            true => lock(&self.state).is_closing && self.names.have_failed(),
            false => list.iter().all(|member| member.health.is_given_up()),
        }
    }

    /// Whether no member takes a connection.
    pub(super) fn is_unreachable(&self) -> bool {
        let list = self.list();
        !list.is_empty() && list.iter().all(|member| member.health.is_unreachable())
    }

    /// Why no member can be sent to; for a single one also the error of its last request.
    pub(super) fn last_error(&self) -> Option<String> {
        if let Some(only) = self.only() {
            return only.health.last_error();
        }
        let list = self.list();
        if list.iter().any(|member| !member.health.is_closed()) {
            return None;
        }
        let of_names = self.names.last_error();
        let of_members = list.iter().find_map(|member| member.health.last_error());
        match (list.len(), of_members.or(of_names)) {
            (0 | 1, error) => error,
            (n, error) => {
                error.map(|error| format!("none of {n} endpoints takes requests: {error}"))
            }
        }
    }

    /// The counters of each member; those of former members together, without an address.
    pub(super) fn stats(&self) -> Vec<EndpointStats> {
        let (list, former) = {
            let mut state = lock(&self.state);
            (Arc::clone(&state.list), state.former.stats())
        };
        let of_members = list.iter().map(|member| member.stats());
        of_members.chain(former).collect()
    }

    /// The addresses that a look-up found for an entry. Members that stay keep their connections.
    fn update(&self, entry: usize, addresses: &[std::net::SocketAddr]) {
        let (gone, is_closing) = loop {
            let list = self.list();
            let is_gone = |m: &Arc<EndpointMember>| {
                m.entry == entry && m.at.is_none_or(|at| !addresses.contains(&at))
            };
            let (gone, mut kept): (Vec<_>, Vec<_>) = list.iter().cloned().partition(is_gone);
            for at in addresses {
                let is_known = |m: &Arc<EndpointMember>| m.entry == entry && m.at == Some(*at);
                if !kept.iter().any(is_known) {
                    // Fails where the first one did: a build without the transport.
                    kept.extend(self.member(entry, Some(*at)));
                }
            }
            let mut state = lock(&self.state);
            // Another name may have been looked up meanwhile.
            if Arc::ptr_eq(&state.list, &list) {
                state.list = kept.into();
                state.former.add(&gone);
                break (gone, state.is_closing);
            }
        };
        if is_closing {
            for member in self.list().iter() {
                member.health.begin_shutdown();
            }
        }
        for member in gone {
            member.transport.disconnect();
        }
        self.changed.notify_waiters();
    }
}

/// A number below `n`.
fn random_below(n: usize) -> usize {
    ((jitter() * n as f64) as usize).min(n.saturating_sub(1))
}
