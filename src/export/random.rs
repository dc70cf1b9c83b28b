//! [`RandomNumbers`]: the numbers by which processes with the same settings behave differently.
//!
//! They spread retries in time and choose among collectors. They protect no secret, so one seed for a client is
//! enough; drawing one takes no lock and no call of the system.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use rand::TryRng as _;
use rand::rngs::SysRng;

use super::members::mix;

/// The numbers of splitmix64.
#[derive(Debug)]
pub(super) struct RandomNumbers(AtomicU64);

impl RandomNumbers {
    pub(super) fn new() -> Self {
        let mut bytes = [0; 8];
        let of_system = SysRng.try_fill_bytes(&mut bytes).ok();
        Self::seeded(seed(of_system.map(|()| u64::from_ne_bytes(bytes))))
    }

    pub(super) fn seeded(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    pub(super) fn next(&self) -> u64 {
        // `mix` adds the same step before it mixes.
        mix(self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed))
    }

    /// A number from 0 up to 1.
    pub(super) fn unit(&self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A number below `n`; 0 if there is none.
    pub(super) fn below(&self, n: usize) -> usize {
        ((self.unit() * n as f64) as usize).min(n.saturating_sub(1))
    }
}

/// A seed that differs between processes and between the clients of one, also without a number of the system.
fn seed(of_system: Option<u64>) -> u64 {
    static CLIENTS: AtomicU64 = AtomicU64::new(0);
    let client = CLIENTS.fetch_add(1, Ordering::Relaxed);
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |now| now.as_nanos() as u64);
    let here = std::ptr::from_ref(&now).addr() as u64;
    let parts = [u64::from(std::process::id()), client, now, here];
    let of_process = parts.into_iter().fold(0, |seed, part| mix(seed ^ part));
    of_process ^ of_system.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_spread_over_the_whole_range() {
        let random = RandomNumbers::seeded(1);
        let mut tenths = [0; 10];
        for _ in 0..10_000 {
            let number = random.unit();
            assert!((0.0..1.0).contains(&number), "{number}");
            tenths[(number * 10.0) as usize] += 1;
        }
        assert!(tenths.iter().all(|n| (800..1200).contains(n)), "{tenths:?}");
        let mut thirds = [0; 3];
        for _ in 0..3000 {
            thirds[random.below(3)] += 1;
        }
        assert!(thirds.iter().all(|n| (800..1200).contains(n)), "{thirds:?}");
        assert_eq!((random.below(1), random.below(0)), (0, 0));
    }

    #[test]
    fn clients_differ_even_if_the_system_gives_no_number() {
        let seeds: std::collections::HashSet<_> = (0..1000).map(|_| seed(None)).collect();
        assert_eq!(seeds.len(), 1000);
        let first = |_| RandomNumbers::new().next();
        let numbers: std::collections::HashSet<_> = (0..1000).map(first).collect();
        assert_eq!(numbers.len(), 1000);
    }
}
