#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may fail loudly"
)]

mod precedence;

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use super::*;
use crate::attribute::{KeyValue, Value};
use crate::config::{
    Compression, Pem, PropagatorKind, Protocol, SamplerConfig, TracesExporterKind,
};
use crate::resource::Resource;

fn from(variables: &[(&str, &str)]) -> OtlpConfig {
    OtlpConfig::from_source(|name| {
        let found = variables.iter().find(|(n, _)| *n == name)?;
        Some(found.1.into())
    })
}

fn on(variables: &[(&str, &str)]) -> OtlpBuilder {
    builder().with_config(from(variables))
}

/// Variables, and the code that says the same.
type Twin = (
    &'static [(&'static str, &'static str)],
    fn(OtlpBuilder) -> OtlpBuilder,
);

const TWINS: &[Twin] = &[
    (&[("OTEL_SDK_DISABLED", "true")], |b| b.with_disabled(true)),
    (&[("OTEL_TRACES_EXPORTER", "console")], |b| {
        b.with_traces_exporter_kind(TracesExporterKind::Console)
    }),
    (
        &[
            ("OTEL_TRACES_SAMPLER", "traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
        ],
        |b| b.configure(|c| c.sampler = SamplerConfig::TraceIdRatio(0.25)),
    ),
    (&[("OTEL_SERVICE_NAME", "shop")], |b| {
        b.with_service_name("shop")
    }),
    (
        &[(
            "OTEL_RESOURCE_ATTRIBUTES",
            "service.version=2,a=b,service.namespace=n",
        )],
        |b| {
            b.with_service_version("2")
                .with_resource_attribute("a", "b")
                .with_service_namespace("n")
        },
    ),
    (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://h:1/")], |b| {
        b.with_endpoint("http://h:1/")
    }),
    (
        &[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://h/t")],
        |b| b.with_traces_endpoint("http://h/t"),
    ),
    (&[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")], |b| {
        b.with_protocol(Protocol::Grpc)
    }),
    (&[("OTEL_EXPORTER_OTLP_INSECURE", "true")], |b| {
        b.with_insecure(true)
    }),
    (&[("OTEL_EXPORTER_OTLP_CERTIFICATE", "ca.pem")], |b| {
        b.with_certificate(Pem::File("ca.pem".into()))
    }),
    (
        &[
            ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "chain.pem"),
            ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "key.pem"),
        ],
        |b| b.with_client_identity(Pem::File("chain.pem".into()), Pem::File("key.pem".into())),
    ),
    (&[("OTEL_EXPORTER_OTLP_HEADERS", "a=1,B=x%20y")], |b| {
        b.with_header("A", "1").with_header("b", "x y")
    }),
    (&[("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")], |b| {
        b.with_compression(Compression::Gzip)
    }),
    (&[("OTEL_EXPORTER_OTLP_TIMEOUT", "250")], |b| {
        b.with_timeout(Duration::from_millis(250))
    }),
    (&[("OTEL_EXPORTER_OTLP_TIMEOUT", "0")], |b| {
        b.with_timeout(None)
    }),
    (&[("OTEL_BSP_SCHEDULE_DELAY", "7")], |b| {
        b.with_schedule_delay(Duration::from_millis(7))
    }),
    (&[("OTEL_BSP_EXPORT_TIMEOUT", "0")], |b| {
        b.with_export_timeout(None)
    }),
    (&[("OTEL_PROPAGATORS", "b3,xray")], |b| {
        b.with_propagators([PropagatorKind::B3, PropagatorKind::XRay])
    }),
    (&[("OTEL_PROPAGATORS", "none")], |b| b.with_propagators([])),
    (&[("OTEL_BSP_MAX_QUEUE_SIZE", "100")], |b| {
        b.with_max_queue_size(100)
    }),
    (&[("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "9")], |b| {
        b.with_max_export_batch_size(9)
    }),
    (&[("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "5")], |b| {
        b.with_max_attribute_value_length(5)
    }),
    (&[("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "5")], |b| {
        b.configure(|c| c.limits.attribute_count_limit = 5)
    }),
    (&[("OTEL_SPAN_EVENT_COUNT_LIMIT", "5")], |b| {
        b.configure(|c| c.limits.event_count_limit = 5)
    }),
    (&[("OTEL_SPAN_LINK_COUNT_LIMIT", "5")], |b| {
        b.configure(|c| c.limits.link_count_limit = 5)
    }),
    (&[("OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", "5")], |b| {
        b.configure(|c| c.limits.attributes_per_event_limit = 5)
    }),
    (&[("OTEL_LINK_ATTRIBUTE_COUNT_LIMIT", "5")], |b| {
        b.configure(|c| c.limits.attributes_per_link_limit = 5)
    }),
];

#[test]
fn code_can_say_what_each_variable_says() {
    // ENV-1
    for (variables, code) in TWINS {
        let by_code = code(builder().without_env()).resolve().unwrap();
        let by_variable = from(variables);
        // Those of traces do not concern metrics, and code says no such thing.
        #[cfg(feature = "metrics")]
        let by_variable = {
            let mut config = by_variable;
            config.metrics.connection = None;
            config
        };
        assert_eq!(by_code, by_variable, "{variables:?}");
        assert_ne!(by_code, OtlpConfig::default(), "{variables:?}");
        assert!(by_code.warnings.is_empty());
    }
}

#[test]
fn a_batch_follows_a_smaller_queue_unless_code_sets_it() {
    // ENV-4, BSP-5
    const B: &str = "OTEL_BSP_MAX_EXPORT_BATCH_SIZE";
    let sizes = |b: OtlpBuilder| {
        let config = b.resolve().unwrap();
        (config.batch.max_export_batch_size, config.warnings.len())
    };
    assert_eq!(sizes(on(&[]).with_max_queue_size(100)), (100, 0));
    assert_eq!(sizes(on(&[(B, "300")]).with_max_queue_size(100)), (100, 1));
    assert_eq!(sizes(on(&[(B, "30")]).with_max_queue_size(100)), (30, 0));
    for builder in [
        on(&[])
            .with_max_queue_size(100)
            .with_max_export_batch_size(101),
        on(&[])
            .with_max_export_batch_size(512)
            .with_max_queue_size(100),
        on(&[]).configure(|c| {
            c.batch.max_queue_size = 100;
            c.batch.max_export_batch_size = 101;
        }),
    ] {
        let error = builder.resolve().unwrap_err().to_string();
        assert!(error.starts_with("batch.max_export_batch_size"), "{error}");
    }
    let zero = on(&[]).with_max_queue_size(0).resolve().unwrap_err();
    assert!(
        zero.to_string().starts_with("batch.max_queue_size"),
        "{zero}"
    );
}

#[test]
fn a_bad_header_is_an_error_that_hides_the_value() {
    for (name, value) in [
        ("bad name", "s3cret"),
        ("", "s3cret"),
        ("api-key", "s3cret\r\nevil: 1"),
        ("api-key", "s3cret\u{e9}"),
        ("Content-Type", "s3cret"),
        ("grpc-timeout", "s3cret"),
    ] {
        let builder = builder().without_env().with_header(name, value);
        assert!(!format!("{builder:?}").contains("s3cret"));
        let error = builder.resolve().unwrap_err();
        assert!(error.is_config());
        let message = format!("{error} {error:?}");
        assert!(message.starts_with("connection.headers = "), "{message}");
        assert!(!message.contains("s3cret"), "{message}");
    }
}

#[test]
fn values_are_checked_after_all_edits() {
    let builder = builder().without_env().with_max_concurrent_exports(0);
    assert!(builder.resolve().unwrap_err().is_config());
    let mended = super::builder()
        .without_env()
        .with_max_concurrent_exports(0)
        .with_max_concurrent_exports(2);
    assert_eq!(
        mended.resolve().unwrap().connection.max_concurrent_exports,
        2
    );
    let nameless = super::builder()
        .without_env()
        .with_resource_attribute("", 1);
    assert!(nameless.resolve().unwrap_err().is_config());
}

#[test]
fn a_resource_is_merged_over_what_was_said() {
    // RES-3
    let given = Resource::new([KeyValue::new("a", "new"), KeyValue::new("b", "")])
        .with_schema_url("https://mine");
    let config = on(&[("OTEL_RESOURCE_ATTRIBUTES", "a=old,c=kept")])
        .with_resource(given)
        .with_resource_attribute("b", "later")
        .resolve()
        .unwrap();
    assert_eq!(config.resource.schema_url, "https://mine");
    let resource = Resource::new(config.resource.attributes);
    let found: Vec<_> = resource.iter().collect();
    let (new, later, kept) = ("new".into(), "later".into(), "kept".into());
    assert_eq!(found, [("a", &new), ("b", &later), ("c", &kept)]);
}

#[test]
fn every_switch_changes_one_setting() {
    type Set = fn(OtlpBuilder, bool) -> OtlpBuilder;
    type Get = fn(&OtlpConfig) -> bool;
    let switches: &[(Set, Get)] = &[
        // CODE-1
        (|b, on| b.with_location(on), |c| c.capture.location),
        (|b, on| b.with_target(on), |c| c.capture.target),
        (|b, on| b.with_threads(on), |c| c.capture.threads),
        (|b, on| b.with_level(on), |c| c.capture.level),
        (
            |b, on| b.with_tracked_inactivity(on),
            |c| c.capture.tracked_inactivity,
        ),
        (
            |b, on| b.with_error_fields_to_exceptions(on),
            |c| c.capture.error_fields_to_exceptions,
        ),
        (
            |b, on| b.with_error_events_to_status(on),
            |c| c.capture.error_events_to_status,
        ),
        (
            |b, on| b.with_error_events_to_exceptions(on),
            |c| c.capture.error_events_to_exceptions,
        ),
        (
            |b, on| b.with_error_records_to_exceptions(on),
            |c| c.capture.error_records_to_exceptions,
        ),
        (|b, on| b.with_end_on_close(on), |c| c.capture.end_on_close),
        (
            |b, on| b.with_scope_per_target(on),
            |c| c.capture.scope_per_target,
        ),
        (
            |b, on| b.configure(move |c| c.resource.instance_id = on),
            |c| c.resource.instance_id,
        ),
        (
            |b, on| b.configure(move |c| c.resource.process = on),
            |c| c.resource.process,
        ),
        (
            |b, on| b.configure(move |c| c.resource.executable_path = on),
            |c| c.resource.executable_path,
        ),
        (
            |b, on| b.configure(move |c| c.resource.command_args = on),
            |c| c.resource.command_args,
        ),
        (
            |b, on| b.configure(move |c| c.resource.host = on),
            |c| c.resource.host,
        ),
        (
            |b, on| b.configure(move |c| c.resource.os = on),
            |c| c.resource.os,
        ),
    ];
    let read = |b: OtlpBuilder| {
        let config = b.resolve().unwrap();
        switches
            .iter()
            .map(|(_, get)| get(&config))
            .collect::<Vec<_>>()
    };
    let defaults = read(builder().without_env());
    for (i, (set, _)) in switches.iter().enumerate() {
        let mut expected = defaults.clone();
        expected[i] = !expected[i];
        let changed = set(builder().without_env(), expected[i]);
        assert_eq!(read(changed), expected, "switch {i}");
    }
}

#[test]
fn the_rest_of_the_methods_set_what_they_say() {
    let config = builder()
        .without_env()
        .with_connect_timeout(Duration::from_secs(1))
        .configure(|c| c.connection.max_request_size = 2)
        .configure(|c| c.connection.max_response_size = 3)
        .with_user_agent_prefix("shop/1.2")
        .with_max_memory(1 << 20)
        .with_shutdown_timeout(Duration::from_secs(4))
        .with_worker_threads(5)
        .configure(|c| c.worker.thread_name = "w".to_owned())
        .configure(|c| c.worker.stack_size = Some(6 << 20))
        .with_instrumentation_scope("scope", "")
        .with_open_spans_after(Duration::from_secs(7))
        .resolve()
        .unwrap();
    let mut expected = OtlpConfig::default();
    expected.connection.connect_timeout = Duration::from_secs(1);
    expected.connection.max_request_size = 2;
    expected.connection.max_response_size = 3;
    expected.connection.user_agent_prefix = Some("shop/1.2".to_owned());
    expected.batch.max_memory = 1 << 20;
    expected.batch.shutdown_timeout = Duration::from_secs(4);
    expected.worker.threads = Some(5);
    expected.worker.thread_name = "w".to_owned();
    expected.worker.stack_size = Some(6 << 20);
    expected.capture.scope_name = "scope".to_owned();
    expected.capture.scope_version = None;
    expected.capture.open_spans_after = Some(Duration::from_secs(7));
    assert_eq!(config, expected);

    let mut retry = config.connection.retry.clone();
    retry.max_attempts = 1;
    let mut limits = config.limits.clone();
    limits.link_count_limit = 1;
    let b = builder().without_env().with_retry(retry.clone());
    let config = b.with_span_limits(limits.clone()).resolve().unwrap();
    assert_eq!((config.connection.retry, config.limits), (retry, limits));
}

/// Run by the test below, in a process with a variable of its own.
#[test]
#[ignore = "needs OTEL_BSP_MAX_QUEUE_SIZE=4321"]
fn child_reads_the_environment() {
    let read = builder().resolve().unwrap();
    assert_eq!(read.batch.max_queue_size, 4321);
    let not_read = builder().without_env().resolve().unwrap();
    assert_eq!(not_read.batch.max_queue_size, 65_536);
}

#[test]
fn the_environment_is_read_unless_told_otherwise() {
    let child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--ignored",
            "--exact",
            "builder::tests::child_reads_the_environment",
        ])
        .env("OTEL_BSP_MAX_QUEUE_SIZE", "4321")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success(), "{said}");
    assert!(said.contains("1 passed"), "{said}");
}

/// Words of `text` that start with `prefix`.
fn words<'a>(text: &'a str, prefix: &str) -> BTreeSet<&'a str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with(prefix) && word.len() > prefix.len())
        .collect()
}

#[test]
fn the_page_on_configuration_names_every_method_and_variable() {
    let root = env!("CARGO_MANIFEST_DIR");
    let read = |path: &str| std::fs::read_to_string(format!("{root}/{path}")).unwrap();
    let page = read("docs/configuration.md");
    let files = ["mod.rs", "settings.rs", "capture.rs", "destinations.rs"];
    let code = files
        .map(|file| read(&format!("src/builder/{file}")))
        .concat();
    let methods: BTreeSet<_> = code
        .lines()
        .filter_map(|line| line.trim().strip_prefix("pub fn "))
        .filter_map(|line| line.split(['(', '<']).next())
        .filter(|name| name.starts_with("with_"))
        .collect();
    assert!(methods.len() > 40);
    assert_eq!(words(&page, "with_"), methods);

    let mut variables = words(&page, "OTEL_");
    variables.retain(|v| !v.ends_with('_'));
    let files = [
        "config/env.rs",
        "config/env/logs.rs",
        "config/env/metrics.rs",
        "init/filter.rs",
    ];
    let source = files.map(|file| read(&format!("src/{file}"))).concat();
    let in_code = words(&source, "OTEL_").into_iter();
    let in_code: BTreeSet<_> = in_code.filter(|v| !v.ends_with('_')).collect();
    assert_eq!(variables, in_code);
}
