//! Replaces `from_tonic.rs` in a build without tonic.

use std::any::Any;
use std::net::SocketAddr;

use http::Extensions;

pub(super) fn peer(_: &Extensions) -> Option<SocketAddr> {
    None
}

pub(super) fn is_generated(_: &Extensions) -> bool {
    false
}

pub(super) fn failure(_: &(dyn Any + 'static)) -> Option<(u8, String)> {
    None
}
