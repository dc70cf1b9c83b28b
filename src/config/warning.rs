//! [`ConfigWarning`]: a setting that was ignored or changed.

use std::fmt;

use crate::text;

/// A setting that was ignored or changed, and why.
///
/// Reading settings prints nothing. Warnings wait in
/// [`OtlpConfig::warnings`](crate::OtlpConfig::warnings), and the worker reports them once it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfigWarning {
    /// The variable or setting, such as `OTEL_BSP_SCHEDULE_DELAY`.
    pub setting: String,
    /// The value as it was given, shortened if it is long and masked if it may hold a secret.
    pub value: String,
    /// The reason, and a value that works.
    pub message: String,
}

impl ConfigWarning {
    pub(crate) fn new(setting: &str, value: &str, message: impl Into<String>) -> Self {
        Self {
            setting: setting.to_owned(),
            value: shorten(&text::url(value)),
            message: message.into(),
        }
    }

    /// A warning without the value.
    pub(crate) fn masked(setting: &str, message: impl Into<String>) -> Self {
        Self {
            setting: setting.to_owned(),
            value: "[masked]".to_owned(),
            message: message.into(),
        }
    }
}

impl fmt::Display for ConfigWarning {
    /// One line: the value is escaped, so that it cannot forge a second one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            setting,
            value,
            message,
        } = self;
        write!(f, "{setting} = {value:?} is not used as given: {message}")
    }
}

fn shorten(value: &str) -> String {
    const LONGEST: usize = 120;
    match value.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &value[..end]),
        None => value.to_owned(),
    }
}
