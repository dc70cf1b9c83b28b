//! [`HeaderProvider`]: headers that change while the pipeline runs.

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::{HeaderName, HeaderValue};

use super::request_header;
use crate::error::Error;

type ProviderError = Box<dyn StdError + Send + Sync>;
type HeadersFuture = Pin<Box<dyn Future<Output = Result<ProvidedHeaders, ProviderError>> + Send>>;

/// A source of headers that change while the pipeline runs: tokens that expire, or a file that another
/// program writes.
///
/// The worker calls it before the first request, before its headers expire, and once more when the
/// endpoint answers 401 or `UNAUTHENTICATED`, and then sends the request again. It never runs on a thread
/// that records a span, and never twice at once; its own spans are not recorded. If it fails, spans wait
/// in the queue and the worker retries, as for an endpoint that is down.
#[derive(Clone)]
pub struct HeaderProvider(Source);

#[derive(Clone)]
enum Source {
    Code(Arc<dyn Fn() -> HeadersFuture + Send + Sync>),
    File(Arc<Path>),
}

impl HeaderProvider {
    /// Calls `provide`. Its future runs on the worker's tokio runtime, must not block, and is cancelled
    /// after 30 s.
    pub fn new<P, F, E>(provide: P) -> Self
    where
        P: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<ProvidedHeaders, E>> + Send + 'static,
        E: Into<ProviderError>,
    {
        Self(Source::Code(Arc::new(move || {
            let asked = provide();
            Box::pin(async move { asked.await.map_err(Into::into) })
        })))
    }

    /// Reads a file with a header in each line, `name: value`; empty lines and lines that begin with `#` are
    /// ignored. It is read when the pipeline is built, and again each second with a request.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self(Source::File(path.into().into()))
    }

    /// The file, if it is one.
    pub(crate) fn path(&self) -> Option<&Path> {
        match &self.0 {
            Source::Code(_) => None,
            Source::File(path) => Some(path),
        }
    }

    /// Calls the provider, which is foreign code.
    pub(crate) fn ask(&self) -> HeadersFuture {
        match &self.0 {
            Source::Code(provide) => provide(),
            Source::File(path) => {
                let read = read(path).map_err(Into::into);
                Box::pin(std::future::ready(read))
            }
        }
    }
}

/// Reads the file's headers.
pub(crate) fn read(path: &Path) -> Result<ProvidedHeaders, Error> {
    let name = || path.display().to_string();
    let bad = |cure: &str| Error::config("connection.header_provider", name(), cure);
    let text = std::fs::read_to_string(path)
        .map_err(|e| bad("the file must be readable, and UTF-8").with_source(e))?;
    let mut provided = ProvidedHeaders::default();
    for (i, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        // The line may hold a secret, so the message has only its number.
        let wrong = |why: &str| bad(&format!("line {}: {why}", i + 1));
        let (header, value) = line
            .split_once(':')
            .ok_or_else(|| wrong("write `name: value`"))?;
        let header =
            request_header::checked(header.trim(), value.trim()).map_err(|why| wrong(&why))?;
        provided.headers.push(header);
    }
    Ok(provided)
}

/// By identity, because closures cannot be compared.
impl PartialEq for HeaderProvider {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Source::Code(one), Source::Code(other)) => Arc::ptr_eq(one, other),
            (Source::File(one), Source::File(other)) => one == other,
            _ => false,
        }
    }
}

impl fmt::Debug for HeaderProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::Code(_) => f.write_str("HeaderProvider(..)"),
            Source::File(path) => f.debug_tuple("HeaderProvider").field(path).finish(),
        }
    }
}

/// The headers of a [`HeaderProvider`], and their expiry.
///
/// Each replaces a header of the same name in the settings. `Debug` never shows values.
#[derive(Clone, Default, PartialEq)]
pub struct ProvidedHeaders {
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) expires: Option<Instant>,
}

impl ProvidedHeaders {
    /// No headers, without an expiry.
    pub fn new() -> Self {
        Self::default()
    }

    /// The header `authorization: Bearer` with this token.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`] if the token holds a character that no header may.
    pub fn bearer(token: impl AsRef<str>) -> Result<Self, Error> {
        Self::new().with("authorization", format!("Bearer {}", token.as_ref()))
    }

    /// Adds a header.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`] if no header may have this name or value, or the exporter sets it itself.
    pub fn with(mut self, name: impl AsRef<str>, value: impl AsRef<str>) -> Result<Self, Error> {
        let name = name.as_ref();
        let header = request_header::checked(name, value.as_ref())
            .map_err(|why| Error::config("connection.header_provider", name, why))?;
        self.headers.push(header);
        Ok(self)
    }

    /// The headers expire after this time from now. Default: when the endpoint refuses them.
    pub fn expires_in(mut self, time: Duration) -> Self {
        self.expires = Instant::now().checked_add(time);
        self
    }

    /// The headers expire at this time.
    pub fn expires_at(self, time: SystemTime) -> Self {
        let left = time.duration_since(SystemTime::now()).unwrap_or_default();
        self.expires_in(left)
    }
}

impl fmt::Debug for ProvidedHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("ProvidedHeaders")
            .field("headers", &names)
            .field("expires", &self.expires)
            .finish()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn nothing_shows_a_value() {
        let provided = ProvidedHeaders::bearer("s3cret").unwrap();
        assert!(!format!("{provided:?}").contains("s3cret"));
        let error = ProvidedHeaders::bearer("s3cret\n").unwrap_err();
        assert!(error.is_config() && !format!("{error} {error:?}").contains("s3cret"));
        let error = ProvidedHeaders::new()
            .with("grpc-timeout", "1S")
            .unwrap_err();
        assert!(
            error.to_string().contains("sets `grpc-timeout` itself"),
            "{error}"
        );
    }

    #[test]
    fn expiry_in_the_past_is_now() {
        let provided = ProvidedHeaders::new().expires_at(SystemTime::UNIX_EPOCH);
        assert!(provided.expires.unwrap() <= Instant::now());
        assert_eq!(
            ProvidedHeaders::new().expires_in(Duration::MAX).expires,
            None
        );
    }
}
