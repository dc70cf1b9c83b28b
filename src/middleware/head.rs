//! [`RequestHead`] and [`ResponseHead`]: a request and a response without body, for hooks.

use std::fmt;
use std::net::SocketAddr;

use http::{Extensions, HeaderMap, Method, Request, Response, StatusCode, Uri, Version};

use crate::text;

/// A request without its body, for hooks.
#[derive(Clone, Copy)]
pub struct RequestHead<'a> {
    pub(super) method: &'a Method,
    pub(super) uri: &'a Uri,
    pub(super) version: Version,
    pub(super) headers: &'a HeaderMap,
    pub(super) extensions: &'a Extensions,
    pub(super) peer: Option<SocketAddr>,
}

impl<'a> RequestHead<'a> {
    pub(super) fn of<B>(request: &'a Request<B>) -> Self {
        Self {
            method: request.method(),
            uri: request.uri(),
            version: request.version(),
            headers: request.headers(),
            extensions: request.extensions(),
            peer: None,
        }
    }

    /// The method, also if the conventions do not list it.
    pub fn method(&self) -> &'a Method {
        self.method
    }

    /// The URI; on a server as the client sent it, also within nested routers of axum.
    pub fn uri(&self) -> &'a Uri {
        self.uri
    }

    /// The version of HTTP.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The headers.
    pub fn headers(&self) -> &'a HeaderMap {
        self.headers
    }

    /// The extensions that the server and outer layers have added.
    pub fn extensions(&self) -> &'a Extensions {
        self.extensions
    }

    /// The address of the connection's peer, see
    /// [`ServerLayer::with_peer`](super::ServerLayer::with_peer). `None` if the server does not provide
    /// it, and on a client.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }
}

/// A response without its body, for hooks.
#[derive(Clone, Copy)]
pub struct ResponseHead<'a> {
    pub(super) status: StatusCode,
    pub(super) version: Version,
    pub(super) headers: &'a HeaderMap,
    pub(super) extensions: &'a Extensions,
}

impl<'a> ResponseHead<'a> {
    pub(super) fn of<B>(response: &'a Response<B>) -> Self {
        Self {
            status: response.status(),
            version: response.version(),
            headers: response.headers(),
            extensions: response.extensions(),
        }
    }

    /// The status code.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The version of HTTP.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The headers.
    pub fn headers(&self) -> &'a HeaderMap {
        self.headers
    }

    /// The extensions.
    pub fn extensions(&self) -> &'a Extensions {
        self.extensions
    }
}

impl fmt::Debug for RequestHead<'_> {
    /// Without the query and the values of headers, which may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<_> = self.headers.keys().collect();
        f.debug_struct("RequestHead")
            .field("method", self.method)
            .field("uri", &text::url(&self.uri.to_string()))
            .field("version", &self.version)
            .field("headers", &headers)
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ResponseHead<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<_> = self.headers.keys().collect();
        f.debug_struct("ResponseHead")
            .field("status", &self.status)
            .field("version", &self.version)
            .field("headers", &headers)
            .finish_non_exhaustive()
    }
}

/// The version, for `network.protocol.version`.
pub(super) fn version_text(version: Version) -> Option<&'static str> {
    match version {
        Version::HTTP_09 => Some("0.9"),
        Version::HTTP_10 => Some("1.0"),
        Version::HTTP_11 => Some("1.1"),
        Version::HTTP_2 => Some("2"),
        Version::HTTP_3 => Some("3"),
        _ => None,
    }
}

/// The body's length by its `content-length`.
pub(super) fn content_length(headers: &HeaderMap) -> Option<u64> {
    let value = headers.get(http::header::CONTENT_LENGTH)?;
    value.to_str().ok()?.parse().ok()
}
