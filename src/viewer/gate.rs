//! [`Gate`]: who may look. Decides by a request's head alone, before anything is answered.
//!
//! The page shows what an application did, so no other site, program or user may read it: a name that
//! was pointed at this machine (DNS rebinding) fails by its `Host`, another page by `Origin` and
//! `Sec-Fetch-Site`, everybody else by the token.

use std::net::IpAddr;

use http::header::{AUTHORIZATION, COOKIE, HOST, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use rand::TryRng as _;
use rand::rngs::SysRng;

use super::filter::pairs;
use crate::error::Error;
use crate::text;

/// A refusal: its status, and what helps.
pub(super) type Refused = (StatusCode, &'static str);

#[derive(Debug)]
pub(super) struct Gate {
    token: String,
    /// Cookies do not know ports: two viewers need two names.
    cookie: String,
    /// Whether only this machine is served.
    is_local: bool,
}

/// A request that may be answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pass {
    Granted,
    /// The token came in the address: it becomes a cookie, and the address loses it.
    Redirect {
        to: String,
        cookie: String,
    },
}

impl Gate {
    /// A gate with a new token.
    pub(super) fn new(port: u16, is_local: bool) -> Result<Self, Error> {
        let mut bytes = [0; 16];
        SysRng.try_fill_bytes(&mut bytes).map_err(|e| {
            Error::worker("the viewer got no random token from the system").with_source(e)
        })?;
        Ok(Self {
            token: text::hex(&bytes),
            cookie: format!("tracing-otlp-viewer-{port}"),
            is_local,
        })
    }

    pub(super) fn token(&self) -> &str {
        &self.token
    }

    /// Refuses other sites and other names, whatever they ask for.
    pub(super) fn check_source(&self, head: &Parts) -> Result<(), Refused> {
        check_host(head, self.is_local)?;
        check_origin(head)?;
        let site = text(&head.headers, "sec-fetch-site").unwrap_or("none");
        // Another port of this machine may link here; it may not fetch or frame.
        let is_link = text(&head.headers, "sec-fetch-mode") == Some("navigate")
            && text(&head.headers, "sec-fetch-dest") == Some("document");
        match site {
            "none" | "same-origin" => Ok(()),
            "same-site" if is_link => Ok(()),
            _ => Err((
                StatusCode::FORBIDDEN,
                "Another site asked for this. Open the address that the program printed by hand.\n",
            )),
        }
    }

    /// Asks for the token: in the address of a page, in the cookie, or as a bearer's.
    pub(super) fn check_token(&self, head: &Parts, is_page: bool) -> Result<Pass, Refused> {
        let query = head.uri.query().unwrap_or_default();
        if is_page && let Some((_, token)) = pairs(query).find(|(key, _)| key == "token") {
            if !self.is_token(&token) {
                return Err(UNAUTHORIZED);
            }
            let rest: Vec<&str> = query
                .split('&')
                .filter(|p| !pairs(p).any(|(key, _)| key == "token"))
                .collect();
            let mut to = head.uri.path().to_owned();
            if !rest.is_empty() {
                to = format!("{to}?{}", rest.join("&"));
            }
            let cookie = format!(
                "{}={}; Path=/; HttpOnly; SameSite=Strict",
                self.cookie, self.token
            );
            return Ok(Pass::Redirect { to, cookie });
        }
        let bearer = text(&head.headers, AUTHORIZATION.as_str()).and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        let cookies = head.headers.get_all(COOKIE).iter();
        let cookies = cookies.filter_map(|value| value.to_str().ok());
        let mut given = cookies
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .filter(|(name, _)| *name == self.cookie)
            .map(|(_, token)| token)
            .chain(bearer);
        match given.any(|token| self.is_token(token)) {
            true => Ok(Pass::Granted),
            false => Err(UNAUTHORIZED),
        }
    }

    /// Compares all bytes, so that the time taken says nothing of where they differ.
    fn is_token(&self, given: &str) -> bool {
        let (given, token) = (given.as_bytes(), self.token.as_bytes());
        let differs = given.iter().zip(token).fold(0, |sum, (a, b)| sum | (a ^ b));
        given.len() == token.len() && std::hint::black_box(differs) == 0
    }
}

const UNAUTHORIZED: Refused = (
    StatusCode::UNAUTHORIZED,
    "This needs a token. Open the address that the program printed; it ends in ?token=...\n\
     Scripts send the header `Authorization: Bearer TOKEN`.\n",
);

/// `Host` has to be there once, and to be a literal of the loopback or `localhost`; for a viewer that
/// serves other machines too, any literal. A name of somebody's is never a literal.
pub(super) fn check_host(head: &Parts, is_local: bool) -> Result<(), Refused> {
    const REFUSED: Refused = (
        StatusCode::FORBIDDEN,
        "The host of the address has to be 127.0.0.1, [::1] or localhost.\n",
    );
    let mut hosts = head.headers.get_all(HOST).iter();
    let authority = head.uri.authority().map(|a| a.as_str());
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().ok(),
        // HTTP/2 has it in the URI.
        (None, None) => authority,
        _ => None,
    };
    let Some(host) = host else {
        return Err(REFUSED);
    };
    if authority.is_some_and(|a| a != host) {
        return Err(REFUSED);
    }
    match is_named_well(host, is_local) {
        true => Ok(()),
        false => Err(REFUSED),
    }
}

fn is_named_well(host: &str, is_local: bool) -> bool {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((name, rest)) => (
                name,
                rest.strip_prefix(':').or(rest.is_empty().then_some("")),
            ),
            None => return false,
        },
        None => match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, Some("")),
        },
    };
    if !port.is_some_and(|port| port.bytes().all(|b| b.is_ascii_digit())) {
        return false;
    }
    if name.eq_ignore_ascii_case("localhost") {
        return true;
    }
    match name.parse::<IpAddr>() {
        // A literal of IPv6 stands in brackets.
        Ok(address) => {
            address.is_ipv6() == host.starts_with('[') && (address.is_loopback() || !is_local)
        }
        Err(_) => false,
    }
}

/// An `Origin` has to be the one that is asked.
fn check_origin(head: &Parts) -> Result<(), Refused> {
    let host = text(&head.headers, HOST.as_str()).unwrap_or_default();
    let mut origins = head.headers.get_all(ORIGIN).iter();
    let is_own = |origin: &[u8]| origin.strip_prefix(b"http://") == Some(host.as_bytes());
    match origins.all(|origin| is_own(origin.as_bytes())) {
        true => Ok(()),
        false => Err((StatusCode::FORBIDDEN, "Another site asked for this.\n")),
    }
}

/// Anything but GET is refused.
pub(super) fn check_method(head: &Parts) -> Result<(), Refused> {
    match head.method {
        Method::GET => Ok(()),
        _ => Err((
            StatusCode::METHOD_NOT_ALLOWED,
            "Only GET is answered here.\n",
        )),
    }
}

/// The header's text, where it came once.
fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_literal_of_the_loopback_or_localhost() {
        for good in [
            "127.0.0.1",
            "127.0.0.1:4316",
            "127.8.9.1:1",
            "localhost",
            "LOCALHOST:80",
            "[::1]",
            "[::1]:4316",
        ] {
            assert!(is_named_well(good, true), "{good}");
        }
        for bad in [
            "",
            "example.com",
            "localhost.example.com",
            "127.0.0.1.nip.io",
            "192.168.0.1",
            "0.0.0.0",
            "::1",
            "[::1",
            "[::2]",
            "[127.0.0.1]",
            "127.0.0.1:x",
            "127.0.0.1:1:2",
            "[::1]x",
            "user@127.0.0.1",
            "localhost.",
            "127.1",
        ] {
            assert!(!is_named_well(bad, true), "{bad}");
        }
        assert!(is_named_well("192.168.0.1:4316", false));
        assert!(!is_named_well("rebound.example.com", false));
    }

    #[test]
    fn tokens_differ_and_only_the_whole_one_counts() {
        let (gate, other) = (Gate::new(1, true).unwrap(), Gate::new(1, true).unwrap());
        assert_ne!(gate.token(), other.token());
        assert_eq!(gate.token().len(), 32);
        assert!(gate.is_token(gate.token()));
        for wrong in [
            "",
            other.token(),
            &gate.token()[1..],
            &format!("{}0", gate.token()),
        ] {
            assert!(!gate.is_token(wrong), "{wrong}");
        }
    }

    #[test]
    fn the_token_becomes_a_cookie_and_the_rest_of_the_address_stays() {
        let gate = Gate::new(7, true).unwrap();
        let uri = format!("/traces/ab?x=1&token={}&y=2", gate.token());
        let (head, ()) = http::Request::get(uri).body(()).unwrap().into_parts();
        let Ok(Pass::Redirect { to, cookie }) = gate.check_token(&head, true) else {
            panic!("no redirect");
        };
        assert_eq!(to, "/traces/ab?x=1&y=2");
        let token = gate.token();
        assert_eq!(
            cookie,
            format!("tracing-otlp-viewer-7={token}; Path=/; HttpOnly; SameSite=Strict")
        );
        assert_eq!(gate.check_token(&head, false), Err(UNAUTHORIZED));
    }
}
