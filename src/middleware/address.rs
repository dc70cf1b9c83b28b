//! Addresses of client and server, from the headers of a request (HTTP-8, RPC-5).

use std::net::{IpAddr, SocketAddr};

use http::header::HOST;
use http::{HeaderMap, Uri};

use super::head::RequestHead;

/// A host and its port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Host<'a> {
    pub(super) address: &'a str,
    pub(super) port: Option<u16>,
}

impl<'a> Host<'a> {
    /// `host`, `host:port`, `[v6]:port`, with or without a `user@`; nothing if the host is empty.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let text = text.trim_ascii();
        // A single pass over the bytes, because each request runs this.
        let (mut start, mut colon, mut colons) = (0, 0, 0);
        for (at, byte) in text.bytes().enumerate() {
            if byte == b':' {
                colon = at;
                colons += 1;
            } else if byte == b'@' {
                start = at + 1;
                colons = 0;
            }
        }
        let mut text = text.get(start..)?;
        let mut port = None;
        if let Some(rest) = text.strip_prefix('[') {
            let (address, rest) = rest.split_once(']')?;
            (text, port) = (address, rest.strip_prefix(':'));
        } else if colons == 1 {
            (text, port) = (text.get(..colon - start)?, text.get(colon - start + 1..));
        }
        // With more colons it is an IPv6 address without its brackets.
        let address = text;
        (!address.is_empty()).then(|| Self {
            address,
            port: port.and_then(|port| port.parse().ok()),
        })
    }

    /// The port, else the one that `scheme` implies.
    pub(super) fn port_or_default(&self, scheme: &str) -> Option<u16> {
        self.port.or(match scheme {
            "http" | "ws" => Some(80),
            "https" | "wss" => Some(443),
            _ => None,
        })
    }

    /// The server that a request addresses: the authority of its URI, else its `Host` header.
    pub(super) fn of_request(uri: &'a Uri, headers: &'a HeaderMap) -> Option<Self> {
        match uri.authority() {
            Some(authority) => Self::parse(authority.as_str()),
            None => Self::parse(headers.get(HOST)?.to_str().ok()?),
        }
    }
}

/// The forwarding headers of a request. Any client can send them, so they are read only if the peer
/// is a trusted proxy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Forwarded<'a> {
    pub(super) client: Option<Host<'a>>,
    pub(super) host: Option<Host<'a>>,
    pub(super) scheme: Option<&'a str>,
}

impl<'a> Forwarded<'a> {
    /// Reads `Forwarded` (RFC 7239) if there is one, else the `X-Forwarded-*` headers. The client is
    /// the last address that is not a trusted proxy, with the host and scheme of the same hop: earlier
    /// hops were written by untrusted senders.
    pub(super) fn read(head: &RequestHead<'a>, is_trusted: impl Fn(IpAddr) -> bool) -> Self {
        let mut found = Self::default();
        if let Some(value) = head.headers.get("forwarded") {
            // A quoted string may span the cut, so the entry of the last proxy cannot be found.
            if value.len() > LONGEST {
                return found;
            }
            let hops = lines(head.headers, "forwarded").flat_map(|line| split_quoted(line, ','));
            for hop in hops {
                let (mut client, mut host, mut scheme) = (None, None, None);
                for pair in split_quoted(hop, ';') {
                    let Some((name, value)) = pair.split_once('=') else {
                        continue;
                    };
                    let (name, value) = (name.trim(), unquoted(value.trim()));
                    if name.eq_ignore_ascii_case("for") {
                        client = Host::parse(value);
                    } else if name.eq_ignore_ascii_case("host") {
                        host = Host::parse(value);
                    } else if name.eq_ignore_ascii_case("proto") {
                        scheme = is_scheme(value).then_some(value);
                    }
                }
                if found.pass(client, &is_trusted) {
                    (found.host, found.scheme) = (host, scheme);
                } else {
                    found.host = found.host.or(host);
                    found.scheme = found.scheme.or(scheme);
                }
            }
            return found;
        }
        let mut proxies = 0;
        for entry in entries(head.headers, "x-forwarded-for") {
            match found.pass(Host::parse(entry), &is_trusted) {
                true => proxies = 0,
                false => proxies += 1,
            }
        }
        // Counted from the end, the entry of the same proxy, if each proxy appends one. A header that
        // proxies replace has a single entry.
        let entry_of = |name| {
            let list = || entries(head.headers, name);
            list().nth_back(proxies).or_else(|| list().next())
        };
        found.host = entry_of("x-forwarded-host").and_then(Host::parse);
        found.scheme = entry_of("x-forwarded-proto").filter(|s| is_scheme(s));
        found
    }

    /// Reads the next hop, in the order of the header: the client's is first. Returns whether the hop
    /// may be the client.
    fn pass(&mut self, client: Option<Host<'a>>, is_trusted: impl Fn(IpAddr) -> bool) -> bool {
        let Some(client) = client else { return false };
        let address = client.address.parse::<IpAddr>();
        let is_proxy = address.is_ok_and(|address| is_trusted(address.to_canonical()));
        let is_client = !is_proxy || self.client.is_none();
        if is_client {
            self.client = Some(client);
        }
        is_client
    }
}

fn lines<'a>(headers: &'a HeaderMap, name: &str) -> impl DoubleEndedIterator<Item = &'a str> {
    let values = headers.get_all(name).into_iter();
    values.filter_map(|value| value.to_str().ok())
}

fn entries<'a>(headers: &'a HeaderMap, name: &str) -> impl DoubleEndedIterator<Item = &'a str> {
    let entries = lines(headers, name).flat_map(|line| last(line).split(','));
    entries.map(str::trim).filter(|entry| !entry.is_empty())
}

/// The whole entries within the last [`LONGEST`] bytes of a line.
fn last(line: &str) -> &str {
    let tail = line
        .len()
        .checked_sub(LONGEST)
        .and_then(|at| line.get(at..));
    let whole = |tail: &'_ str| tail.find(',').map_or(tail.len(), |at| at + 1);
    match tail {
        Some(tail) => tail.get(whole(tail)..).unwrap_or_default(),
        None => line,
    }
}

/// Bytes that are read of a header, because a client may send as many as the server accepts.
const LONGEST: usize = 8192;

fn is_scheme(text: &str) -> bool {
    let is_part = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
    !text.is_empty() && text.len() <= 16 && text.bytes().all(is_part)
}

/// Splits at `at` outside of quotes.
fn split_quoted(text: &str, at: char) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    text.split(move |c| {
        is_quoted ^= c == '"';
        c == at && !is_quoted
    })
}

fn unquoted(text: &str) -> &str {
    let inner = text.strip_prefix('"').and_then(|t| t.strip_suffix('"'));
    inner.unwrap_or(text)
}

/// The text of an IP address, without an allocation.
#[derive(Debug, Clone, Copy)]
pub(super) struct IpText {
    bytes: [u8; Self::LONGEST],
    len: usize,
}

impl IpText {
    /// `ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255`
    const LONGEST: usize = 45;

    pub(super) fn of(address: SocketAddr) -> Self {
        use std::io::Write as _;
        let mut bytes = [0; Self::LONGEST];
        let mut rest = &mut bytes[..];
        // An IPv6 socket shows an IPv4 peer as a mapped address.
        let result = write!(rest, "{}", address.ip().to_canonical());
        let left = rest.len();
        let len = result.map_or(0, |()| Self::LONGEST.saturating_sub(left));
        Self { bytes, len }
    }

    pub(super) fn as_str(&self) -> Option<&str> {
        let text = std::str::from_utf8(self.bytes.get(..self.len)?).ok()?;
        (!text.is_empty()).then_some(text)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use http::Request;

    fn host(address: &str, port: impl Into<Option<u16>>) -> Option<Host<'_>> {
        let port = port.into();
        Some(Host { address, port })
    }

    #[test]
    fn hosts_are_told_from_ports_http_8() {
        for (text, expected) in [
            ("example.com", host("example.com", None)),
            ("example.com:8080", host("example.com", 8080)),
            ("[::1]:8080", host("::1", 8080)),
            ("[::1]", host("::1", None)),
            ("::1", host("::1", None)),
            ("user:pw@example.com:1", host("example.com", 1)),
            ("example.com:", host("example.com", None)),
            ("example.com:99999", host("example.com", None)),
            ("", None),
            (":80", None),
            ("[::1", None),
        ] {
            assert_eq!(Host::parse(text), expected, "{text}");
        }
    }

    #[test]
    fn a_port_is_implied_by_the_scheme() {
        let host = Host::parse("a").unwrap();
        assert_eq!(host.port_or_default("https"), Some(443));
        assert_eq!(host.port_or_default("http"), Some(80));
        assert_eq!(host.port_or_default("gopher"), None);
        assert_eq!(Host::parse("a:1").unwrap().port_or_default("http"), Some(1));
    }

    fn read(headers: &[(&str, &str)]) -> (Option<String>, Option<String>, Option<String>) {
        let mut request = Request::builder();
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).unwrap();
        let trusted = |ip: IpAddr| ip.to_string().starts_with("10.");
        let found = Forwarded::read(&RequestHead::of(&request), trusted);
        let text = |host: Host<'_>| host.address.to_owned();
        (
            found.client.map(text),
            found.host.map(text),
            found.scheme.map(str::to_owned),
        )
    }

    #[test]
    fn the_client_is_the_last_that_is_no_proxy_of_ours_http_8() {
        let of = |client: &str| (Some(client.to_owned()), None, None);
        assert_eq!(
            read(&[("x-forwarded-for", "1.2.3.4, 10.0.0.1")]),
            of("1.2.3.4")
        );
        // The first was written by the client itself.
        assert_eq!(
            read(&[("x-forwarded-for", "6.6.6.6, 1.2.3.4,10.0.0.1")]),
            of("1.2.3.4")
        );
        assert_eq!(
            read(&[("x-forwarded-for", "10.0.0.2, 10.0.0.1")]),
            of("10.0.0.2")
        );
        let two = [
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-for", "[::2]:1, 10.0.0.1"),
        ];
        assert_eq!(read(&two), of("::2"));
        // The same address, as a socket of IPv6 shows it.
        assert_eq!(
            read(&[("x-forwarded-for", "1.2.3.4, ::ffff:10.0.0.1")]),
            of("1.2.3.4")
        );
        assert_eq!(read(&[]), (None, None, None));
        assert_eq!(read(&[("x-forwarded-for", ", ,")]), (None, None, None));
    }

    #[test]
    fn host_and_scheme_are_those_of_the_clients_own_proxy_http_8() {
        let all = |client: &str, host: &str, scheme: &str| {
            let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            (text(client), text(host), text(scheme))
        };
        // The client wrote the first of each itself.
        let forged = "for=1.1.1.1;host=evil;proto=gopher, for=6.6.6.6;host=shop;proto=https";
        let of_shop = all("6.6.6.6", "shop", "https");
        assert_eq!(read(&[("forwarded", forged)]), of_shop);
        let inner = format!("{forged}, for=10.0.0.1;host=inner;proto=http");
        assert_eq!(read(&[("forwarded", &inner)]), of_shop);
        let silent = "for=6.6.6.6, for=10.0.0.1;host=shop;proto=https";
        assert_eq!(read(&[("forwarded", silent)]), of_shop);
        let x = |client: &str, host: &str, scheme: &str| {
            read(&[
                ("x-forwarded-for", client),
                ("x-forwarded-host", host),
                ("x-forwarded-proto", scheme),
            ])
        };
        assert_eq!(
            x("1.1.1.1, 6.6.6.6", "evil, shop", "gopher, https"),
            of_shop
        );
        let lists = ("evil, shop, inner", "gopher, https, http");
        assert_eq!(x("1.1.1.1, 6.6.6.6, 10.0.0.1", lists.0, lists.1), of_shop);
        // Replaced by each proxy, or set by the first alone.
        assert_eq!(x("6.6.6.6, 10.0.0.1", "shop", "https"), of_shop);
        assert_eq!(x("", "shop", ""), all("", "shop", ""));
    }

    #[test]
    fn forwarded_is_read_as_rfc_7239_has_it() {
        let value =
            r#"for="[2001:db8::1]:47011";proto=https;host="shop.example, really", for=10.0.0.9"#;
        let (client, host, scheme) = read(&[("forwarded", value), ("x-forwarded-for", "1.1.1.1")]);
        assert_eq!(client.as_deref(), Some("2001:db8::1"));
        assert_eq!(host.as_deref(), Some("shop.example, really"));
        assert_eq!(scheme.as_deref(), Some("https"));
        let (client, _, scheme) = read(&[("forwarded", "For=\"unknown; proto=;;;=,,")]);
        assert_eq!(
            (client.as_deref(), scheme),
            (Some("\"unknown; proto=;;;=,,"), None)
        );
    }

    #[test]
    fn addresses_are_written_without_their_port() {
        for (address, text) in [
            ("1.2.3.4:5", "1.2.3.4"),
            ("[::1]:5", "::1"),
            ("[::ffff:1.2.3.4]:5", "1.2.3.4"),
            (
                "[2001:db8:1111:2222:3333:4444:5555:6666]:1",
                "2001:db8:1111:2222:3333:4444:5555:6666",
            ),
        ] {
            let text_of = IpText::of(address.parse().unwrap());
            assert_eq!(text_of.as_str(), Some(text));
        }
    }
}
