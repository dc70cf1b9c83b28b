//! [`ConfigWarning`]: a setting that was not taken as it was given.

use std::fmt;

use crate::text;

/// A setting that was ignored or changed, and why (ENV-3…6).
///
/// Reading settings prints nothing. What was found waits in
/// [`OtlpConfig::warnings`](crate::OtlpConfig::warnings), and the worker speaks of it once it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfigWarning {
    /// The variable or setting, such as `OTEL_BSP_SCHEDULE_DELAY`.
    pub setting: String,
    /// The value as it was given, shortened if it is long and masked if it may hold a secret.
    pub value: String,
    /// Why, and what would do instead.
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

    /// A warning that shows nothing of the value.
    pub(crate) fn masked(setting: &str, message: impl Into<String>) -> Self {
        Self {
            setting: setting.to_owned(),
            value: "[masked]".to_owned(),
            message: message.into(),
        }
    }
}

impl fmt::Display for ConfigWarning {
    /// One line: the value is escaped, so that it can't forge a second one.
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
