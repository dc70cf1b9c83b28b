//! Layers and filters on both registries are reloaded while spans are recorded. Alone in its process: the
//! greatest level of all subscribers is one for the process, and a subscriber that another test makes
//! meanwhile sets it too.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "../support/lines.rs"]
mod lines;

use lines::{Lines, lines_of, lines_to};
use tracing::{Dispatch, dispatcher};
use tracing_otlp::registry::registry;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{Registry, reload};

#[test]
fn layers_and_filters_may_be_reloaded() {
    fn lines<S>(
        stack: impl FnOnce(reload::Layer<LevelFilter, S>, Lines) -> Dispatch,
    ) -> Vec<String> {
        let (filter, handle) = reload::Layer::new(LevelFilter::WARN);
        let lines = Lines::default();
        let dispatch = stack(filter, lines.clone());
        let mut all = lines_of(&dispatch, &lines);
        assert!(all.is_empty());
        for level in [LevelFilter::DEBUG, LevelFilter::INFO] {
            dispatcher::with_default(&dispatch, || handle.reload(level)).unwrap();
            all.extend(lines_of(&dispatch, &lines));
        }
        assert!(all.len() > 10, "{all:#?}");
        all
    }
    let expected = lines(|filter, lines| {
        Dispatch::new(Registry::default().with(filter).with(lines_to(&lines)))
    });
    let found =
        lines(|filter, lines| Dispatch::new(registry().with(filter).with(lines_to(&lines))));
    assert_eq!(found, expected);
}
