//! [`Resolver`]: the addresses of a host.
//!
//! tokio looks names up in its pool of blocking threads, and panics if the system refuses a thread. Here
//! that is an ordinary error: the endpoint cannot be reached at present, and is tried again.
//!
//! A look-up cannot be cancelled, and may take longer than an attempt to connect. So it continues after the
//! attempt's timeout, and the next attempt takes its result: a name has one look-up at a time.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::suppress;
use crate::sync::{Arc, Mutex, lock};

/// The bound of concurrent look-ups in the process: a look-up that hangs holds its thread without end.
const MOST: usize = 16;

/// A result that no attempt has taken is used for this long.
const FRESH: Duration = Duration::from_secs(30);

static RUNNING: AtomicUsize = AtomicUsize::new(0);

/// Returns addresses; the port 0 stands for that of the endpoint.
type LookUp = dyn Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync;

/// Looks names up. A clone shares the running look-ups.
#[derive(Clone)]
pub(crate) struct Resolver {
    look_up: Arc<LookUp>,
    /// By name, until an attempt has taken the result.
    lookups: Arc<Mutex<HashMap<String, Lookup>>>,
}

type Lookup = watch::Receiver<Option<LookupResult>>;

#[derive(Debug, Clone)]
struct LookupResult {
    at: Instant,
    /// An `io::Error` is not `Clone`.
    addresses: Result<Vec<SocketAddr>, (io::ErrorKind, String)>,
}

/// Counts a running look-up, until it is dropped.
struct RunningLookup;

impl RunningLookup {
    fn begin() -> Option<Self> {
        let begun = Self;
        // Above the bound the drop of `begun` decrements the counter again.
        (RUNNING.fetch_add(1, Ordering::Relaxed) < MOST).then_some(begun)
    }
}

impl Drop for RunningLookup {
    fn drop(&mut self) {
        RUNNING.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Resolver {
    /// A resolver that uses the system's look-up.
    pub(crate) fn system() -> Self {
        Self::new(|host| Ok((host, 0).to_socket_addrs()?.collect()))
    }

    pub(crate) fn new(
        look_up: impl Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            look_up: Arc::new(look_up),
            lookups: Arc::default(),
        }
    }

    /// The addresses of `host`. Cancel safe: the next call takes the result of the same look-up.
    pub(crate) async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let mut lookup = self.join(host)?;
        let found = lookup.wait_for(Option::is_some).await;
        let found = found.ok().and_then(|found| (*found).clone());
        self.forget(host, &lookup);
        let Some(found) = found else {
            let message = format!("the look-up of {host} was given up");
            return Err(io::Error::other(message));
        };
        let addresses = found.addresses;
        let mut addresses = addresses.map_err(|(kind, text)| io::Error::new(kind, text))?;
        if addresses.is_empty() {
            let message = format!("{host} has no address");
            return Err(io::Error::new(io::ErrorKind::NotFound, message));
        }
        for address in addresses.iter_mut().filter(|a| a.port() == 0) {
            address.set_port(port);
        }
        Ok(addresses)
    }

    /// The running look-up, or one with an unused result, else a new one.
    fn join(&self, host: &str) -> io::Result<Lookup> {
        let mut lookups = lock(&self.lookups);
        lookups.retain(|_, lookup| is_of_use(lookup));
        if let Some(lookup) = lookups.get(host) {
            return Ok(lookup.clone());
        }
        let lookup = self.begin(host)?;
        lookups.insert(host.to_owned(), lookup.clone());
        Ok(lookup)
    }

    fn begin(&self, host: &str) -> io::Result<Lookup> {
        let Some(running) = RunningLookup::begin() else {
            return Err(io::Error::other(format!(
                "{MOST} look-ups of names have not ended, {host} is not looked up"
            )));
        };
        let (sender, lookup) = watch::channel(None);
        let (look_up, name) = (Arc::clone(&self.look_up), host.to_owned());
        thread::Builder::new()
            .name("otlp-lookup".to_owned())
            .spawn(move || {
                suppress::mark_thread();
                let addresses = look_up(&name).map_err(|e| (e.kind(), e.to_string()));
                drop(running);
                sender.send_replace(Some(LookupResult {
                    at: Instant::now(),
                    addresses,
                }));
            })
            .map_err(|e| {
                let message = format!("no thread can be started to look {host} up: {e}");
                io::Error::new(e.kind(), message)
            })?;
        Ok(lookup)
    }

    /// Removes a look-up whose result was taken: the next attempt looks the name up again.
    fn forget(&self, host: &str, taken: &Lookup) {
        let mut lookups = lock(&self.lookups);
        if lookups.get(host).is_some_and(|l| l.same_channel(taken)) {
            lookups.remove(host);
        }
    }
}

/// Whether a look-up still runs, or has a recent result.
fn is_of_use(lookup: &Lookup) -> bool {
    match &*lookup.borrow() {
        Some(found) => found.at.elapsed() < FRESH,
        None => lookup.has_changed().is_ok(),
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use tokio::time::timeout;

    const MS: Duration = Duration::from_millis(1);

    /// A resolver whose look-ups wait for a word each, and how many there were.
    fn slow() -> (Resolver, mpsc::Sender<()>, Arc<AtomicUsize>) {
        let (go, wait) = mpsc::channel();
        let (wait, count) = (Mutex::new(wait), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&count);
        let resolver = Resolver::new(move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
            lock(&wait).recv().map_err(io::Error::other)?;
            Ok(vec!["127.0.0.1:0".parse().map_err(io::Error::other)?])
        });
        (resolver, go, count)
    }

    #[tokio::test]
    async fn addresses_need_no_look_up_and_names_get_one() {
        let resolver = Resolver::system();
        for (host, address) in [
            ("127.0.0.1", "127.0.0.1:7"),
            ("[::1]", "[::1]:7"),
            ("::1", "[::1]:7"),
        ] {
            let found = resolver.resolve(host, 7).await.unwrap();
            assert_eq!(found, [address.parse().unwrap()]);
        }
        let found = resolver.resolve("localhost", 7).await.unwrap();
        assert!(
            found
                .iter()
                .all(|address| address.ip().is_loopback() && address.port() == 7)
        );
        resolver.resolve("no such name", 7).await.unwrap_err();
    }

    #[tokio::test]
    async fn a_look_up_goes_on_when_an_attempt_gives_up() {
        let (resolver, go, count) = slow();
        for _ in 0..50 {
            let attempt = resolver.resolve("slow.test", 7);
            timeout(MS, attempt).await.unwrap_err();
        }
        go.send(()).unwrap();
        let found = resolver.resolve("slow.test", 7).await.unwrap();
        assert_eq!(found, ["127.0.0.1:7".parse().unwrap()]);
        assert_eq!(count.load(Ordering::SeqCst), 1, "one look-up, one thread");
        assert!(lock(&resolver.lookups).is_empty());
        // A result is taken once: what it says may change.
        go.send(()).unwrap();
        resolver.resolve("slow.test", 8).await.unwrap();
        assert_eq!(count.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_result_waits_for_the_next_attempt() {
        let (resolver, go, count) = slow();
        timeout(MS, resolver.resolve("slow.test", 7))
            .await
            .unwrap_err();
        let lookup = lock(&resolver.lookups).get("slow.test").unwrap().clone();
        drop(go);
        let mut done = lookup.clone();
        done.wait_for(Option::is_some).await.unwrap();
        // It ended without a waiting attempt, and had failed.
        resolver.resolve("slow.test", 7).await.unwrap_err();
        assert_eq!(count.load(Ordering::SeqCst), 1);
        assert!(is_of_use(&lookup), "for those who still look at it");
    }

    #[tokio::test]
    async fn all_that_wait_share_a_look_up_and_one_that_panics_is_forgotten() {
        let (resolver, go, count) = slow();
        let mut first = tokio_test::task::spawn(resolver.resolve("slow.test", 7));
        let mut second = tokio_test::task::spawn(resolver.resolve("slow.test", 8));
        assert!(first.poll().is_pending() && second.poll().is_pending());
        go.send(()).unwrap();
        let (first, second) = tokio::join!(first, second);
        assert_eq!((first.unwrap().len(), second.unwrap().len()), (1, 1));
        assert_eq!(count.load(Ordering::SeqCst), 1);
        let resolver = Resolver::new(|_| panic!("of a test"));
        for _ in 0..2 {
            let error = resolver.resolve("panic.test", 7).await.unwrap_err();
            assert!(error.to_string().contains("given up"), "{error}");
        }
    }
}
