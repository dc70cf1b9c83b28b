//! Values from code: what can't work is an error that names setting, value and cure.

use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::OtlpConfig;
use crate::attribute::KeyValue;
use crate::config::{Pem, TailConfig};

/// The setting at fault, its value as shown, and the change that makes it so.
type Case = (&'static str, &'static str, fn(&mut OtlpConfig));

fn tail(config: &mut OtlpConfig) -> &mut TailConfig {
    config.tail.get_or_insert_default()
}

const BAD: &[Case] = &[
    ("batch.max_queue_size", "0", |c| c.batch.max_queue_size = 0),
    ("batch.max_queue_size", "18446744073709551615", |c| {
        c.batch.max_queue_size = u64::MAX as usize;
    }),
    ("batch.max_export_batch_size", "0", |c| {
        c.batch.max_export_batch_size = 0;
    }),
    ("batch.max_export_batch_size", "11", |c| {
        c.batch.max_queue_size = 10;
        c.batch.max_export_batch_size = 11;
    }),
    ("batch.max_memory", "1", |c| c.batch.max_memory = 1),
    ("batch.schedule_delay", "31536001s", |c| {
        c.batch.schedule_delay = Duration::from_secs(31_536_001);
    }),
    ("batch.export_timeout", "0ns", |c| {
        c.batch.export_timeout = Some(Duration::ZERO);
    }),
    (
        "batch.shutdown_timeout",
        "18446744073709551615.999999999s",
        |c| {
            c.batch.shutdown_timeout = Duration::MAX;
        },
    ),
    ("tail.ratio", "1.5", |c| tail(c).ratio = 1.5),
    ("tail.ratio", "NaN", |c| tail(c).ratio = f64::NAN),
    ("tail.ratio", "0", |c| tail(c).keep_errors = false),
    ("tail.slower_than", "0ns", |c| {
        tail(c).slower_than = Some(Duration::ZERO);
    }),
    ("tail.slower_than_quantile", "1", |c| {
        tail(c).slower_than_quantile = Some(1.0);
    }),
    ("tail.slower_than_quantile", "99", |c| {
        tail(c).slower_than_quantile = Some(99.0);
    }),
    ("tail.max_spans", "0", |c| tail(c).max_spans = 0),
    ("tail.max_bytes", "65535", |c| tail(c).max_bytes = 65_535),
    ("tail.max_bytes", "524289", |c| {
        tail(c).max_bytes = 524_289;
        c.batch.max_memory = 1 << 20;
    }),
    ("tail.max_hold", "0ns", |c| {
        tail(c).max_hold = Duration::ZERO
    }),
    ("connection.timeout", "0ns", |c| {
        c.connection.timeout = Some(Duration::ZERO);
    }),
    ("connection.connect_timeout", "0ns", |c| {
        c.connection.connect_timeout = Duration::ZERO;
    }),
    ("connection.max_concurrent_exports", "0", |c| {
        c.connection.max_concurrent_exports = 0;
    }),
    ("connection.max_concurrent_exports", "9999", |c| {
        c.connection.max_concurrent_exports = 9999;
    }),
    ("connection.max_request_size", "0", |c| {
        c.connection.max_request_size = 0;
    }),
    ("connection.max_response_size", "0", |c| {
        c.connection.max_response_size = 0;
    }),
    ("connection.retry.initial_backoff", "0ns", |c| {
        c.connection.retry.initial_backoff = Duration::ZERO;
    }),
    ("connection.retry.max_backoff", "1ms", |c| {
        c.connection.retry.max_backoff = Duration::from_millis(1);
    }),
    ("connection.retry.multiplier", "NaN", |c| {
        c.connection.retry.multiplier = f64::NAN;
    }),
    ("connection.retry.multiplier", "0.5", |c| {
        c.connection.retry.multiplier = 0.5;
    }),
    ("connection.retry.max_attempts", "0", |c| {
        c.connection.retry.max_attempts = 0;
    }),
    ("connection.headers", "content-length", |c| {
        c.connection.headers.push((
            HeaderName::from_static("content-length"),
            HeaderValue::from_static("s3cret"),
        ));
    }),
    ("connection.user_agent_prefix", "a\\nb", |c| {
        c.connection.user_agent_prefix = Some("a\nb".to_owned());
    }),
    ("connection.client_certificate", "none", |c| {
        c.connection.client_key = Some(Pem::Bytes(b"s3cret".to_vec()));
    }),
    ("connection.client_key", "none", |c| {
        c.connection.client_certificate = Some(Pem::File("chain.pem".into()));
    }),
    ("worker.threads", "0", |c| c.worker.threads = Some(0)),
    ("worker.stack_size", "1", |c| c.worker.stack_size = Some(1)),
    ("worker.thread_name", "a\\0b", |c| {
        c.worker.thread_name = "a\0b".to_owned();
    }),
    ("resource.attributes", "", |c| {
        c.resource.attributes.push(KeyValue::new("", "x"));
    }),
];

#[test]
fn the_defaults_are_valid() {
    OtlpConfig::default().validate().unwrap();
}

#[test]
fn each_bad_value_is_named_with_its_setting() {
    for (setting, value, change) in BAD {
        let mut config = OtlpConfig::default();
        change(&mut config);
        let error = config.validate().expect_err(setting);
        assert!(error.is_config());
        let message = error.to_string();
        let start = format!("{setting} = \"{value}\" cannot be used: ");
        assert!(message.starts_with(&start), "{message}");
        assert!(message.len() > start.len() + 5, "no cure: {message}");
        assert!(!message.contains("s3cret"), "{message}");
    }
}

#[test]
fn the_bounds_themselves_are_valid() {
    let mut config = OtlpConfig::default();
    config.batch.max_queue_size = 1;
    config.batch.max_export_batch_size = 1;
    config.batch.max_memory = 256 << 10;
    config.batch.schedule_delay = Duration::ZERO;
    config.batch.export_timeout = None;
    config.batch.shutdown_timeout = Duration::ZERO;
    config.connection.timeout = None;
    config.connection.max_concurrent_exports = 1;
    config.connection.max_request_size = 1;
    config.connection.retry.max_attempts = 1;
    config.connection.retry.multiplier = 1.0;
    config.worker.threads = Some(1);
    config.limits.attribute_count_limit = 0;
    config.validate().unwrap();
}
