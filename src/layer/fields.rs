//! Fields with a meaning of their own: the `otel.*` names (SPEC §6a) and an event's message.

use crate::wire::span::{Kind, StatusCode};

/// What a field means to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// An attribute like any other.
    Attribute,
    /// `otel.name`: the span's name.
    SpanName,
    /// `otel.kind`: the span's kind.
    SpanKind,
    /// `otel.status_code`.
    StatusCode,
    /// `otel.status_description`, once `otel.status_message`.
    StatusDescription,
    /// `message` of an event: its name.
    Message,
    /// `error` of an event: what `#[instrument(err)]` emits.
    Error,
    /// `log.*` of an event: metadata of the `log` crate (EVT-2).
    LogMetadata,
}

impl Meaning {
    pub(crate) fn of(name: &str, is_span: bool) -> Self {
        match (is_span, name) {
            (true, "otel.name") => Self::SpanName,
            (true, "otel.kind") => Self::SpanKind,
            (true, "otel.status_code") => Self::StatusCode,
            (true, "otel.status_description" | "otel.status_message") => Self::StatusDescription,
            (false, "message") => Self::Message,
            (false, "error") => Self::Error,
            (false, name) if name.starts_with("log.") => Self::LogMetadata,
            _ => Self::Attribute,
        }
    }
}

/// The status that `otel.status_code` names; whatever else it says, unset.
pub(crate) fn status(value: &str) -> StatusCode {
    if value.eq_ignore_ascii_case("ok") {
        StatusCode::Ok
    } else if value.eq_ignore_ascii_case("error") {
        StatusCode::Error
    } else {
        StatusCode::Unset
    }
}

/// What the `otel.*` fields of one visit said; kept in the open span, where its strings are reused.
#[derive(Debug, Default)]
pub(crate) struct Special {
    /// Whether `name` was given.
    pub(crate) has_name: bool,
    pub(crate) name: String,
    pub(crate) kind: Option<Kind>,
    pub(crate) status: StatusCode,
    /// Whether `description` was given.
    pub(crate) has_description: bool,
    pub(crate) description: String,
}

impl Special {
    pub(crate) fn set(&mut self, meaning: Meaning, value: &str) {
        match meaning {
            Meaning::SpanName => {
                self.has_name = true;
                self.name.clear();
                self.name.push_str(value);
            }
            Meaning::SpanKind => self.kind = Some(Kind::from_name(value)),
            Meaning::StatusCode => self.set_status(status(value)),
            Meaning::StatusDescription => {
                self.set_status(StatusCode::Error);
                self.has_description = true;
                self.description.clear();
                self.description.push_str(value);
            }
            _ => {}
        }
    }

    /// The name that was given, or else the callsite's.
    pub(crate) fn name_or<'a>(&'a self, name: &'a str) -> &'a str {
        // A span's name is never empty.
        let is_given = self.has_name && !self.name.is_empty();
        if is_given { &self.name } else { name }
    }

    /// `Ok > Error > Unset`; a lower one does not replace a higher one (TR-7).
    pub(crate) fn set_status(&mut self, status: StatusCode) {
        self.status = self.status.max(status);
    }

    /// Adds what a later visit said.
    pub(crate) fn merge(&mut self, later: &Self) {
        if later.has_name {
            self.set(Meaning::SpanName, &later.name);
        }
        self.kind = later.kind.or(self.kind);
        self.set_status(later.status);
        if later.has_description {
            self.set(Meaning::StatusDescription, &later.description);
        }
    }

    /// Forgets everything but the strings' memory.
    #[inline]
    pub(crate) fn clear(&mut self) {
        self.has_name = false;
        self.kind = None;
        self.status = StatusCode::Unset;
        self.has_description = false;
        self.description.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_and_statuses_are_known_in_any_case_spec_6a() {
        assert_eq!(Kind::from_name("SERVER"), Kind::Server);
        assert_eq!(Kind::from_name("Consumer"), Kind::Consumer);
        assert_eq!(Kind::from_name("internal"), Kind::Internal);
        assert_eq!(Kind::from_name("nonsense"), Kind::Internal);
        assert_eq!(status("OK"), StatusCode::Ok);
        assert_eq!(status("Error"), StatusCode::Error);
        assert_eq!(status("fine"), StatusCode::Unset);
    }

    #[test]
    fn ok_is_final_and_an_error_outlives_unset_tr_7() {
        let mut special = Special::default();
        special.set(Meaning::StatusDescription, "broken");
        special.set(Meaning::StatusCode, "unset");
        assert_eq!(special.status, StatusCode::Error);
        special.set(Meaning::StatusCode, "ok");
        special.set(Meaning::StatusCode, "error");
        assert_eq!(special.status, StatusCode::Ok);
    }
}
