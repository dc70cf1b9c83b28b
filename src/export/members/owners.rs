//! [`Owners`]: the members among which traces are divided.

use tokio::time::sleep_until;

use super::rendezvous::score;
use super::{EndpointMember, MemberList, MemberRoute};
use crate::sync::Arc;

/// The members among which traces are divided: number and place of each.
#[derive(Debug)]
pub(in crate::export) struct Owners(Vec<(u64, u64)>);

impl Owners {
    /// Members of these numbers.
    #[cfg(all(test, feature = "testing"))]
    pub(in crate::export) fn new<const N: usize>(numbers: [u64; N]) -> Self {
        Self(
            numbers
                .map(|number| (number, super::rendezvous::mix(number)))
                .to_vec(),
        )
    }

    /// The only one.
    pub(in crate::export) fn only(&self) -> Option<u64> {
        match self.0[..] {
            [(number, _)] => Some(number),
            _ => None,
        }
    }

    /// The number of the member that has a key.
    pub(in crate::export) fn of(&self, key: u64) -> Option<u64> {
        let best = self.0.iter().max_by_key(|(_, place)| score(*place, key));
        best.map(|(number, _)| *number)
    }
}

impl MemberList {
    /// The members among which traces are divided; waits until there is one. `None`: a shutdown has given all of
    /// them up. Those of `avoid` are left out while there are others.
    pub(in crate::export) async fn owners(self: &Arc<Self>, avoid: &[u64]) -> Option<Owners> {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            self.look_up_names();
            if self.is_given_up() {
                return None;
            }
            let list = self.list();
            // A member that is down takes a probe, if no other request has the turn: a delivery that found it
            // and no turn would look again at once. Without a connection, that is made beside the requests.
            let is_usable = |m: &&Arc<EndpointMember>| {
                let is_due = m.transport.is_up() && m.health.has_free_turn();
                is_due || m.health.takes_requests() || self.probe(m).is_some()
            };
            let usable: Vec<_> = list.iter().filter(is_usable).collect();
            let wanted = usable.iter().filter(|m| !avoid.contains(&m.number));
            let of = |m: &&Arc<EndpointMember>| (m.number, m.place);
            let wanted: Vec<_> = wanted.map(of).collect();
            let all = || usable.iter().map(of).collect();
            match (usable.is_empty(), wanted.is_empty()) {
                (true, _) => {}
                (false, true) => return Some(Owners(all())),
                (false, false) => return Some(Owners(wanted)),
            }
            tokio::select! {
                () = sleep_until(self.next_event().into()) => {}
                () = changed => {}
            }
        }
    }

    /// A way to this member; `None`: it is down, or not there any more.
    pub(in crate::export) fn route_to(self: &Arc<Self>, number: u64) -> Option<MemberRoute> {
        let list = self.list();
        let member = list.iter().find(|member| member.number == number)?;
        match member.health.takes_requests() {
            true => Some(MemberRoute::new(Arc::clone(member), None)),
            false => self.probe(member),
        }
    }
}
