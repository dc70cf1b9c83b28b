//! Stands in for `from_tonic.rs` in a build without it.

use std::net::SocketAddr;

use http::Extensions;

pub(super) fn peer(_: &Extensions) -> Option<SocketAddr> {
    None
}
