//! [`Error`]: the crate's one public error, with its cause and its cure.

use std::any::Any;
use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use crate::text;

/// An error of a setting, a flush, a shutdown, an export, the worker or the global subscriber.
///
/// The message names the setting or step, the value (secrets masked) and the cure. The kinds are private,
/// so that a new kind breaks no code: use [`is_config`](Self::is_config),
/// [`is_timeout`](Self::is_timeout), [`is_export`](Self::is_export), [`is_worker`](Self::is_worker) and
/// [`is_subscriber`](Self::is_subscriber).
pub struct Error {
    kind: Kind,
    /// The exporter that it is of, if that is not the pipeline's own.
    place: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

#[derive(Debug)]
enum Kind {
    Config {
        setting: String,
        value: String,
        cure: String,
    },
    Timeout {
        step: &'static str,
        after: Duration,
        /// The obstacle, if known.
        why: Option<String>,
    },
    Export {
        message: String,
    },
    Worker {
        message: String,
    },
    #[cfg_attr(
        not(feature = "init"),
        allow(dead_code, reason = "only `init` sets one")
    )]
    Subscriber {
        message: String,
    },
}

impl Error {
    /// A setting that cannot be used. The caller masks secrets in `value`.
    pub(crate) fn config(
        setting: impl Into<String>,
        value: impl Into<String>,
        cure: impl Into<String>,
    ) -> Self {
        Kind::Config {
            setting: setting.into(),
            value: value.into(),
            cure: cure.into(),
        }
        .into()
    }

    /// A step that did not end within its deadline; `why`: the obstacle.
    pub(crate) fn timeout(step: &'static str, after: Duration, why: Option<String>) -> Self {
        Kind::Timeout { step, after, why }.into()
    }

    /// Spans or a connection that the endpoint did not take.
    pub(crate) fn export(message: impl Into<String>) -> Self {
        Kind::Export {
            message: message.into(),
        }
        .into()
    }

    /// The worker thread could not be started, or is gone.
    pub(crate) fn worker(message: impl Into<String>) -> Self {
        Kind::Worker {
            message: message.into(),
        }
        .into()
    }

    /// The global subscriber could not be set.
    #[cfg(feature = "init")]
    pub(crate) fn subscriber(message: impl Into<String>) -> Self {
        Kind::Subscriber {
            message: message.into(),
        }
        .into()
    }

    /// Sets the cause, for [`StdError::source`].
    pub(crate) fn with_source(
        mut self,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The same error, of the exporter `place`.
    pub(crate) fn of(mut self, place: &str) -> Self {
        self.place = Some(place.to_owned());
        self
    }

    /// An error for two that happened: the kind is that of this one, and the message has both.
    pub(crate) fn and(mut self, other: &Self) -> Self {
        let words = match &mut self.kind {
            Kind::Timeout { why, .. } => why.get_or_insert_default(),
            Kind::Export { message } | Kind::Worker { message } | Kind::Subscriber { message } => {
                message
            }
            Kind::Config { cure, .. } => cure,
        };
        let sep = if words.is_empty() { "" } else { "; " };
        words.push_str(&format!("{sep}{other}"));
        self
    }

    /// A setting is at fault; the message names it, its value and the cure.
    pub fn is_config(&self) -> bool {
        matches!(self.kind, Kind::Config { .. })
    }

    /// A deadline passed first. Spans in flight may still arrive, or are counted as dropped.
    pub fn is_timeout(&self) -> bool {
        matches!(self.kind, Kind::Timeout { .. })
    }

    /// The endpoint could not be reached or did not take everything; or spans or data were lost before the
    /// export.
    pub fn is_export(&self) -> bool {
        matches!(self.kind, Kind::Export { .. })
    }

    /// The worker thread could not be started, or is gone.
    pub fn is_worker(&self) -> bool {
        matches!(self.kind, Kind::Worker { .. })
    }

    /// The global subscriber could not be set, because the process has one already
    /// ([`init()`](https://docs.rs/tracing-otlp/latest/tracing_otlp/fn.init.html)).
    pub fn is_subscriber(&self) -> bool {
        matches!(self.kind, Kind::Subscriber { .. })
    }
}

impl From<Kind> for Error {
    fn from(kind: Kind) -> Self {
        Self {
            kind,
            place: None,
            source: None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        match &self.kind {
            Kind::Config {
                setting,
                value,
                cure,
            } => {
                write!(f, "{setting} = {value:?} cannot be used: {cure}")?;
                let place = PLACES.iter().find(|(name, _)| name == setting);
                // Some cures name the variable.
                match place.filter(|_| !cure.contains("OTEL_")) {
                    Some((_, place)) => write!(f, " (set by {place})"),
                    None => Ok(()),
                }
            }
            Kind::Timeout { step, after, why } => {
                write!(f, "{step} did not finish within {after:?}")?;
                why.iter()
                    .try_for_each(|why| write!(f, ": {}", text::shown(why)))
            }
            // The message may contain text of an endpoint or of foreign code.
            Kind::Export { message } | Kind::Worker { message } => {
                f.write_str(&text::shown(message))
            }
            Kind::Subscriber { message } => f.write_str(message),
        }
    }
}

/// As `Display`, followed by the chain of causes: `main` prints a returned error by `Debug`.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = self.to_string();
        for cause in chain(self).skip(1) {
            let cause = cause.to_string();
            // Many messages repeat their cause.
            if !line.contains(&cause) {
                line = format!("{line}: {cause}");
            }
        }
        f.write_str(&line)
    }
}

/// Where a setting comes from, if it has no field of that name to look for: the variable, and the method.
const PLACES: [(&str, &str); 11] = [
    ("endpoint", "OTEL_EXPORTER_OTLP_ENDPOINT, or with_endpoint"),
    ("protocol", "OTEL_EXPORTER_OTLP_PROTOCOL, or with_protocol"),
    (
        "compression",
        "OTEL_EXPORTER_OTLP_COMPRESSION, or with_compression",
    ),
    (
        "certificate",
        "OTEL_EXPORTER_OTLP_CERTIFICATE, or with_certificate",
    ),
    (
        "client_key",
        "OTEL_EXPORTER_OTLP_CLIENT_KEY, or with_client_identity",
    ),
    (
        "client_certificate",
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE, or with_client_identity",
    ),
    (
        "exporter.headers",
        "OTEL_EXPORTER_OTLP_HEADERS, or with_header",
    ),
    (
        "exporter.header_provider",
        "with_headers_file, or with_header_provider",
    ),
    (
        "exporter.proxy.http",
        "HTTP_PROXY, ALL_PROXY, or with_proxy",
    ),
    (
        "exporter.proxy.https",
        "HTTPS_PROXY, ALL_PROXY, or with_proxy",
    ),
    ("exporter.trace_affinity", "with_trace_affinity"),
];

/// An error and its causes, outermost first; bounded, because the chain of a foreign error may be a
/// circle.
pub(crate) fn chain<'e>(
    error: &'e (dyn StdError + 'static),
) -> impl Iterator<Item = &'e (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| error.source()).take(65)
}

/// An error and its causes in one line.
pub(crate) fn explain(error: &(dyn StdError + 'static)) -> String {
    let mut line = error.to_string();
    for cause in chain(error).skip(1).take(8) {
        let cause = cause.to_string();
        if !line.contains(&cause) {
            line = format!("{line}: {cause}");
        }
    }
    text::clean(&line)
}

/// The text of a panic, if it has one.
pub(crate) fn panic_text(payload: &(dyn Any + Send)) -> Option<&str> {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source
            .as_deref()
            .map(|e| e as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_named_as_the_person_who_set_it_knows_it() {
        let error = Error::config("endpoint", "foo", "give a URL");
        let told = error.to_string();
        assert!(told.contains("OTEL_EXPORTER_OTLP_ENDPOINT"), "{told}");
        assert!(told.contains("with_endpoint"), "{told}");
        // The cure names it already.
        let cure = "set OTEL_EXPORTER_OTLP_PROTOCOL to grpc";
        let told = Error::config("protocol", "x", cure).to_string();
        assert!(told.ends_with(cure), "{told}");
    }

    #[test]
    fn a_cause_that_the_message_repeats_is_told_once() {
        let error = Error::worker("no thread: too many").with_source("too many");
        assert_eq!(format!("{error:?}"), "no thread: too many");
        let error = Error::worker("no thread").with_source("too many");
        assert_eq!(format!("{error:?}"), "no thread: too many");
    }
}
