//! A meter provider whose metrics are kept, read back as OTLP has them.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
pub use opentelemetry_proto::tonic::metrics::v1::{HistogramDataPoint, Metric, ScopeMetrics};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};

/// A provider that keeps what it collects.
pub struct Meters {
    pub provider: SdkMeterProvider,
    memory: InMemoryMetricExporter,
}

/// Attributes as text: `http.response.status_code` is `200`.
pub type Attributes = BTreeMap<String, String>;

impl Meters {
    pub fn new() -> Self {
        let memory = InMemoryMetricExporter::default();
        let reader = PeriodicReader::builder(memory.clone()).build();
        let provider = SdkMeterProvider::builder().with_reader(reader).build();
        Self { provider, memory }
    }

    /// What there is now.
    pub fn scopes(&self) -> Vec<ScopeMetrics> {
        self.memory.reset();
        self.provider.force_flush().unwrap();
        let finished = self.memory.get_finished_metrics().unwrap();
        finished.iter().flat_map(scopes_of).collect()
    }

    pub fn collect(&self) -> Vec<Metric> {
        let scopes = self.scopes().into_iter();
        scopes.flat_map(|scope| scope.metrics).collect()
    }

    /// The points of a histogram of seconds or bytes.
    #[track_caller]
    pub fn histogram(&self, name: &str) -> Vec<(Attributes, HistogramDataPoint)> {
        let metrics = self.collect();
        find(&metrics, name).map(histogram).unwrap_or_default()
    }

    /// The one point of a histogram.
    #[track_caller]
    pub fn one(&self, name: &str) -> (Attributes, HistogramDataPoint) {
        let points = self.histogram(name);
        assert_eq!(points.len(), 1, "{name}: {points:#?}");
        points.into_iter().next().unwrap()
    }

    /// The points of a sum.
    #[track_caller]
    pub fn sum(&self, name: &str) -> Vec<(Attributes, i64)> {
        let metrics = self.collect();
        find(&metrics, name).map(sum).unwrap_or_default()
    }

    /// Names of metrics that have points.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.collect().into_iter().map(|m| m.name).collect();
        names.sort();
        names
    }
}

fn scopes_of(
    metrics: &opentelemetry_sdk::metrics::data::ResourceMetrics,
) -> impl Iterator<Item = ScopeMetrics> + use<> {
    let request = ExportMetricsServiceRequest::from(metrics);
    let resources = request.resource_metrics.into_iter();
    resources.flat_map(|resource| resource.scope_metrics)
}

pub fn find<'a>(metrics: &'a [Metric], name: &str) -> Option<&'a Metric> {
    metrics.iter().find(|metric| metric.name == name)
}

#[track_caller]
pub fn histogram(metric: &Metric) -> Vec<(Attributes, HistogramDataPoint)> {
    match &metric.data {
        Some(Data::Histogram(histogram)) => {
            let points = histogram.data_points.iter();
            points
                .map(|point| (attributes(&point.attributes), point.clone()))
                .collect()
        }
        other => panic!("{} is no histogram: {other:?}", metric.name),
    }
}

#[track_caller]
pub fn sum(metric: &Metric) -> Vec<(Attributes, i64)> {
    match &metric.data {
        Some(Data::Sum(sum)) => {
            let points = sum.data_points.iter();
            points
                .map(|point| match point.value {
                    Some(Number::AsInt(value)) => (attributes(&point.attributes), value),
                    other => panic!("{}: {other:?}", metric.name),
                })
                .collect()
        }
        other => panic!("{} is no sum: {other:?}", metric.name),
    }
}

pub fn is_monotonic(metric: &Metric) -> bool {
    matches!(&metric.data, Some(Data::Sum(sum)) if sum.is_monotonic)
}

/// Each key once.
#[track_caller]
pub fn attributes(all: &[KeyValue]) -> Attributes {
    let mut found = Attributes::new();
    for attribute in all {
        let value = match attribute.value.clone().and_then(|v| v.value) {
            Some(any_value::Value::StringValue(text)) => text,
            Some(any_value::Value::IntValue(int)) => int.to_string(),
            Some(any_value::Value::BoolValue(bool)) => bool.to_string(),
            other => panic!("{}: {other:?}", attribute.key),
        };
        let before = found.insert(attribute.key.clone(), value);
        assert_eq!(before, None, "{} is there twice", attribute.key);
    }
    found
}

pub fn are<const N: usize>(expected: [(&str, &str); N]) -> Attributes {
    let pairs = expected.iter();
    pairs
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}
