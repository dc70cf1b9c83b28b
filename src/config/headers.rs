//! [`HeaderProvider`]: headers that change while the pipeline runs.

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::{HeaderName, HeaderValue};

use super::parse;
use crate::error::Error;

type Failure = Box<dyn StdError + Send + Sync>;
type Asked = Pin<Box<dyn Future<Output = Result<ProvidedHeaders, Failure>> + Send>>;

/// Where headers come from that change while the pipeline runs: tokens that expire, or a file that
/// somebody else writes.
///
/// Asked before the first request, before what it gave expires, and once more when the endpoint answers
/// 401 or `UNAUTHENTICATED`, after which the request is sent again. It is asked on the worker, never on a
/// thread that records a span, by one request at a time; what it does there is no part of any trace. Where
/// it fails, spans wait in the queue and it is asked again after a while, as an endpoint that is down.
#[derive(Clone)]
pub struct HeaderProvider(Source);

#[derive(Clone)]
enum Source {
    Code(Arc<dyn Fn() -> Asked + Send + Sync>),
    File(Arc<Path>),
}

impl HeaderProvider {
    /// Asks `provide`, whose future runs on the worker's tokio runtime and must not block it. It is given
    /// up after 30 s.
    pub fn new<P, F, E>(provide: P) -> Self
    where
        P: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<ProvidedHeaders, E>> + Send + 'static,
        E: Into<Failure>,
    {
        Self(Source::Code(Arc::new(move || {
            let asked = provide();
            Box::pin(async move { asked.await.map_err(Into::into) })
        })))
    }

    /// Reads a file with a header in each line, `name: value`; empty lines and lines that begin with `#` say
    /// nothing. Read when the pipeline is built, and again each second in which something is sent.
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

    /// Asks. Runs foreign code.
    pub(crate) fn ask(&self) -> Asked {
        match &self.0 {
            Source::Code(provide) => provide(),
            Source::File(path) => {
                let read = read(path).map_err(Into::into);
                Box::pin(std::future::ready(read))
            }
        }
    }
}

/// What is in the file.
pub(crate) fn read(path: &Path) -> Result<ProvidedHeaders, Error> {
    let name = || path.display().to_string();
    let bad = |cure: &str| Error::config("exporter.header_provider", name(), cure);
    let text = std::fs::read_to_string(path)
        .map_err(|e| bad("the file must be readable, and UTF-8").with_source(e))?;
    let mut provided = ProvidedHeaders::default();
    for (i, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        // The line may hold a secret: it is not shown.
        let wrong = |why: &str| bad(&format!("line {}: {why}", i + 1));
        let (header, value) = line
            .split_once(':')
            .ok_or_else(|| wrong("write `name: value`"))?;
        let header = parse::header(header.trim(), value.trim()).map_err(|why| wrong(&why))?;
        provided.headers.push(header);
    }
    Ok(provided)
}

/// By identity: whether two closures do the same cannot be known.
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

/// What a [`HeaderProvider`] gives: headers, and how long they are good for.
///
/// Each replaces a header of the same name that the settings have. Values never show in `Debug`.
#[derive(Clone, Default, PartialEq)]
pub struct ProvidedHeaders {
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) expires: Option<Instant>,
}

impl ProvidedHeaders {
    /// None yet, without an expiry.
    pub fn new() -> Self {
        Self::default()
    }

    /// `authorization: Bearer` and this token.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`] if the token holds a character that no header may.
    pub fn bearer(token: impl AsRef<str>) -> Result<Self, Error> {
        Self::new().with("authorization", format!("Bearer {}", token.as_ref()))
    }

    /// Another header.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`] if no header may have this name or value, or the exporter sets it itself.
    pub fn with(mut self, name: impl AsRef<str>, value: impl AsRef<str>) -> Result<Self, Error> {
        let name = name.as_ref();
        let header = parse::header(name, value.as_ref())
            .map_err(|why| Error::config("exporter.header_provider", name, why))?;
        self.headers.push(header);
        Ok(self)
    }

    /// They are good for so long from now. Without it they are until the endpoint refuses them.
    pub fn expires_in(mut self, time: Duration) -> Self {
        self.expires = Instant::now().checked_add(time);
        self
    }

    /// They are good until then.
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
