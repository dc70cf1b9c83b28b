//! The kind and the status of a span.

use std::borrow::Cow;

/// How a span relates to its parent and children. Default: internal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum SpanKind {
    /// Work within an application.
    #[default]
    Internal = 1,
    /// Handles a request of a remote client.
    Server = 2,
    /// Sends a request to a remote service and waits for the response.
    Client = 3,
    /// Sends a message without waiting for its result.
    Producer = 4,
    /// Processes a message of a producer.
    Consumer = 5,
}

impl SpanKind {
    /// The value of `otel.kind` (TR-6).
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::Server => "server",
            Self::Client => "client",
            Self::Producer => "producer",
            Self::Consumer => "consumer",
        }
    }

    /// The kind of this name, in any case; `Internal` for any other.
    pub(crate) fn from_name(name: &str) -> Self {
        const KINDS: [(&str, SpanKind); 4] = [
            ("server", SpanKind::Server),
            ("client", SpanKind::Client),
            ("producer", SpanKind::Producer),
            ("consumer", SpanKind::Consumer),
        ];
        let named = KINDS.iter().find(|(k, _)| name.eq_ignore_ascii_case(k));
        named.map_or(Self::Internal, |(_, kind)| *kind)
    }
}

/// The outcome of a span. `Ok` is final, and `Ok` alone replaces `Error`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Status {
    /// No status, the usual one of a successful span.
    #[default]
    Unset,
    /// Success, declared by the application; later errors do not replace it.
    Ok,
    /// The operation failed.
    Error {
        /// Description of the failure; may be empty.
        description: Cow<'static, str>,
    },
}

impl Status {
    /// An error with this description.
    pub fn error(description: impl Into<Cow<'static, str>>) -> Self {
        Self::Error {
            description: description.into(),
        }
    }
}
