//! Replaces `proxy` in a build without a transport, which makes no connection.

use std::convert::Infallible;

use crate::config::ConnectionConfig;
use crate::error::Error;
use crate::export::endpoint::Endpoint;
use crate::export::stream::{DialError, Io};
use crate::export::tls::Tls;

#[derive(Debug, Clone)]
pub(crate) struct Proxy(Infallible);

impl Proxy {
    pub(crate) fn of(_: &ConnectionConfig, _: &Endpoint) -> Result<Option<Self>, Error> {
        Ok(None)
    }

    pub(crate) fn host(&self) -> &str {
        match self.0 {}
    }

    pub(crate) fn port(&self) -> u16 {
        match self.0 {}
    }

    pub(crate) fn tls(&self) -> Option<&Tls> {
        match self.0 {}
    }

    pub(crate) fn address(&self) -> String {
        match self.0 {}
    }

    pub(crate) fn is_tunnel(&self) -> bool {
        match self.0 {}
    }

    pub(crate) async fn tunnel(&self, _: Io, _: &Endpoint) -> Result<Io, DialError> {
        match self.0 {}
    }
}
