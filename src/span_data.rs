//! What a span says of itself beside attributes: its kind, and how it fared.

use std::borrow::Cow;

/// How a span relates to its parent and children (TR-6). Default: internal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum SpanKind {
    /// Within an application.
    #[default]
    Internal = 1,
    /// Serves a request from elsewhere.
    Server = 2,
    /// Asks another service and waits for the answer.
    Client = 3,
    /// Hands work over without waiting for its result.
    Producer = 4,
    /// Takes work that a producer handed over.
    Consumer = 5,
}

impl SpanKind {
    /// The name that `otel.kind` takes.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::Server => "server",
            Self::Client => "client",
            Self::Producer => "producer",
            Self::Consumer => "consumer",
        }
    }

    /// The kind of this name, in any case; `Internal` for any other (SPEC §6a).
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

/// How a span fared (TR-7): `Ok` is final, `Error` gives way only to `Ok`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Status {
    /// Nothing was said, which is what success should say.
    #[default]
    Unset,
    /// Known to be well, whatever is said later.
    Ok,
    /// Something failed.
    Error {
        /// What failed; empty for nothing to say.
        description: Cow<'static, str>,
    },
}

impl Status {
    /// Something failed, and this is what.
    pub fn error(description: impl Into<Cow<'static, str>>) -> Self {
        Self::Error {
            description: description.into(),
        }
    }
}
