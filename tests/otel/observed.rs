//! A pipeline whose `otel.sdk.*` metrics are collected.

use tracing::{Dispatch, dispatcher, info_span};
use tracing_otlp::otel::metrics::observe_pipeline;
use tracing_otlp::{OtlpBuilder, ShutdownGuard, Stats};
use tracing_subscriber::layer::SubscriberExt as _;

use crate::meters::{Attributes, Meters};

pub(crate) struct Pipeline {
    pub(crate) dispatch: Dispatch,
    pub(crate) guard: ShutdownGuard,
    pub(crate) meters: Meters,
}

impl Pipeline {
    pub(crate) fn start(builder: OtlpBuilder) -> Self {
        let meters = Meters::new();
        let (layer, guard) = builder.build().unwrap();
        observe_pipeline(&guard.handle(), &meters.provider);
        let dispatch = Dispatch::new(tracing_subscriber::registry().with(layer));
        Self {
            dispatch,
            guard,
            meters,
        }
    }

    pub(crate) fn record(&self, spans: usize) {
        dispatcher::with_default(&self.dispatch, || {
            for _ in 0..spans {
                drop(info_span!("work"));
            }
        });
    }

    pub(crate) fn stats(&self) -> Stats {
        self.guard.stats()
    }

    /// Values by `key`: `""` where a point has no such attribute.
    pub(crate) fn by(&self, metric: &str, key: &str) -> Vec<(String, i64)> {
        let points = self.meters.sum(metric).into_iter();
        let keyed = points.map(|(attributes, value)| {
            let key = attributes.get(key).cloned().unwrap_or_default();
            (key, value)
        });
        let mut keyed: Vec<_> = keyed.collect();
        keyed.sort();
        keyed
    }

    pub(crate) fn outcomes(&self, metric: &str) -> Vec<(String, i64)> {
        self.by(metric, "error.type")
    }

    #[track_caller]
    pub(crate) fn attributes(&self, metric: &str) -> Attributes {
        self.meters.sum(metric)[0].0.clone()
    }

    #[track_caller]
    pub(crate) fn one(&self, metric: &str) -> i64 {
        let points = self.meters.sum(metric);
        assert_eq!(points.len(), 1, "{metric}: {points:?}");
        points[0].1
    }
}

pub(crate) fn said<const N: usize>(expected: [(&str, u64); N]) -> Vec<(String, i64)> {
    let expected = expected.iter();
    expected
        .map(|(key, value)| ((*key).to_owned(), i64::try_from(*value).unwrap()))
        .collect()
}
