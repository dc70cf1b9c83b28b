//! The path of a Unix socket, in gRPC's notation.

use std::path::PathBuf;

/// The socket of `unix:path` or `unix:///path`; `None`: a URL of another kind.
pub(super) fn socket_of(url: &str) -> Option<Result<PathBuf, String>> {
    let scheme = url.get(..5)?;
    if !scheme.eq_ignore_ascii_case("unix:") {
        return None;
    }
    let rest = url.get(5..).unwrap_or_default();
    let path = match rest.strip_prefix("//") {
        Some(path) if path.starts_with('/') => path,
        Some(_) => return Some(Err("a socket has no host: write unix:///path".to_owned())),
        None => rest,
    };
    if path.is_empty() || path.ends_with('/') {
        let cure = "give a socket's path, such as unix:///run/otel.sock";
        return Some(Err(cure.to_owned()));
    }
    Some(usable_socket(path))
}

#[cfg(unix)]
fn usable_socket(path: &str) -> Result<PathBuf, String> {
    match std::os::unix::net::SocketAddr::from_pathname(path) {
        Ok(_) => Ok(path.into()),
        Err(e) => Err(format!("give a socket's path ({e})")),
    }
}

#[cfg(not(unix))]
fn usable_socket(_: &str) -> Result<PathBuf, String> {
    Err("this system has no Unix sockets here: give an http:// or https:// URL".to_owned())
}
