//! [`EndpointStats`]: the counters of one address of an endpoint.

/// What one address of the endpoint got: an item of [`Stats::endpoints`](super::Stats::endpoints).
///
/// An endpoint is one address, a [list](crate::config::ConnectionConfig::endpoint) of them, or a name with
/// several. Spans that no address took are in the counters of the pipeline alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EndpointStats {
    /// The host; for a member of a name its IP address. Empty: all members together that a look-up does not
    /// name any more.
    pub address: String,
    /// The port; 0 for former members.
    pub port: u16,
    /// Spans whose arrival it acknowledged.
    pub delivered: u64,
    /// Spans that it rejected in a partial success.
    pub rejected: u64,
    /// Requests that it took, partial successes included.
    pub requests_ok: u64,
    /// Attempts that failed there. The request may have arrived at another address.
    pub requests_failed: u64,
    /// Requests that are on their way to it.
    pub requests_in_flight: u64,
    /// Whether it takes requests, as far as is known; false while it is ejected.
    pub is_up: bool,
    /// The error of the last request, if that failed.
    pub last_error: Option<String>,
}

impl EndpointStats {
    /// The counters of both, without an address.
    pub(crate) fn merged_with(self, other: Self) -> Self {
        Self {
            delivered: self.delivered + other.delivered,
            rejected: self.rejected + other.rejected,
            requests_ok: self.requests_ok + other.requests_ok,
            requests_failed: self.requests_failed + other.requests_failed,
            requests_in_flight: self.requests_in_flight + other.requests_in_flight,
            ..Self::default()
        }
    }
}
