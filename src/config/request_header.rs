//! Which headers a user may add to every request.

use http::header::USER_AGENT;
use http::{HeaderName, HeaderValue};

/// A header of every request, else a text that completes the sentence "… is ignored: ". The value is
/// marked as sensitive; the message does not show it.
pub(crate) fn checked(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let name = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| "its name is not a valid header name".to_owned())?;
    if name == USER_AGENT {
        let cure =
            "the exporter sets `user-agent` itself; with_user_agent_prefix adds a product to it";
        return Err(cure.to_owned());
    }
    if is_reserved(&name) {
        return Err(format!("the exporter sets `{name}` itself"));
    }
    // `from_str` also accepts bytes beyond ASCII, but gRPC does not.
    let mut value = HeaderValue::from_str(value)
        .ok()
        .filter(|value| value.to_str().is_ok())
        .ok_or_else(|| {
            format!("the value of `{name}` holds a character that no header may: use visible ASCII")
        })?;
    value.set_sensitive(true);
    Ok((name, value))
}

/// Headers that frame the message or belong to the connection: another value breaks the request.
fn is_reserved(name: &HeaderName) -> bool {
    const RESERVED: [&str; 10] = [
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    RESERVED.contains(&name.as_str()) || name.as_str().starts_with("grpc-")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Not silently: what is set has to be sent.
    #[test]
    fn what_the_exporter_sets_is_no_header_of_a_user() {
        for name in ["TE", "grpc-timeout", "Content-Type", "User-Agent"] {
            let why = checked(name, "x").err().unwrap_or_default();
            let name = name.to_lowercase();
            assert!(why.contains(&format!("sets `{name}` itself")), "{why}");
        }
        assert!(checked("Host", "tenant.test").is_ok());
    }
}
