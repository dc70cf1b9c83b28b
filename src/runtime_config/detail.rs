//! [`Detail`]: the most verbose level of each target.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use tracing_core::{Level, LevelFilter};

use crate::error::Error;

/// The most verbose level that is recorded, for each target.
///
/// As text, similar to `tracing_subscriber::filter::Targets`: `info,hyper=warn,shop=trace`. A level
/// alone applies to all targets that are not listed; unlike there, it is `trace` by default, so
/// `hyper=warn` filters only hyper. A target alone, without `=`, has `trace`. A target applies to all
/// targets that begin with it; of several the longest counts. Levels are `off`, `error`, `warn`,
/// `info`, `debug` and `trace`.
///
/// It filters spans and events. A span of the OpenTelemetry API has the name of its instrumentation
/// scope as target, and the level INFO. A filtered span is not recorded; its children and events belong
/// to the nearest recorded ancestor. Other layers of the subscriber are not affected. Default:
/// everything is recorded.
///
/// ```
/// use tracing_otlp::runtime_config::Detail;
/// use tracing::level_filters::LevelFilter;
///
/// let detail: Detail = "info,hyper=warn".parse()?;
/// assert_eq!(
///     detail,
///     Detail::new(LevelFilter::INFO).with_target("hyper", LevelFilter::WARN),
/// );
/// # Ok::<(), tracing_otlp::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detail {
    default: LevelFilter,
    /// Sorted by length, the longest first, so that the first match is the most specific.
    targets: Vec<(Cow<'static, str>, LevelFilter)>,
}

impl Detail {
    /// The same level for every target.
    pub fn new(default: LevelFilter) -> Self {
        Self {
            default,
            targets: Vec::new(),
        }
    }

    /// Sets the level of targets that begin with `prefix`.
    #[must_use]
    pub fn with_target(mut self, prefix: impl Into<Cow<'static, str>>, level: LevelFilter) -> Self {
        let prefix = prefix.into();
        self.targets.retain(|(p, _)| *p != prefix);
        let at = self
            .targets
            .partition_point(|(p, _)| (p.len(), &prefix) > (prefix.len(), p));
        self.targets.insert(at, (prefix, level));
        self
    }

    /// Whether nothing is filtered.
    pub(super) fn is_everything(&self) -> bool {
        self.default == LevelFilter::TRACE
            && self.targets.iter().all(|(_, l)| *l == LevelFilter::TRACE)
    }

    pub(super) fn admits(&self, target: &str, level: Level) -> bool {
        let named = self
            .targets
            .iter()
            .find(|(prefix, _)| target.starts_with(prefix.as_ref()));
        level <= named.map_or(self.default, |(_, level)| *level)
    }
}

impl Default for Detail {
    /// Everything.
    fn default() -> Self {
        Self::new(LevelFilter::TRACE)
    }
}

impl FromStr for Detail {
    type Err = Error;

    /// # Errors
    ///
    /// The first entry that is neither a level nor a target with a level; [`Error::is_config`].
    fn from_str(text: &str) -> Result<Self, Error> {
        let mut detail = Self::default();
        for entry in text.split(',').map(str::trim).filter(|e| !e.is_empty()) {
            let (target, level) = match entry.split_once('=') {
                Some((target, level)) => (target.trim_end(), level.trim_start()),
                None if entry.parse::<LevelFilter>().is_ok() => ("", entry),
                None => (entry, "trace"),
            };
            let bad = |cure| Error::config("detail", entry, cure);
            // `LevelFilter` parses an empty text as `error`.
            let level = level.parse().ok().filter(|_| !level.is_empty());
            let level =
                level.ok_or_else(|| bad("use a level: off, error, warn, info, debug or trace"))?;
            if target.contains(['[', ']', '{', '}', '"', ' ']) {
                return Err(bad(
                    "name a target; spans and fields are an EnvFilter's matter",
                ));
            }
            match target {
                "" if entry.contains('=') => return Err(bad("name a target before `=`")),
                "" => detail.default = level,
                target => detail = detail.with_target(target.to_owned(), level),
            }
        }
        Ok(detail)
    }
}

impl fmt::Display for Detail {
    /// The text that [`FromStr`] reads.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.default.fmt(f)?;
        for (target, level) in &self.targets {
            write!(f, ",{target}={level}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tracing_subscriber::filter::Targets;

    fn read(text: &str) -> Detail {
        text.parse().unwrap()
    }

    #[test]
    fn text_is_read_and_written() {
        for (text, written) in [
            ("", "trace"),
            (" , ,", "trace"),
            ("info", "info"),
            ("OFF", "off"),
            ("hyper=warn", "trace,hyper=warn"),
            (" info , hyper = warn ", "info,hyper=warn"),
            (
                "hyper=warn,info,my::mod=TRACE",
                "info,my::mod=trace,hyper=warn",
            ),
            ("off,shop", "off,shop=trace"),
            ("info,debug", "debug"),
            ("a=info,a=debug", "trace,a=debug"),
        ] {
            assert_eq!(read(text).to_string(), written, "{text}");
            assert_eq!(read(written), read(text));
        }
    }

    #[test]
    fn what_can_not_be_read_is_named_with_its_cure() {
        for (text, expected) in [
            ("info,hyper=loud", "hyper=loud"),
            ("=info", "=info"),
            ("hyper=", "hyper="),
            ("a=b=info", "a=b=info"),
            ("[span]=info", "[span]=info"),
            ("a b", "a b"),
        ] {
            let error = text.parse::<Detail>().unwrap_err();
            assert!(error.is_config());
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn the_longest_target_that_fits_decides() {
        let detail = read("info,hyper=warn,hyper::client=trace,noise=off");
        for (target, level, admitted) in [
            ("shop", Level::INFO, true),
            ("shop", Level::DEBUG, false),
            ("hyper::server", Level::INFO, false),
            ("hyper_util", Level::WARN, true),
            ("hyper::client::pool", Level::TRACE, true),
            ("noise", Level::ERROR, false),
            ("", Level::INFO, true),
        ] {
            assert_eq!(detail.admits(target, level), admitted, "{target} {level}");
        }
        assert!(!detail.is_everything());
        assert!(Detail::default().is_everything() && read("trace,a=trace").is_everything());
        assert!(!read("a=debug").is_everything());
    }

    proptest! {
        #[test]
        fn it_agrees_with_the_filter_of_tracing_subscriber(
            entries in proptest::collection::vec(
                ("[ab]{1,3}(::[ab])?", "off|error|warn|info|debug|trace"), 0..6),
            default in "off|error|warn|info|debug|trace",
            target in "[ab]{0,4}(::[ab]){0,2}",
        ) {
            let mut text = default;
            for (target, level) in entries {
                text += &format!(",{target}={level}");
            }
            let theirs: Targets = text.parse().unwrap();
            let ours = read(&text);
            for level in [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE] {
                let admitted = theirs.would_enable(&target, &level);
                prop_assert_eq!(ours.admits(&target, level), admitted, "{} {}", text, target);
            }
            prop_assert_eq!(read(&ours.to_string()), ours);
        }
    }
}
