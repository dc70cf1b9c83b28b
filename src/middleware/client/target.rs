//! [`ServerTarget`]: the server of a channel whose requests have no host (RPC-5).

use super::super::address::Host;

/// A server, for `server.address` and `server.port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServerTarget {
    pub(super) address: String,
    pub(super) port: Option<u16>,
}

impl ServerTarget {
    /// `host:port`, a URL, `unix:///path`, or a gRPC target. Any other text, such as several addresses,
    /// becomes the address.
    pub(super) fn parse(text: &str) -> Self {
        let whole = || {
            // Credentials are no part of an address.
            let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
            let separator = if scheme.is_empty() { "" } else { "://" };
            let rest = rest.rsplit('@').next().unwrap_or(rest);
            Self {
                address: format!("{scheme}{separator}{rest}"),
                port: None,
            }
        };
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return Self {
                address: path.to_owned(),
                port: None,
            };
        }
        let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
        let host = match scheme {
            // The DNS server's authority may precede the name: `dns://8.8.8.8/name`.
            "dns" => rest.split_once('/').map_or(rest, |(_, name)| name),
            "" | "http" | "https" => rest.split('/').next().unwrap_or(rest),
            _ => return whole(),
        };
        let is_one = !host.contains([',', ' ', '/']);
        match Host::parse(host).filter(|_| is_one) {
            Some(host) => Self {
                address: host.address.to_owned(),
                port: host.port_or_default(scheme),
            },
            None => whole(),
        }
    }

    /// The authority of a URL to it; `None` if it is not a single host.
    pub(super) fn authority(&self) -> Option<String> {
        let Self { address, port } = self;
        if address.contains(['/', ',']) || address.is_empty() {
            return None;
        }
        let host = match address.contains(':') {
            true => format!("[{address}]"),
            false => address.clone(),
        };
        Some(port.map_or(host.clone(), |port| format!("{host}:{port}")))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn targets_are_what_the_channel_was_given_rpc_5() {
        for (text, address, port) in [
            ("grpc.example.com:443", "grpc.example.com", Some(443)),
            ("http://example.com", "example.com", Some(80)),
            ("https://example.com:8443/base", "example.com", Some(8443)),
            ("https://[::1]:1", "::1", Some(1)),
            ("dns:///example.com:50051", "example.com", Some(50051)),
            ("dns://8.8.8.8/example.com", "example.com", None),
            ("unix:///run/app.sock", "/run/app.sock", None),
            ("unix:app.sock", "app.sock", None),
            ("10.0.0.1:1,10.0.0.2:1", "10.0.0.1:1,10.0.0.2:1", None),
            ("xds:///cluster", "xds:///cluster", None),
            ("https://user:SECRET@c.example:1/x", "c.example", Some(1)),
            ("xds://user:SECRET@cluster", "xds://cluster", None),
            ("user:SECRET@a:1,b:2", "a:1,b:2", None),
            ("", "", None),
        ] {
            let address = address.to_owned();
            assert_eq!(
                ServerTarget::parse(text),
                ServerTarget { address, port },
                "{text}"
            );
        }
    }

    #[test]
    fn one_host_can_stand_in_a_url() {
        for (text, authority) in [
            ("example.com:443", Some("example.com:443")),
            ("dns://8.8.8.8/example.com", Some("example.com")),
            ("https://[::1]:1", Some("[::1]:1")),
            ("unix:///run/app.sock", None),
            ("10.0.0.1:1,10.0.0.2:1", None),
            ("", None),
        ] {
            assert_eq!(
                ServerTarget::parse(text).authority().as_deref(),
                authority,
                "{text}"
            );
        }
    }
}
