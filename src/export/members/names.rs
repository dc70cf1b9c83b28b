//! [`DnsNames`]: the look-ups of names whose addresses are members.
//!
//! A name is looked up before its first request, every [`EVERY`] while requests are sent, and soon after a
//! member was lost. Where a look-up fails, the members of the one before stay.

use std::time::{Duration, Instant};

use super::super::endpoint::list::EndpointEntry;
use super::super::retry::Backoff;
use crate::config::RetryConfig;
use crate::sync::{Mutex, lock};

/// The time between two look-ups of a name.
const EVERY: Duration = Duration::from_secs(30);
/// The shortest time between two look-ups, however many members are lost.
const AT_LEAST: Duration = Duration::from_secs(1);
/// After this many failures in a row a shutdown waits no longer.
const GIVE_UP_AFTER: u32 = 3;

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

    /// A member was lost: its name may have other addresses by now.
    pub(super) fn look_up_soon(&self) {
        let now = Instant::now();
        for name in lock(&self.0).iter_mut() {
            let soon = name.began.map_or(now, |began| began + AT_LEAST);
            name.next = name.next.min(soon.max(now));
        }
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
    pub(super) fn begin(&self) -> Vec<usize> {
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

    /// A look-up has ended. `jitter`: a random number between 0 and 1.
    pub(super) fn end(&self, entry: usize, error: Option<String>, jitter: f64) {
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
                EVERY.mul_f64(0.9 + 0.1 * jitter)
            }
            Some(_) => {
                name.failures = name.failures.saturating_add(1);
                name.backoff.wait(None, jitter)
            }
        };
        name.error = error;
        name.next = Instant::now() + wait;
    }
}
