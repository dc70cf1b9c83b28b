//! Replaces `from_axum.rs` in a build without axum: no request has a route.

use std::net::SocketAddr;

use http::{Extensions, Uri};

pub(super) fn matched_path(_: &Extensions) -> Option<&str> {
    None
}

pub(super) fn original_uri(_: &Extensions) -> Option<&Uri> {
    None
}

pub(super) fn peer(_: &Extensions) -> Option<SocketAddr> {
    None
}
