//! The parts of a URL beside its host: path, user and password.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::HeaderValue;
use percent_encoding::percent_decode_str;

/// A base URL gets the signal's path appended; the URL of a signal is used as it is, an absent path
/// being `/`. A fragment is never sent.
pub(super) fn http_path(path: &str, appended: &str) -> String {
    let path = path.split('#').next().unwrap_or_default();
    let (path, query) = match path.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (path, None),
    };
    let mut out = if path.is_empty() {
        "/".to_owned()
    } else {
        path.to_owned()
    };
    if !appended.is_empty() {
        if !out.ends_with('/') {
            out.push('/');
        }
        out.push_str(appended);
    }
    if let Some(query) = query {
        out.push('?');
        out.push_str(query);
    }
    out
}

/// User and password, percent-encoded, as basic authentication (RFC 7617).
pub(super) fn basic(userinfo: &str) -> Result<Option<HeaderValue>, &'static str> {
    let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
    let mut plain: Vec<u8> = percent_decode_str(user).collect();
    if plain.contains(&b':') {
        return Err("a user's name can't hold a colon; give an authorization header instead");
    }
    plain.push(b':');
    plain.extend(percent_decode_str(password));
    if plain == b":" {
        return Ok(None);
    }
    let text = format!("Basic {}", BASE64_STANDARD.encode(plain));
    let mut value = HeaderValue::from_str(&text)
        .map_err(|_| "user and password are too long; give an authorization header instead")?;
    value.set_sensitive(true);
    Ok(Some(value))
}
