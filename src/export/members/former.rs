//! [`FormerMembers`]: the addresses that a look-up does not name any more.
//!
//! A name may change for as long as the process lives, so only their counts are kept. A member that still has
//! a request on its way is kept until the request has ended: its answer counts.

use super::member::EndpointMember;
use crate::stats::EndpointStats;
use crate::sync::Arc;

#[derive(Debug, Default)]
pub(super) struct FormerMembers {
    /// May have requests on their way.
    leaving: Vec<Arc<EndpointMember>>,
    /// The counts of all others together; `None`: there was none.
    left: Option<EndpointStats>,
}

impl FormerMembers {
    pub(super) fn add(&mut self, gone: &[Arc<EndpointMember>]) {
        self.let_go();
        self.leaving.extend_from_slice(gone);
    }

    /// The counts of all together, without an address; `None`: there is none.
    pub(super) fn stats(&mut self) -> Option<EndpointStats> {
        self.let_go();
        let leaving = self.leaving.iter().map(|member| member.counts());
        leaving
            .chain(self.left.clone())
            .reduce(EndpointStats::merged_with)
    }

    /// Keeps of the members that nobody else has their counts alone.
    fn let_go(&mut self) {
        for member in self.leaving.extract_if(.., |m| Arc::strong_count(m) == 1) {
            let left = self.left.take().unwrap_or_default();
            self.left = Some(left.merged_with(member.counts()));
        }
    }

    #[cfg(all(test, feature = "testing"))]
    pub(super) fn kept(&self) -> usize {
        self.leaving.len()
    }
}
