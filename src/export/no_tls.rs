//! Replaces `tls` in a build without it: an `https` endpoint is an error, never plaintext.

use std::convert::Infallible;
use std::io;

use crate::config::ConnectionConfig;
use crate::error::Error;
use crate::export::cause::Cause;
use crate::export::endpoint::Endpoint;
use crate::export::stream::Io;

#[derive(Debug, Clone)]
pub(crate) struct Tls(Infallible);

impl Tls {
    pub(crate) fn new(_: &ConnectionConfig, endpoint: &Endpoint) -> Result<Self, Error> {
        Err(Error::config(
            "endpoint",
            format!("https://{}", endpoint.address()),
            "this build has no TLS: enable the feature `tls` of tracing-otlp, or give an http:// URL",
        ))
    }

    pub(crate) fn has_changed(&self) -> bool {
        match self.0 {}
    }

    pub(crate) async fn connect(&self, _: Io) -> Result<Io, (Cause, io::Error)> {
        match self.0 {}
    }
}

pub(crate) fn wants_a_certificate(_: &(dyn std::error::Error + 'static)) -> bool {
    false
}
