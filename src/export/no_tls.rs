//! In place of `tls` in a build without it: an `https` endpoint is an error, never plaintext.

use std::convert::Infallible;
use std::io;

use crate::config::ExporterConfig;
use crate::error::Error;
use crate::export::endpoint::Endpoint;
use crate::export::no_sigpipe::NoSigpipe;

#[derive(Debug, Clone)]
pub(crate) struct Tls(Infallible);

impl Tls {
    pub(crate) fn new(_: &ExporterConfig, endpoint: &Endpoint) -> Result<Self, Error> {
        Err(Error::config(
            "endpoint",
            format!("https://{}", endpoint.address()),
            "this build has no TLS: enable the feature `tls` of tracing-otlp, or give an http:// URL",
        ))
    }

    pub(crate) async fn connect(&self, _: NoSigpipe) -> io::Result<NoSigpipe> {
        match self.0 {}
    }
}
