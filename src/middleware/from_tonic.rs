//! What tonic's server knows of a connection, and contexts in its metadata.

use std::net::SocketAddr;

use http::{Extensions, HeaderMap};
use tonic::metadata::MetadataMap;
use tonic::transport::server::TcpConnectInfo;

use crate::propagation::{Extractor, Injector, Values};

/// Who has connected.
pub(super) fn peer(extensions: &Extensions) -> Option<SocketAddr> {
    extensions.get().and_then(TcpConnectInfo::remote_addr)
}

fn headers(metadata: &MetadataMap) -> &HeaderMap {
    metadata.as_ref()
}

/// Metadata are headers; values of `-bin` keys are left alone.
impl Extractor for MetadataMap {
    fn get(&self, key: &str) -> Option<&str> {
        Extractor::get(headers(self), key)
    }

    fn get_all(&self, key: &str) -> Values<'_> {
        Extractor::get_all(headers(self), key)
    }

    fn keys(&self) -> Vec<&str> {
        Extractor::keys(headers(self))
    }
}

impl Injector for MetadataMap {
    fn set(&mut self, key: &str, value: &str) {
        let headers: &mut HeaderMap = self.as_mut();
        Injector::set(headers, key, value);
    }

    fn remove(&mut self, key: &str) {
        let headers: &mut HeaderMap = self.as_mut();
        Injector::remove(headers, key);
    }
}
