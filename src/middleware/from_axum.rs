//! Reads what axum's router puts into a request's extensions (HTTP-7).

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, MatchedPath, OriginalUri};
use http::{Extensions, Uri};

/// The route, with the prefix of nested routers. A fallback has none.
pub(super) fn matched_path(extensions: &Extensions) -> Option<&str> {
    extensions.get().map(MatchedPath::as_str)
}

/// The URI that the client sent: nested routers see it without their prefix.
pub(super) fn original_uri(extensions: &Extensions) -> Option<&Uri> {
    extensions.get().map(|OriginalUri(uri)| uri)
}

/// The peer's address, if the server was made by `into_make_service_with_connect_info`.
pub(super) fn peer(extensions: &Extensions) -> Option<SocketAddr> {
    extensions.get().map(|ConnectInfo(peer)| *peer)
}
