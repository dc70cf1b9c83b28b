//! [`Connections`]: who holds a place at a port. A peer that asks nothing for long is hung up on; where
//! all places are taken, the peer that has asked nothing for the longest time gives way to the next one.
//!
//! So neither a silent peer nor one that stands still keeps others out, and a client that keeps its
//! connection between two requests loses it only to somebody who needs the place.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::sync::{Mutex, lock};

/// The bounds of a port.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Connections at once.
    pub(super) most: usize,
    /// The longest from the connection to the first request.
    pub(super) first: Duration,
    /// The longest from an answer to the next request.
    pub(super) next: Duration,
}

#[derive(Debug)]
pub(super) struct Connections {
    bounds: Bounds,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    peers: BTreeMap<u64, Arc<Peer>>,
}

/// One connection, as its requests see it.
#[derive(Debug)]
pub(super) struct Peer {
    state: Mutex<PeerState>,
    gives_way: CancellationToken,
}

#[derive(Debug)]
struct PeerState {
    /// Requests under way.
    requests: usize,
    has_asked: bool,
    /// When the last request ended, or the connection began.
    since: Instant,
}

/// A request under way: its connection is not idle.
#[derive(Debug)]
pub(super) struct Busy(Arc<Peer>);

/// A connection's place; free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    connections: Arc<Connections>,
    number: u64,
    pub(super) peer: Arc<Peer>,
}

/// Why a connection has to end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Somebody else needs its place.
    GivesWay,
    Idle,
}

impl Connections {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            open: Mutex::default(),
        }
    }

    /// A place for one more, if need be that of the peer that is idle for the longest time; `None`
    /// where all are busy.
    pub(super) fn admit(self: &Arc<Self>) -> Option<Place> {
        let peer = Arc::new(Peer {
            state: Mutex::new(PeerState {
                requests: 0,
                has_asked: false,
                since: Instant::now(),
            }),
            gives_way: CancellationToken::new(),
        });
        let peers: Vec<_> = {
            let open = lock(&self.open);
            match open.peers.len() < self.bounds.most {
                true => Vec::new(),
                false => open
                    .peers
                    .iter()
                    .map(|(n, p)| (*n, Arc::clone(p)))
                    .collect(),
            }
        };
        if !peers.is_empty() {
            let idle = peers.iter().filter_map(|(n, p)| Some((p.idle()?, *n, p)));
            let (_, number, idle) = idle.min_by_key(|(since, n, _)| (*since, *n))?;
            idle.gives_way.cancel();
            lock(&self.open).peers.remove(&number);
        }
        let mut open = lock(&self.open);
        open.next += 1;
        let number = open.next;
        open.peers.insert(number, Arc::clone(&peer));
        drop(open);
        Some(Place {
            connections: Arc::clone(self),
            number,
            peer,
        })
    }
}

impl Peer {
    /// Notes a request, until what it returns is dropped.
    pub(super) fn asks(self: &Arc<Self>) -> Busy {
        let mut state = lock(&self.state);
        state.requests += 1;
        state.has_asked = true;
        Busy(Arc::clone(self))
    }

    /// Since when it asks nothing.
    fn idle(&self) -> Option<Instant> {
        let state = lock(&self.state);
        (state.requests == 0).then_some(state.since)
    }

    /// When it will have been idle for too long; where it is not, not before that time from now.
    fn until(&self, bounds: &Bounds) -> Instant {
        let state = lock(&self.state);
        match (state.requests, state.has_asked) {
            (0, false) => state.since + bounds.first,
            (0, true) => state.since + bounds.next,
            _ => Instant::now() + bounds.first.min(bounds.next),
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        state.requests -= 1;
        state.since = Instant::now();
    }
}

impl Place {
    /// Resolves when the connection has to end.
    pub(super) async fn end(&self) -> End {
        let bounds = &self.connections.bounds;
        loop {
            let until = self.peer.until(bounds);
            tokio::select! {
                () = self.peer.gives_way.cancelled() => return End::GivesWay,
                () = tokio::time::sleep_until(until) => {}
            }
            if self.peer.idle().is_some() && self.peer.until(bounds) <= Instant::now() {
                return End::Idle;
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.connections.open).peers.remove(&self.number);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        most: 2,
        first: Duration::from_secs(10),
        next: Duration::from_secs(60),
    };

    #[tokio::test(start_paused = true)]
    async fn the_longest_idle_gives_way_and_a_busy_one_does_not() {
        let connections = Arc::new(Connections::new(BOUNDS));
        let old = connections.admit().unwrap();
        tokio::time::advance(Duration::from_secs(1)).await;
        let young = connections.admit().unwrap();
        let busy = old.peer.asks();
        let third = connections.admit().unwrap();
        assert_eq!(young.end().await, End::GivesWay);
        drop(young);
        let busy_too = third.peer.asks();
        assert!(connections.admit().is_none(), "all are busy");
        drop(busy);
        let fourth = connections.admit().unwrap();
        assert_eq!(old.end().await, End::GivesWay);
        drop((busy_too, fourth, third, old));
        assert!(lock(&connections.open).peers.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_has_ten_seconds_for_its_first_request_and_longer_for_the_next() {
        let connections = Arc::new(Connections::new(BOUNDS));
        let begin = Instant::now();
        let place = connections.admit().unwrap();
        assert_eq!(place.end().await, End::Idle);
        assert_eq!(begin.elapsed(), BOUNDS.first);

        let begin = Instant::now();
        let place = connections.admit().unwrap();
        let busy = place.peer.asks();
        let answers = async {
            tokio::time::sleep(Duration::from_secs(300)).await;
            drop(busy);
        };
        let (end, ()) = tokio::join!(place.end(), answers);
        assert_eq!(end, End::Idle);
        let passed = begin.elapsed();
        assert_eq!(passed, Duration::from_secs(300) + BOUNDS.next);
    }
}
