//! [`CredentialSource`]: headers of a provider, renewed while the client runs.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;
use std::time::{Duration, Instant};

use http::HeaderMap;
use tokio::time::timeout;

use super::cause::{Cause, tell};
use crate::config::{HeaderProvider, ProvidedHeaders, RetryConfig};
use crate::diagnostics::TARGET;
use crate::error::explain;
use crate::export::random::RandomNumbers;
use crate::export::retry::Backoff;
use crate::sync::{Arc, Mutex, lock};

/// The timeout of a call to the provider.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Headers are renewed this long before they expire, or a quarter of their lifetime before it.
const EARLY: Duration = Duration::from_secs(60);
/// The interval at which a file of headers is read again.
const LOOK: Duration = Duration::from_secs(1);

/// The headers of a request, and their version number.
#[derive(Debug, Clone, Default)]
pub(crate) struct Credentials {
    headers: Arc<HeaderMap>,
    number: u64,
}

impl Credentials {
    /// Each replaces a header of the same name.
    pub(super) fn write_to(&self, headers: &mut HeaderMap) {
        for (name, value) in self.headers.iter() {
            headers.insert(name, value.clone());
        }
    }
}

#[derive(Debug)]
pub(super) struct CredentialSource {
    provider: Option<HeaderProvider>,
    retry: RetryConfig,
    random: Arc<RandomNumbers>,
    cached: Mutex<CachedCredentials>,
    /// Held by the request that calls the provider.
    calling: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct CachedCredentials {
    credentials: Option<Credentials>,
    number: u64,
    /// When the provider is called again.
    renew: Option<Instant>,
    /// When the headers become invalid.
    expires: Option<Instant>,
    /// The waits while the provider fails and the old headers are still valid.
    failing: Option<Backoff>,
}

impl CredentialSource {
    pub(super) fn new(
        provider: Option<HeaderProvider>,
        retry: RetryConfig,
        random: Arc<RandomNumbers>,
    ) -> Self {
        Self {
            provider,
            retry,
            random,
            cached: Mutex::default(),
            calling: tokio::sync::Mutex::default(),
        }
    }

    /// The headers for a request; calls the provider if there are none, or they expire soon.
    pub(super) async fn current(&self) -> Result<Credentials, String> {
        let Some(provider) = &self.provider else {
            return Ok(Credentials::default());
        };
        let (good, is_fresh) = self.cached();
        if let Some(good) = good.as_ref().filter(|_| is_fresh) {
            return Ok(good.clone());
        }
        let _turn = match &good {
            None => self.calling.lock().await,
            // Another request calls the provider.
            Some(good) => match self.calling.try_lock() {
                Ok(turn) => turn,
                Err(_) => return Ok(good.clone()),
            },
        };
        if let (Some(good), true) = self.cached() {
            return Ok(good);
        }
        match ask(provider).await {
            Ok(provided) => Ok(self.keep(provided, provider)),
            Err(why) => self.fail(&why),
        }
    }

    /// Discards headers that the endpoint refused. True: the request can be repeated with new ones.
    pub(super) fn refuse(&self, refused: &Credentials) -> bool {
        if self.provider.is_none() {
            return false;
        }
        let mut cached = lock(&self.cached);
        if cached.number == refused.number {
            cached.credentials = None;
            cached.failing = None;
        }
        true
    }

    /// The headers that are still valid, and whether they need no renewal yet.
    fn cached(&self) -> (Option<Credentials>, bool) {
        let cached = lock(&self.cached);
        let now = Instant::now();
        let is_before = |at: Option<Instant>| at.is_none_or(|at| now < at);
        let good = cached
            .credentials
            .clone()
            .filter(|_| is_before(cached.expires));
        (good, is_before(cached.renew))
    }

    fn keep(&self, provided: ProvidedHeaders, provider: &HeaderProvider) -> Credentials {
        let mut headers = HeaderMap::new();
        for (name, mut value) in provided.headers {
            value.set_sensitive(true);
            // A map overflows only with far more headers than a server reads.
            let _ = headers.try_insert(name, value);
        }
        let now = Instant::now();
        let left = provided.expires.map(|at| at.saturating_duration_since(now));
        let mut cached = lock(&self.cached);
        cached.number += 1;
        let credentials = Credentials {
            headers: Arc::new(headers),
            number: cached.number,
        };
        cached.credentials = Some(credentials.clone());
        cached.expires = provided.expires;
        cached.failing = None;
        cached.renew = match left {
            Some(left) => now.checked_add(left - EARLY.min(left / 4)),
            None if provider.path().is_some() => now.checked_add(LOOK),
            None => None,
        };
        credentials
    }

    /// The headers that are still valid, after the provider failed to renew them.
    fn fail(&self, why: &str) -> Result<Credentials, String> {
        let (Some(good), _) = self.cached() else {
            let provider = self.provider.as_ref().and_then(HeaderProvider::path);
            let from =
                provider.map_or_else(String::new, |path| format!(" from {}", path.display()));
            return Err(tell(&format!("no headers{from}: {why}"), Cause::NoHeaders));
        };
        let mut cached = lock(&self.cached);
        let backoff = cached.failing.take();
        let is_news = backoff.is_none();
        let mut backoff = backoff.unwrap_or_else(|| Backoff::reconnect(&self.retry));
        cached.renew = Instant::now().checked_add(backoff.wait(None, self.random.unit()));
        cached.failing = Some(backoff);
        drop(cached);
        if is_news {
            warn(why);
        }
        Ok(good)
    }
}

/// A subscriber is foreign code.
fn warn(why: &str) {
    let _ = catch_unwind(AssertUnwindSafe(|| {
        tracing::warn!(
            target: TARGET,
            "headers could not be renewed: {why}; the ones before stay until they expire"
        );
    }));
}

/// A provider is foreign code: it may fail, panic, or never answer.
async fn ask(provider: &HeaderProvider) -> Result<ProvidedHeaders, String> {
    let panicked = || "the provider panicked".to_owned();
    let mut asked = catch_unwind(AssertUnwindSafe(|| provider.ask())).map_err(|_| panicked())?;
    let asked = std::future::poll_fn(|cx| {
        let polled = catch_unwind(AssertUnwindSafe(|| asked.as_mut().poll(cx)));
        match polled {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(result)) => Poll::Ready(result.map_err(|e| explain(&*e))),
            Err(_) => Poll::Ready(Err(panicked())),
        }
    });
    match timeout(ANSWER_WITHIN, asked).await {
        Ok(result) => result,
        Err(_) => Err(format!("the provider gave none within {ANSWER_WITHIN:?}")),
    }
}
