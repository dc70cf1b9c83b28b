//! [`Owners`]: the members among which traces are divided, and the one that has a trace.

#[cfg(all(test, feature = "testing"))]
use super::rendezvous::mix;
use super::rendezvous::score;

/// The members among which traces are divided: number and place of each.
#[derive(Debug)]
pub(in crate::export) struct Owners(Vec<(u64, u64)>);

impl Owners {
    pub(super) fn of_members(members: Vec<(u64, u64)>) -> Self {
        Self(members)
    }

    /// Members of these numbers.
    #[cfg(all(test, feature = "testing"))]
    pub(in crate::export) fn new<const N: usize>(numbers: [u64; N]) -> Self {
        Self(numbers.map(|number| (number, mix(number))).to_vec())
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
