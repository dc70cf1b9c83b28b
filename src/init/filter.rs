//! The filters of log lines and of exported spans.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{FilterExt as _, LevelFilter};
use tracing_subscriber::layer::Filter;
use tracing_subscriber::registry::LookupSpan;

use crate::diagnostics::TARGET;
use crate::error::Error;

/// The variable of the lines' filter.
const LINES: &str = "RUST_LOG";

/// The variable of the filter of spans and their events.
const SPANS: &str = "OTEL_RUST_TRACING_FILTER";

/// Spans are exported from this level on, independent of the lines' filter.
const LEAST: &str = "info";

pub(super) enum Filters<S> {
    /// One filter for lines and spans.
    Same(EnvFilter),
    Apart {
        lines: EnvFilter,
        spans: Box<dyn Filter<S> + Send + Sync>,
    },
}

impl<S> Filters<S>
where
    S: tracing_core::Subscriber + for<'a> LookupSpan<'a>,
{
    pub(super) fn new(
        default: &str,
        variable: impl Fn(&'static str) -> Option<String>,
    ) -> Result<Self, Error> {
        // An empty variable counts as unset (ENV-2).
        let given = |name| variable(name).filter(|value| !value.trim().is_empty());
        let (setting, lines) = lines_of(default, &given);
        let lines = checked(setting, lines)?;
        let lines = match speaks_of_reports(&lines) {
            true => lines,
            // Reports of this crate about its endpoint pass the filter.
            false => format!("{lines},{TARGET}=info"),
        };
        if let Some(spans) = given(SPANS) {
            return Ok(Self::Apart {
                lines: parsed(LINES, &lines)?,
                spans: Box::new(parsed(SPANS, &spans)?),
            });
        }
        if lets_all_of_least_through(&lines) {
            return Ok(Self::Same(parsed(LINES, &lines)?));
        }
        let spans = EnvFilter::new(LEAST).or(parsed(LINES, &lines)?);
        Ok(Self::Apart {
            lines: parsed(LINES, &lines)?,
            spans: Box::new(spans),
        })
    }
}

/// Whether the lines' directives decide on the reports of this crate.
pub(super) fn decides_about_reports(
    default: &str,
    variable: impl Fn(&'static str) -> Option<String>,
) -> bool {
    let given = |name| variable(name).filter(|value| !value.trim().is_empty());
    speaks_of_reports(&lines_of(default, &given).1)
}

fn lines_of(
    default: &str,
    given: &impl Fn(&'static str) -> Option<String>,
) -> (&'static str, String) {
    match given(LINES) {
        Some(lines) => (LINES, lines),
        None => ("with_default_filter", default.to_owned()),
    }
}

/// Whether the directives decide on the reports of this crate, so that hiding them is intended.
fn speaks_of_reports(directives: &str) -> bool {
    let is_named = directives.split(',').any(|d| d.trim().starts_with(TARGET));
    is_named || directives.trim() == "off"
}

/// Whether everything passes that passes `info`. False for directives too complex to tell.
fn lets_all_of_least_through(directives: &str) -> bool {
    let mut has_general = false;
    for directive in directives
        .split(',')
        .map(str::trim)
        .filter(|d| !d.is_empty())
    {
        let (is_general, level) = match directive.rsplit_once('=') {
            _ if directive.contains('[') => return false,
            Some((_, level)) => (false, level.parse()),
            None => match directive.parse::<LevelFilter>() {
                Ok(level) => (true, Ok(level)),
                // A target without a level has TRACE.
                Err(_) => (false, Ok(LevelFilter::TRACE)),
            },
        };
        has_general |= is_general;
        if level.map_or(true, |level| level < LevelFilter::INFO) {
            return false;
        }
    }
    has_general
}

fn checked(setting: &'static str, directives: String) -> Result<String, Error> {
    parsed(setting, &directives).map(|_| directives)
}

fn parsed(setting: &'static str, directives: &str) -> Result<EnvFilter, Error> {
    EnvFilter::try_new(directives).map_err(|e| {
        Error::config(
            setting,
            directives,
            "give directives such as `info` or `info,my_crate=debug`",
        )
        .with_source(e)
    })
}

#[cfg(test)]
#[allow(clippy::expect_used, reason = "a test may panic")]
mod tests {
    use tracing_subscriber::Registry;

    use super::*;

    fn filters(default: &str, lines: Option<&str>, spans: Option<&str>) -> Result<String, Error> {
        let filters = Filters::<Registry>::new(default, |name| {
            let value = if name == LINES { lines } else { spans };
            value.map(str::to_owned)
        })?;
        Ok(match filters {
            Filters::Same(filter) => format!("same {filter}"),
            Filters::Apart { lines, .. } => format!("apart {lines}"),
        })
    }

    #[test]
    fn lines_are_info_unless_said_otherwise() {
        for unset in [None, Some(""), Some("  ")] {
            let same = filters("info", unset, None).expect("good");
            assert_eq!(same, "same tracing_otlp=info,info");
        }
        let debug = filters("debug", None, None).expect("good");
        assert_eq!(debug, "same tracing_otlp=info,debug");
    }

    #[test]
    fn quiet_lines_are_filtered_apart_from_spans() {
        for quiet in [
            "warn",
            "error",
            "off",
            "app=info",
            "info,hyper=warn",
            "info,[work]=off",
            "0",
        ] {
            let apart = filters("info", Some(quiet), None).expect("good");
            assert!(apart.starts_with("apart "), "{quiet}: {apart}");
        }
        for loud in [
            "info",
            "debug",
            "trace,app",
            "info,app=debug",
            "app=trace,info",
            "3",
        ] {
            let same = filters("info", Some(loud), None).expect("good");
            assert!(same.starts_with("same "), "{loud}: {same}");
        }
        let apart = filters("info", None, Some("debug")).expect("good");
        assert!(apart.starts_with("apart "), "{apart}");
    }

    #[test]
    fn reports_get_through_unless_the_directives_speak_of_them() {
        for (given, lines) in [
            ("app=info", "apart tracing_otlp=info,app=info"),
            (
                "app=info,tracing_otlp=error",
                "apart tracing_otlp=error,app=info",
            ),
            (
                "tracing_otlp::server=off,info",
                "apart tracing_otlp::server=off,info",
            ),
            ("off", "apart off"),
        ] {
            assert_eq!(filters("info", Some(given), None).expect("good"), lines);
        }
    }

    #[test]
    fn a_filter_that_cannot_be_parsed_is_an_error_with_the_cure() {
        for (result, name) in [
            (filters("info", Some("shop=loud"), None), "RUST_LOG"),
            (
                filters("info", None, Some("shop=loud")),
                "OTEL_RUST_TRACING_FILTER",
            ),
            (filters("shop=loud", None, None), "with_default_filter"),
        ] {
            let error = result.expect_err("nonsense");
            assert!(error.is_config());
            let text = error.to_string();
            assert!(text.contains(name) && text.contains("shop=loud"), "{text}");
        }
    }
}
