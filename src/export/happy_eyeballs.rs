//! Several addresses of one host, tried side by side (RFC 8305, "Happy Eyeballs").
//!
//! An address that swallows packets (IPv6 that is announced and not routed, a node that is gone) costs
//! [`ATTEMPT_DELAY`] and not the time to connect.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// So long an attempt is alone before the next address is tried as well (RFC 8305, section 8).
pub(super) const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// What each address that was tried came to. One that did not answer has [`io::ErrorKind::TimedOut`].
#[derive(Debug)]
pub(super) struct Failures(pub(super) Vec<(SocketAddr, io::Error)>);

/// The first connection that comes about before `deadline`. The other attempts are given up.
pub(super) async fn connect<T, F>(
    addresses: Vec<SocketAddr>,
    deadline: Instant,
    connect: impl Fn(SocketAddr) -> F,
) -> Result<T, Failures>
where
    F: Future<Output = io::Result<T>> + Send + 'static,
    T: Send + 'static,
{
    let mut addresses = interleaved(addresses).into_iter();
    let mut upcoming = addresses.next();
    let mut attempts = JoinSet::new();
    let mut unanswered = Vec::new();
    let mut failures = Vec::new();
    let mut next = Instant::now();
    loop {
        let is_due = attempts.is_empty() || next <= Instant::now();
        if let Some(address) = upcoming.take_if(|_| is_due) {
            let attempt = connect(address);
            attempts.spawn(async move { (address, attempt.await) });
            unanswered.push(address);
            next = Instant::now() + ATTEMPT_DELAY;
            upcoming = addresses.next();
        }
        if attempts.is_empty() {
            return Err(Failures(failures));
        }
        tokio::select! {
            biased;
            Some(ended) = attempts.join_next() => match ended {
                Ok((_, Ok(connection))) => return Ok(connection),
                Ok((address, Err(e))) => {
                    unanswered.retain(|other| *other != address);
                    failures.push((address, e));
                    next = Instant::now();
                }
                // Its runtime ends.
                Err(_) => {}
            },
            () = sleep_until(next), if upcoming.is_some() => {}
            () = sleep_until(deadline) => {
                let silent = |address| (address, io::ErrorKind::TimedOut.into());
                failures.extend(unanswered.into_iter().map(silent));
                return Err(Failures(failures));
            }
        }
    }
}

/// The two families by turns, each in the resolver's order, so that a family without a route costs one
/// attempt (RFC 8305, section 4).
fn interleaved(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let is_ipv6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|a| a.is_ipv6() == is_ipv6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut by_turns = Vec::with_capacity(first.len() + second.len());
    while first.len() + second.len() > 0 {
        by_turns.extend(first.next());
        by_turns.extend(second.next());
    }
    by_turns
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use std::future::pending;

    const SECOND: Duration = Duration::from_secs(1);
    const REFUSED: io::ErrorKind = io::ErrorKind::ConnectionRefused;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    /// What an address does by its port: 1 swallows packets, 2 refuses, others take half a second.
    async fn by_port(address: SocketAddr) -> io::Result<SocketAddr> {
        match address.port() {
            1 => pending().await,
            2 => Err(REFUSED.into()),
            _ => {
                tokio::time::sleep(SECOND / 2).await;
                Ok(address)
            }
        }
    }

    async fn first_of(texts: &[&str]) -> (Result<SocketAddr, Failures>, Duration) {
        let began = Instant::now();
        let first = connect(addresses(texts), began + 5 * SECOND, by_port).await;
        (first, began.elapsed())
    }

    #[test]
    fn families_take_turns_and_keep_their_order() {
        let given = ["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "1.1.1.2:1"];
        let expected = ["[::1]:1", "1.1.1.1:1", "[::2]:1", "1.1.1.2:1", "[::3]:1"];
        assert_eq!(interleaved(addresses(&given)), addresses(&expected));
        let given = ["1.1.1.1:1", "1.1.1.2:1", "[::1]:1"];
        let expected = ["1.1.1.1:1", "[::1]:1", "1.1.1.2:1"];
        assert_eq!(interleaved(addresses(&given)), addresses(&expected));
        assert!(interleaved(Vec::new()).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn each_silent_address_costs_a_quarter_of_a_second() {
        let (first, took) = first_of(&["1.1.1.1:3", "1.1.1.2:3"]).await;
        assert_eq!(first.unwrap(), "1.1.1.1:3".parse().unwrap(), "no hurry");
        assert_eq!(took.as_millis() / 10, 50);
        for (silent, texts) in [
            (1, &["[::1]:1", "[::2]:1", "1.1.1.1:3"][..]),
            (1, &["1.1.1.2:1", "1.1.1.1:3"]),
            (2, &["1.1.1.2:1", "1.1.1.3:1", "1.1.1.1:3"]),
            // One that refuses costs nothing.
            (1, &["1.1.1.2:2", "1.1.1.3:1", "1.1.1.4:2", "1.1.1.1:3"]),
        ] {
            let (first, took) = first_of(texts).await;
            assert_eq!(first.unwrap(), "1.1.1.1:3".parse().unwrap());
            let expected = SECOND / 2 + silent * ATTEMPT_DELAY;
            assert!(took.abs_diff(expected) < SECOND / 50, "{took:?}: {texts:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn every_address_has_its_cause_when_none_answers() {
        let kinds = |failures: Failures| -> Vec<_> {
            let kinds = failures.0.into_iter();
            kinds.map(|(a, e)| (a.to_string(), e.kind())).collect()
        };
        let (none, took) = first_of(&["1.1.1.1:2", "[::1]:2"]).await;
        let expected = [("1.1.1.1:2", REFUSED), ("[::1]:2", REFUSED)];
        let expected = expected.map(|(a, kind)| (a.to_owned(), kind));
        assert_eq!(kinds(none.unwrap_err()), expected);
        assert!(took < SECOND / 50, "{took:?}");
        let (none, took) = first_of(&["1.1.1.1:1", "[::1]:2"]).await;
        let expected = [("[::1]:2", REFUSED), ("1.1.1.1:1", io::ErrorKind::TimedOut)];
        let expected = expected.map(|(a, kind)| (a.to_owned(), kind));
        assert_eq!(kinds(none.unwrap_err()), expected);
        assert!(took.abs_diff(5 * SECOND) < SECOND / 50, "{took:?}");
        assert!(first_of(&[]).await.0.unwrap_err().0.is_empty());
    }
}
