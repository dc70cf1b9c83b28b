//! Fields with a role: the `otel.*` names, an event's message and error, lines of `log`.

use tracing_core::Metadata;

use crate::semconv;
use crate::text::beginning;
use crate::wire::bounded::Room;
use crate::wire::span::{Kind, StatusCode};

/// The role of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FieldRole {
    /// A plain attribute.
    Attribute,
    /// A field without a name, which no attribute may have (TR-8): it is left out and counted.
    Nameless,
    /// `otel.name`: the span's name.
    SpanName,
    /// `otel.kind`: the span's kind.
    SpanKind,
    /// `otel.status_code`.
    StatusCode,
    /// `otel.status_description`, or the older `otel.status_message`.
    StatusDescription,
    /// `message` of an event: its name.
    Message,
    /// `error` of an event, as `#[instrument(err)]` emits it.
    Error,
    /// `log.target` of a line of the `log` crate: the attribute `target` (LOG-58).
    LogTarget,
    /// `log.file` and `log.line` of such a line: `code.file.path` and `code.line.number`.
    LogLocation,
    /// `log.module_path` of such a line: left out, because the target usually is the same.
    LogModule,
    /// `otel.event.name` of a log record, or the older `event.name`: the name of its event (LOG-54).
    EventName,
}

impl FieldRole {
    pub(crate) fn of(name: &str, is_span: bool) -> Self {
        match (is_span, name) {
            (true, "otel.name") => Self::SpanName,
            (true, "otel.kind") => Self::SpanKind,
            (true, "otel.status_code") => Self::StatusCode,
            (true, "otel.status_description" | "otel.status_message") => Self::StatusDescription,
            (false, "message") => Self::Message,
            (false, "error") => Self::Error,
            (_, "") => Self::Nameless,
            _ => Self::Attribute,
        }
    }

    /// The role of a field of a log record.
    pub(crate) fn of_log_field(name: &str) -> Self {
        match name {
            "otel.event.name" | "event.name" => Self::EventName,
            name => Self::of(name, false),
        }
    }

    /// The role and the key of a field of [`tracing-log`'s events](is_log_line).
    pub(crate) fn of_log_line(name: &str) -> (Self, &str) {
        match name {
            "log.target" => (Self::LogTarget, "target"),
            "log.file" => (Self::LogLocation, semconv::CODE_FILE_PATH),
            "log.line" => (Self::LogLocation, semconv::CODE_LINE_NUMBER),
            "log.module_path" => (Self::LogModule, name),
            name => (Self::of(name, false), name),
        }
    }
}

/// Whether a callsite of the `tracing-log` crate emits lines of `log`. Recognised by its shape (LOG-58),
/// because the versions 0.1 and 0.2 have callsites of their own.
pub(crate) fn is_log_line(metadata: &Metadata<'_>) -> bool {
    const FIELDS: [&str; 5] = [
        "message",
        "log.target",
        "log.module_path",
        "log.file",
        "log.line",
    ];
    let is_named = metadata.name() == "log event" && metadata.target() == "log";
    is_named && metadata.is_event() && metadata.fields().iter().map(|f| f.name()).eq(FIELDS)
}

/// The status of an `otel.status_code`; unset for any other text.
pub(crate) fn status(value: &str) -> StatusCode {
    if value.eq_ignore_ascii_case("ok") {
        StatusCode::Ok
    } else if value.eq_ignore_ascii_case("error") {
        StatusCode::Error
    } else {
        StatusCode::Unset
    }
}

/// The values of `otel.*` fields. An open span keeps one and reuses its strings.
#[derive(Debug, Default)]
pub(crate) struct OtelFields {
    /// Whether `name` was given.
    pub(crate) has_name: bool,
    pub(crate) name: String,
    pub(crate) kind: Option<Kind>,
    pub(crate) status: StatusCode,
    /// Whether `description` was given.
    pub(crate) has_description: bool,
    pub(crate) description: String,
}

/// Bytes of a name or description that are kept without memory for the whole.
pub(super) const CUT: usize = 64;

/// Sets `text` to `value`, or to its beginning without memory for the whole.
fn set_text(text: &mut String, value: &str, room: &mut dyn Room) {
    text.clear();
    let (was, now) = (text.capacity(), value.len());
    if now > was {
        if !room.keep_text(was, now) {
            // Up to `CUT` bytes are not counted.
            text.push_str(beginning(value, was.max(CUT)));
            return room.leave_out();
        }
        text.reserve_exact(now);
    }
    text.push_str(value);
}

impl OtelFields {
    pub(crate) fn set(&mut self, role: FieldRole, value: &str, room: &mut dyn Room) {
        match role {
            FieldRole::SpanName => {
                self.has_name = true;
                set_text(&mut self.name, value, room);
            }
            FieldRole::SpanKind => self.kind = Some(Kind::from_name(value)),
            FieldRole::StatusCode => self.set_status(status(value)),
            FieldRole::StatusDescription => {
                self.set_status(StatusCode::Error);
                self.describe(value, room);
            }
            _ => {}
        }
    }

    pub(crate) fn describe(&mut self, text: &str, room: &mut dyn Room) {
        self.has_description = !text.is_empty();
        set_text(&mut self.description, text, room);
    }

    /// The given name, or the callsite's.
    pub(crate) fn name_or<'a>(&'a self, name: &'a str) -> &'a str {
        // OTLP requires a name.
        let is_given = self.has_name && !self.name.is_empty();
        if is_given { &self.name } else { name }
    }

    /// Sets the status unless it is lower: `Ok > Error > Unset` (TR-7).
    pub(crate) fn set_status(&mut self, status: StatusCode) {
        self.status = self.status.max(status);
    }

    /// Applies the fields of a later visit.
    pub(crate) fn merge(&mut self, later: &Self, room: &mut dyn Room) {
        if later.has_name {
            self.set(FieldRole::SpanName, &later.name, room);
        }
        self.kind = later.kind.or(self.kind);
        self.set_status(later.status);
        if later.has_description {
            self.set(FieldRole::StatusDescription, &later.description, room);
        }
    }

    /// Resets all but the capacity of the strings.
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
    use crate::wire::bounded::Unbounded;

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
        let (mut otel_fields, room) = (OtelFields::default(), &mut Unbounded);
        otel_fields.set(FieldRole::StatusDescription, "broken", room);
        otel_fields.set(FieldRole::StatusCode, "unset", room);
        assert_eq!(otel_fields.status, StatusCode::Error);
        otel_fields.set(FieldRole::StatusCode, "ok", room);
        otel_fields.set(FieldRole::StatusCode, "error", room);
        assert_eq!(otel_fields.status, StatusCode::Ok);
    }
}
