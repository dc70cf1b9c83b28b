//! [`MemberList`]: the addresses of an endpoint, and the one that a request goes to.
//!
//! Most endpoints have one member, and then a request waits for its [`Health`] alone. With more of them
//!
//! - a client uses [`LINKS`] members at a time, drawn by a number of its own, so that a thousand processes
//!   spread over all members and no member has a thousand times all connections;
//! - of two of these a request takes the one with fewer requests on their way;
//! - a member that fails gets no requests, as an endpoint that is down, and the next best takes its place. Whether
//!   it is back is found out by a connection beside the requests.
//!
//! The members of a name come from look-ups ([`names`]).

mod changes;
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
pub(super) use self::member::{EndpointMember, MemberRoute};
use self::names::DnsNames;
pub(super) use self::owners::Owners;
pub(super) use self::rendezvous::{key_of, mix};
use super::endpoint::list::EndpointEntry;
use super::random::RandomNumbers;
use super::transport::TransportTemplate;
use crate::config::RetryConfig;
use crate::error::Error;
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
    random: Arc<RandomNumbers>,
    /// Notified when a member takes requests again, the turn to probe one is free, or members come or go.
    changed: Arc<Notify>,
    /// The members of another signal, whose connections are shared.
    donor: Option<Arc<MemberList>>,
}

#[derive(Debug)]
struct MembersState {
    list: Arc<[Arc<EndpointMember>]>,
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
        random: Arc<RandomNumbers>,
        donor: Option<Arc<Self>>,
    ) -> Result<Arc<Self>, Error> {
        let members = Self {
            names: DnsNames::new(entries.iter().map(|(entry, _)| entry), &retry),
            entries,
            retry,
            state: Mutex::new(MembersState {
                list: Arc::new([]),
                former: FormerMembers::default(),
                next_number: 0,
                seeds: [(); LINKS].map(|()| random.next()),
                redraw: (0, Instant::now() + REDRAW_EVERY),
                is_closing: false,
            }),
            random,
            changed: Arc::new(Notify::new()),
            donor,
        };
        members.fill()?;
        Ok(Arc::new(members))
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
        let open: Vec<_> = untried().filter(|m| m.health.takes_requests()).collect();
        let links = self.links(&open);
        let load = |link: usize| links.get(link).map_or(0, |member| member.load());
        let chosen = less_loaded(links.len(), load, |n| self.random.below(n));
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
                Ok(()) => member.health.connected(),
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
    pub(super) fn any_takes_requests(&self, tried: &[u64]) -> bool {
        let mut list = self.list().iter().cloned().collect::<Vec<_>>().into_iter();
        list.any(|m| !tried.contains(&m.number) && m.health.takes_requests())
    }

    /// When a probe or a look-up is due.
    fn next_event(&self) -> Instant {
        let far = Instant::now() + LONGEST_WAIT;
        let list = self.list();
        let probes = list.iter().filter_map(|member| member.health.wait_until());
        let events = probes.chain(self.names.next_look_up());
        events.fold(far, Instant::min)
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
        if list.iter().any(|member| member.health.takes_requests()) {
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
}
