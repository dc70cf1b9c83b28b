#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use opentelemetry_proto::tonic::common::v1::any_value;
use opentelemetry_proto::tonic::trace::v1::ResourceSpans;
use prost::Message;

use super::*;

fn config(attributes: &[(&'static str, &'static str)]) -> ResourceConfig {
    ResourceConfig {
        attributes: attributes
            .iter()
            .map(|&(key, value)| KeyValue::new(key, value))
            .collect(),
        ..ResourceConfig::default()
    }
}

fn text<'a>(resource: &'a Resource, key: &str) -> &'a str {
    match resource.get(key) {
        Some(Value::String(text)) => text,
        other => panic!("{key}: {other:?}"),
    }
}

#[test]
fn the_default_says_what_it_must() {
    // RES-1, RES-2, and RES-5: what cannot be found is left out.
    let resource = Resource::detect();
    let name = text(&resource, "service.name");
    let executable = text(&resource, "process.executable.name");
    assert_eq!(name, format!("unknown_service:{executable}"));
    assert!(executable.starts_with("tracing_otlp-"), "{executable}");
    assert_eq!(text(&resource, "telemetry.sdk.name"), "tracing-otlp");
    assert_eq!(text(&resource, "telemetry.sdk.language"), "rust");
    assert_eq!(
        text(&resource, "telemetry.sdk.version"),
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(
        resource.schema_url(),
        "https://opentelemetry.io/schemas/1.45.0"
    );
    let pid = i64::from(std::process::id());
    assert_eq!(resource.get("process.pid"), Some(&Value::Int(pid)));
    assert!(resource.get("host.arch").is_some());
    assert!(resource.get("os.type").is_some());
    #[cfg(target_os = "linux")]
    assert!(!text(&resource, "host.name").is_empty());
}

#[test]
fn what_may_be_secret_is_asked_for() {
    // RES-7
    let quiet = Resource::detect();
    assert_eq!(quiet.get("process.command_args"), None);
    assert_eq!(quiet.get("process.executable.path"), None);
    let config = ResourceConfig {
        command_args: true,
        executable_path: true,
        ..ResourceConfig::default()
    };
    let open = Resource::resolve(&config);
    let path = text(&open, "process.executable.path");
    assert!(path.ends_with(text(&open, "process.executable.name")));
    match open.get("process.command_args") {
        Some(Value::Array(args)) => assert_eq!(args.len(), std::env::args().len()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_group_can_be_switched_off() {
    let config = ResourceConfig {
        instance_id: false,
        process: false,
        host: false,
        os: false,
        ..ResourceConfig::default()
    };
    let resource = Resource::resolve(&config);
    let keys: Vec<_> = resource.iter().map(|(key, _)| key).collect();
    assert_eq!(
        keys,
        [
            "service.name",
            "telemetry.sdk.language",
            "telemetry.sdk.name",
            "telemetry.sdk.version"
        ]
    );
}

#[test]
fn all_pipelines_of_a_process_are_one_instance() {
    // RES-6
    let (a, b) = (Resource::detect(), Resource::detect());
    assert_eq!(
        text(&a, "service.instance.id"),
        text(&b, "service.instance.id")
    );
}

#[test]
fn what_is_said_later_wins_over_what_is_found() {
    // RES-3, RES-4
    let resource = Resource::resolve(&config(&[
        ("service.name", "from attributes"),
        ("host.name", "from attributes"),
        ("service.name", "from its own variable"),
        ("service.instance.id", "mine"),
    ]));
    assert_eq!(text(&resource, "service.name"), "from its own variable");
    assert_eq!(text(&resource, "host.name"), "from attributes");
    assert_eq!(text(&resource, "service.instance.id"), "mine");
}

#[test]
fn a_service_is_never_nameless() {
    // RES-1
    let resource = Resource::resolve(&config(&[("service.name", "")]));
    assert!(text(&resource, "service.name").starts_with("unknown_service:"));
}

#[test]
fn merging() {
    // RES-3
    let old = Resource::new([KeyValue::new("a", "old"), KeyValue::new("b", "old")]);
    let new = Resource::new([KeyValue::new("b", ""), KeyValue::new("c", "new")]);
    let merged = old.merge(&new);
    let pairs: Vec<_> = merged.iter().map(|(k, v)| (k, v.clone())).collect();
    assert_eq!(
        pairs,
        [
            ("a", Value::from("old")),
            ("b", Value::from("")),
            ("c", Value::from("new"))
        ]
    );
    for (a, b, expected) in [
        ("", "", ""),
        ("x", "", "x"),
        ("", "x", "x"),
        ("x", "x", "x"),
        ("x", "y", ""),
    ] {
        let a = old.clone().with_schema_url(a);
        let b = new.clone().with_schema_url(b);
        let merged = a.merge(&b);
        assert_eq!(merged.schema_url(), expected);
        assert_eq!(merged.iter().count(), 3);
    }
}

#[test]
fn keys_are_unique_and_not_empty() {
    // TR-8
    let resource = Resource::new([
        KeyValue::new("a", 1),
        KeyValue::new("", "nameless"),
        KeyValue::new("a", 2),
    ]);
    assert_eq!(resource.iter().collect::<Vec<_>>(), [("a", &Value::Int(2))]);
}

#[test]
fn a_peer_decodes_it() {
    let resource = Resource::new([
        KeyValue::new("empty", ""),
        KeyValue::new("flag", false),
        KeyValue::new("zero", 0),
    ])
    .with_schema_url("https://schema");
    let decoded = ResourceSpans::decode(resource.encode()).unwrap();
    assert_eq!(decoded.schema_url, "https://schema");
    assert!(decoded.scope_spans.is_empty());
    let attributes = decoded.resource.unwrap().attributes;
    let values: Vec<_> = attributes
        .into_iter()
        .map(|a| (a.key, a.value.unwrap().value.unwrap()))
        .collect();
    assert_eq!(
        values,
        [
            ("empty".into(), any_value::Value::StringValue(String::new())),
            ("flag".into(), any_value::Value::BoolValue(false)),
            ("zero".into(), any_value::Value::IntValue(0)),
        ]
    );
    // Also without anything to say, a request has a resource.
    let nothing = ResourceSpans::decode(Resource::new([]).encode()).unwrap();
    assert_eq!(nothing.resource, Some(Default::default()));
}
