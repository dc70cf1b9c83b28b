//! Whether a per-layer filter may hide spans from this layer.
//!
//! Without filters the innermost span entered on a thread is the registry's current span, and a new
//! span saves the registry's lookup: 160 of some 4,400 instructions. The registry shows its number of
//! filters in its `Debug` output alone. Any unexpected output means that there may be filters: then
//! the registry is asked, which is always correct. A text that says the same and means another thing is
//! noticed by the tests below; `CaptureConfig::expect_filters` has the registry asked in any case.

use std::fmt::{self, Write as _};

use tracing_core::Dispatch;
use tracing_subscriber::Registry;

use crate::registry::OtlpRegistry;

/// Whether certainly no layer of this subscriber has a per-layer filter.
pub(super) fn are_absent(subscriber: &Dispatch) -> bool {
    if let Some(registry) = subscriber.downcast_ref::<OtlpRegistry>() {
        return !registry.has_filters();
    }
    let Some(registry) = subscriber.downcast_ref::<Registry>() else {
        return false;
    };
    let mut end = TextEnd(String::new());
    write!(end, "{registry:?}").is_ok() && end.0.ends_with("next_filter_id: 0 }")
}

/// Keeps the end of a text.
struct TextEnd(String);

impl fmt::Write for TextEnd {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        const KEPT: usize = 64;
        self.0.push_str(s);
        if self.0.len() > 2 * KEPT {
            let mut cut = self.0.len() - KEPT;
            while !self.0.is_char_boundary(cut) {
                cut += 1;
            }
            self.0.drain(..cut);
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use tracing_subscriber::filter::LevelFilter;
    use tracing_subscriber::layer::{Identity, Layer as _, SubscriberExt as _};

    #[test]
    fn a_registry_without_filters_is_recognised() {
        assert!(are_absent(&Dispatch::new(tracing_subscriber::registry())));
        let global = tracing_subscriber::registry()
            .with(LevelFilter::INFO)
            .with(Identity::new());
        assert!(are_absent(&Dispatch::new(global)));
    }

    #[test]
    fn a_filter_anywhere_is_noticed() {
        let outer = tracing_subscriber::registry()
            .with(Identity::new())
            .with(Identity::new().with_filter(LevelFilter::INFO));
        assert!(!are_absent(&Dispatch::new(outer)));
        let boxed = tracing_subscriber::registry()
            .with(Identity::new().with_filter(LevelFilter::INFO).boxed());
        assert!(!are_absent(&Dispatch::new(boxed)));
    }

    #[test]
    fn a_layer_may_be_set_to_expect_filters() {
        use crate::config::TracesExporterKind;
        use crate::context::layer_registry::Spans as _;

        for expected in [false, true] {
            let builder = crate::builder::builder()
                .without_env()
                .with_traces_exporter_kind(TracesExporterKind::None)
                .configure(move |c| c.capture.expect_filters = expected);
            let (layer, _guard) = builder.build().unwrap();
            let recorder = crate::sync::Arc::clone(&layer.recorder);
            let registry = tracing_subscriber::registry().with(layer);
            let _dispatch = Dispatch::new(registry);
            assert_eq!(recorder.may_hide(), expected);
        }
    }

    #[test]
    fn a_subscriber_that_is_no_registry_may_filter() {
        assert!(!are_absent(&Dispatch::none()));
    }
}
