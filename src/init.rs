//! A subscriber in one call: filter, fmt and OTLP (feature `init`).

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, fmt};

use crate::builder::builder;
use crate::error::Error;
use crate::fmt::with_trace_ids;
use crate::guard::ShutdownGuard;

/// Sets the global subscriber: lines on standard error filtered by `RUST_LOG` (default `info`), with
/// `trace_id` and `span_id` where there is a trace, and spans of the same filter to the OTLP endpoint
/// that the `OTEL_*` variables name.
///
/// The same as [`builder()`](crate::builder())`.build()` with a registry, an `EnvFilter` and a fmt
/// layer; write that where you want it otherwise.
///
/// ```no_run
/// # fn main() -> Result<(), tracing_otlp::Error> {
/// let _guard = tracing_otlp::init()?; // lives until the end of `main`
/// tracing::info_span!("startup").in_scope(|| tracing::info!("hello"));
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// As [`OtlpBuilder::build`](crate::OtlpBuilder::build); also where `RUST_LOG` cannot be parsed, or
/// a global subscriber is set already.
pub fn init() -> Result<ShutdownGuard, Error> {
    let filter = filter(std::env::var("RUST_LOG").ok().as_deref())?;
    let (layer, guard) = builder().build()?;
    let lines = fmt::layer()
        .with_writer(std::io::stderr)
        .map_event_format(with_trace_ids);
    tracing_subscriber::registry()
        .with(filter)
        .with(layer)
        .with(lines.boxed())
        .try_init()
        .map_err(|e| {
            Error::worker("a global subscriber is set already: call init() once, and first")
                .with_source(e)
        })?;
    Ok(guard)
}

/// Empty is unset (ENV-2).
fn filter(directives: Option<&str>) -> Result<EnvFilter, Error> {
    let directives = directives
        .map(str::trim)
        .filter(|d| !d.is_empty())
        .unwrap_or("info");
    EnvFilter::try_new(directives).map_err(|e| {
        Error::config(
            "RUST_LOG",
            directives,
            "give directives such as `info` or `info,my_crate=debug`",
        )
        .with_source(e)
    })
}

#[cfg(test)]
#[allow(clippy::expect_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_info_unless_said_otherwise() {
        for unset in [None, Some(""), Some("  ")] {
            assert!(filter(unset).is_ok_and(|f| f.to_string() == "info"));
        }
        assert!(filter(Some("warn,hyper=off")).is_ok());
    }

    #[test]
    fn a_filter_that_cannot_be_parsed_is_an_error_with_the_cure() {
        let error = filter(Some("shop=loud")).map(drop).expect_err("nonsense");
        assert!(error.is_config());
        let text = error.to_string();
        assert!(
            text.contains("RUST_LOG") && text.contains("shop=loud"),
            "{text}"
        );
    }
}
