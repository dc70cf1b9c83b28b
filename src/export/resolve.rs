//! The addresses of an endpoint's host.
//!
//! tokio looks names up in its pool of blocking threads, and panics where the system has no thread for
//! it, again with every attempt. Here that is an error as any other: the endpoint cannot be reached
//! just now, and is tried again.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tokio::sync::oneshot;

use crate::suppress;

/// So many look-ups may be under way in the process: one that hangs holds its thread for as long as it
/// likes, though nobody waits for it any more.
const MOST: usize = 16;

static UNDER_WAY: AtomicUsize = AtomicUsize::new(0);

/// Counts a look-up, however it ends.
struct LookUp;

impl LookUp {
    fn begin() -> Option<Self> {
        let begun = Self;
        // The one that is too many is taken back as it is dropped.
        (UNDER_WAY.fetch_add(1, Ordering::Relaxed) < MOST).then_some(begun)
    }
}

impl Drop for LookUp {
    fn drop(&mut self) {
        UNDER_WAY.fetch_sub(1, Ordering::Relaxed);
    }
}

pub(crate) async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let Some(under_way) = LookUp::begin() else {
        return Err(io::Error::other(format!(
            "{MOST} look-ups of names have not ended, {host} is not looked up"
        )));
    };
    let (answer, answered) = oneshot::channel();
    let name = host.to_owned();
    thread::Builder::new()
        .name("otlp-lookup".to_owned())
        .spawn(move || {
            suppress::mark_thread();
            let found = (name.as_str(), port).to_socket_addrs();
            drop(under_way);
            let _ = answer.send(found.map(Vec::from_iter));
        })
        .map_err(|e| {
            let message = format!("no thread can be started to look {host} up: {e}");
            io::Error::new(e.kind(), message)
        })?;
    answered.await.unwrap_or_else(|_| {
        Err(io::Error::other(format!(
            "the look-up of {host} was given up"
        )))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn addresses_need_no_look_up_and_names_get_one() {
        for (host, address) in [
            ("127.0.0.1", "127.0.0.1:7"),
            ("[::1]", "[::1]:7"),
            ("::1", "[::1]:7"),
        ] {
            assert_eq!(resolve(host, 7).await.unwrap(), [address.parse().unwrap()]);
        }
        let found = resolve("localhost", 7).await.unwrap();
        assert!(
            found
                .iter()
                .all(|address| address.ip().is_loopback() && address.port() == 7)
        );
        resolve("no such name", 7).await.unwrap_err();
    }
}
