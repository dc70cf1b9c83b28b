//! [`DnsNames`]: the look-ups of names whose addresses are members.
//!
//! A name is looked up before its first request, every [`EVERY`] while requests are sent, and soon after a
//! member was lost. Where a look-up fails, the members of the one before stay.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::super::endpoint::EndpointEntry;
use super::super::retry::{Backoff, jitter};
use super::Members;
use crate::config::RetryConfig;
use crate::sync::{Arc, Mutex, lock};

/// The time between two look-ups of a name.
const EVERY: Duration = Duration::from_secs(30);
/// The shortest time between two look-ups, however many members are lost.
const AT_LEAST: Duration = Duration::from_secs(1);
/// After this many failures in a row a shutdown waits no longer.
const GIVE_UP_AFTER: u32 = 3;
/// The most members of one name.
const MOST: usize = 1000;

#[derive(Debug)]
pub(super) struct DnsNames(Mutex<Vec<DnsName>>);

#[derive(Debug)]
struct DnsName {
    entry: usize,
    is_running: bool,
    next: Instant,
    began: Option<Instant>,
    backoff: Backoff,
    /// Failures in a row, and the last error.
    failures: u32,
    error: Option<String>,
    retry: RetryConfig,
}

impl DnsNames {
    pub(super) fn new<'a>(
        entries: impl Iterator<Item = &'a EndpointEntry>,
        retry: &RetryConfig,
    ) -> Self {
        let named = entries.enumerate().filter(|(_, entry)| entry.is_name);
        let names = named.map(|(entry, _)| DnsName {
            entry,
            is_running: false,
            next: Instant::now(),
            began: None,
            backoff: Backoff::reconnect(retry),
            failures: 0,
            error: None,
            retry: retry.clone(),
        });
        Self(Mutex::new(names.collect()))
    }

    pub(super) fn is_empty(&self) -> bool {
        lock(&self.0).is_empty()
    }

    /// When a look-up is due; `None`: while one runs, or without names.
    pub(super) fn next_look_up(&self) -> Option<Instant> {
        let names = lock(&self.0);
        let idle = names.iter().filter(|name| !name.is_running);
        idle.map(|name| name.next).min()
    }

    pub(super) fn look_up_now(&self) {
        for name in lock(&self.0).iter_mut() {
            name.next = Instant::now();
        }
    }

    pub(super) fn have_failed(&self) -> bool {
        let names = lock(&self.0);
        names.iter().all(|name| name.failures >= GIVE_UP_AFTER)
    }

    pub(super) fn last_error(&self) -> Option<String> {
        lock(&self.0).iter().find_map(|name| name.error.clone())
    }

    /// The entries whose look-up is due. They count as running.
    fn begin(&self) -> Vec<usize> {
        let now = Instant::now();
        let mut names = lock(&self.0);
        let due = names.iter_mut().filter(|n| !n.is_running && n.next <= now);
        due.map(|name| {
            name.is_running = true;
            name.began = Some(now);
            name.entry
        })
        .collect()
    }

    fn end(&self, entry: usize, error: Option<String>) {
        let mut names = lock(&self.0);
        let Some(name) = names.iter_mut().find(|name| name.entry == entry) else {
            return;
        };
        name.is_running = false;
        let wait = match &error {
            None => {
                name.failures = 0;
                name.backoff = Backoff::reconnect(&name.retry);
                // Jitter: processes that began together ask at different times.
                EVERY.mul_f64(0.9 + 0.1 * jitter())
            }
            Some(_) => {
                name.failures = name.failures.saturating_add(1);
                name.backoff.wait(None, jitter())
            }
        };
        name.error = error;
        name.next = Instant::now() + wait;
    }
}

/// A look-up; ends as failed where its task does not end it.
struct NameLookUp {
    members: Arc<Members>,
    entry: usize,
    is_over: bool,
}

impl NameLookUp {
    async fn run(mut self) {
        let error = match self.members.look_up(self.entry).await {
            Ok(addresses) => {
                self.members.update(self.entry, &addresses);
                None
            }
            Err(error) => Some(error),
        };
        self.members.names.end(self.entry, error);
        self.is_over = true;
    }
}

impl Drop for NameLookUp {
    fn drop(&mut self) {
        if !self.is_over {
            let error = "the look-up was cancelled".to_owned();
            self.members.names.end(self.entry, Some(error));
        }
        self.members.changed.notify_waiters();
    }
}

impl Members {
    /// Starts the look-ups that are due.
    pub(super) fn look_up_names(self: &Arc<Self>) {
        for entry in self.names.begin() {
            let running = NameLookUp {
                members: Arc::clone(self),
                entry,
                is_over: false,
            };
            tokio::spawn(running.run());
        }
    }

    pub(super) async fn look_up(&self, entry: usize) -> Result<Vec<SocketAddr>, String> {
        let Some((_, template)) = self.entries.get(entry) else {
            return Ok(Vec::new());
        };
        let mut addresses = template.look_up().await?;
        addresses.sort_unstable();
        addresses.dedup();
        addresses.truncate(MOST);
        Ok(addresses)
    }

    /// A member was lost: its name may have other addresses by now.
    pub(in crate::export) fn note_loss(&self) {
        let now = Instant::now();
        for name in lock(&self.names.0).iter_mut() {
            let soon = name.began.map_or(now, |began| began + AT_LEAST);
            name.next = name.next.min(soon.max(now));
        }
    }
}
