//! Headers that change while the client runs: who asks for them, when, and what if there are none.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;
use std::time::{Duration, Instant};

use http::HeaderMap;
use tokio::time::timeout;

use super::cause::{Cause, tell};
use crate::config::{HeaderProvider, ProvidedHeaders, RetryConfig};
use crate::diagnostics::TARGET;
use crate::export::attempt::explain;
use crate::export::retry::{Backoff, jitter};
use crate::sync::{Arc, Mutex, lock};

/// The longest that a provider may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Headers are renewed so long before they expire, or a quarter of their time before it.
const EARLY: Duration = Duration::from_secs(60);
/// A file is read again so often.
const LOOK: Duration = Duration::from_secs(1);

/// The headers of a request, and which they are.
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
    held: Mutex<Held>,
    /// Held by the request that asks.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Held {
    credentials: Option<Credentials>,
    number: u64,
    /// From when on the provider is asked again.
    renew: Option<Instant>,
    /// From when on they are good for nothing.
    expires: Option<Instant>,
    /// While it fails to renew what is still good.
    failing: Option<Backoff>,
}

impl CredentialSource {
    pub(super) fn new(provider: Option<HeaderProvider>, retry: RetryConfig) -> Self {
        Self {
            provider,
            retry,
            held: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
        }
    }

    /// What a request needs now; asks if there is none, or what there is gets old.
    pub(super) async fn current(&self) -> Result<Credentials, String> {
        let Some(provider) = &self.provider else {
            return Ok(Credentials::default());
        };
        let (good, is_fresh) = self.held();
        if let Some(good) = good.as_ref().filter(|_| is_fresh) {
            return Ok(good.clone());
        }
        let _turn = match &good {
            None => self.asking.lock().await,
            // Another request is at it.
            Some(good) => match self.asking.try_lock() {
                Ok(turn) => turn,
                Err(_) => return Ok(good.clone()),
            },
        };
        if let (Some(good), true) = self.held() {
            return Ok(good);
        }
        match ask(provider).await {
            Ok(provided) => Ok(self.keep(provided, provider)),
            Err(why) => self.fail(&why),
        }
    }

    /// Those with which the endpoint did not know us are good no more. Whether another request can be
    /// made with others.
    pub(super) fn refuse(&self, refused: &Credentials) -> bool {
        if self.provider.is_none() {
            return false;
        }
        let mut held = lock(&self.held);
        if held.number == refused.number {
            held.credentials = None;
            held.failing = None;
        }
        true
    }

    /// What is good still, and whether it need not be renewed yet.
    fn held(&self) -> (Option<Credentials>, bool) {
        let held = lock(&self.held);
        let now = Instant::now();
        let is_before = |at: Option<Instant>| at.is_none_or(|at| now < at);
        let good = held.credentials.clone().filter(|_| is_before(held.expires));
        (good, is_before(held.renew))
    }

    fn keep(&self, provided: ProvidedHeaders, provider: &HeaderProvider) -> Credentials {
        let mut headers = HeaderMap::new();
        for (name, mut value) in provided.headers {
            value.set_sensitive(true);
            // So many that a map is full are none that a server reads.
            let _ = headers.try_insert(name, value);
        }
        let now = Instant::now();
        let left = provided.expires.map(|at| at.saturating_duration_since(now));
        let mut held = lock(&self.held);
        held.number += 1;
        let credentials = Credentials {
            headers: Arc::new(headers),
            number: held.number,
        };
        held.credentials = Some(credentials.clone());
        held.expires = provided.expires;
        held.failing = None;
        held.renew = match left {
            Some(left) => now.checked_add(left - EARLY.min(left / 4)),
            None if provider.path().is_some() => now.checked_add(LOOK),
            None => None,
        };
        credentials
    }

    /// What is good still, where the provider fails to renew it.
    fn fail(&self, why: &str) -> Result<Credentials, String> {
        let (Some(good), _) = self.held() else {
            let provider = self.provider.as_ref().and_then(HeaderProvider::path);
            let from =
                provider.map_or_else(String::new, |path| format!(" from {}", path.display()));
            return Err(tell(&format!("no headers{from}: {why}"), Cause::NoHeaders));
        };
        let mut held = lock(&self.held);
        let backoff = held.failing.take();
        let is_news = backoff.is_none();
        let mut backoff = backoff.unwrap_or_else(|| Backoff::reconnect(&self.retry));
        held.renew = Instant::now().checked_add(backoff.wait(None, jitter()));
        held.failing = Some(backoff);
        drop(held);
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
