//! What code says wins over what variables say, however it is said (ENV-7).

use super::*;

#[test]
fn code_wins_over_variables() {
    // ENV-7
    let config = on(&[
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://variable"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "a=variable,b=variable"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "1"),
        ("OTEL_SERVICE_NAME", "variable"),
        ("OTEL_BSP_SCHEDULE_DELAY", "1"),
    ])
    .with_endpoint("http://code")
    .with_header("A", "code")
    .with_timeout(Duration::from_secs(2))
    .with_service_name("code")
    .resolve()
    .unwrap();
    assert_eq!(config.connection.endpoint.as_deref(), Some("http://code"));
    assert_eq!(config.connection.traces_endpoint, None);
    let headers: Vec<_> = config.connection.headers.iter().collect();
    assert_eq!(headers.len(), 2, "{headers:?}");
    assert_eq!(headers[0].1, "variable");
    assert_eq!(
        (headers[1].0.as_str(), &headers[1].1),
        ("a", &"code".parse().unwrap())
    );
    assert_eq!(config.connection.timeout, Some(Duration::from_secs(2)));
    let resource = Resource::resolve(&config.resource);
    assert_eq!(resource.get("service.name"), Some(&Value::from("code")));
    // What code does not mention stays as the variable has it.
    assert_eq!(config.batch.schedule_delay, Duration::from_millis(1));
}

#[test]
fn an_endpoint_for_traces_wins_in_either_order() {
    let one = builder().without_env();
    let one = one
        .with_endpoint("http://a")
        .with_traces_endpoint("http://t");
    let other = builder().without_env();
    let other = other
        .with_traces_endpoint("http://t")
        .with_endpoint("http://a");
    let (one, other) = (one.resolve().unwrap(), other.resolve().unwrap());
    assert_eq!(one, other);
    assert_eq!(one.connection.traces_endpoint.as_deref(), Some("http://t"));
}

/// Variables that give each signal a URL, and logs a connection of their own.
const URLS: &[(&str, &str)] = &[
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://general"),
    ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces"),
    ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://logs"),
    ("OTEL_EXPORTER_OTLP_LOGS_TIMEOUT", "1"),
    ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://metrics"),
];

#[test]
fn an_endpoint_from_code_wins_however_code_sets_it() {
    // ENV-7
    for url in ["http://code", "http://general"] {
        let by_method = on(URLS).with_endpoint(url);
        let by_edit = on(URLS).configure(move |c| c.connection.endpoint = Some(url.to_owned()));
        let mut given = from(URLS);
        given.connection.endpoint = Some(url.to_owned());
        let by_value = builder().with_config(given);
        let is_other = url != "http://general";
        for (way, builder) in [
            ("method", by_method),
            ("edit", by_edit),
            ("value", by_value),
        ] {
            // What code left as the variable has it is not from code.
            if way != "method" && !is_other {
                continue;
            }
            let config = builder.resolve().unwrap();
            let exporter = &config.connection;
            assert_eq!(
                (
                    exporter.endpoint.as_deref(),
                    exporter.traces_endpoint.as_deref()
                ),
                (Some(url), None),
                "{way}"
            );
            if way == "value" {
                continue;
            }
            // The other signals follow.
            let logs = config.logs_connection();
            assert_eq!(
                (logs.endpoint.as_deref(), logs.logs_endpoint.as_deref()),
                (Some(url), None),
                "{way}"
            );
            #[cfg(feature = "metrics")]
            {
                let metrics = config.metrics_connection();
                assert_eq!(
                    (
                        metrics.endpoint.as_deref(),
                        metrics.metrics_endpoint.as_deref()
                    ),
                    (Some(url), None),
                    "{way}"
                );
            }
        }
    }
}

#[test]
fn the_url_of_a_signal_from_code_stays_beside_an_endpoint_from_code() {
    let edited = on(URLS)
        .configure(|c| c.connection.endpoint = Some("http://code".to_owned()))
        .with_traces_endpoint("http://traces")
        .with_logs_endpoint("http://logs");
    let config = edited.resolve().unwrap();
    let traces = config.connection.traces_endpoint.as_deref();
    assert_eq!(traces, Some("http://traces"));
    let logs = config.logs_connection().logs_endpoint.as_deref();
    assert_eq!(logs, Some("http://logs"));
}

#[test]
fn a_proxy_from_code_counts_for_every_signal() {
    let config = on(URLS).with_proxy("http://proxy:3128").resolve().unwrap();
    let proxy = &config.connection.proxy;
    assert_eq!(proxy.http.as_deref(), Some("http://proxy:3128"));
    assert_eq!(&config.logs_connection().proxy, proxy);
    #[cfg(feature = "metrics")]
    assert_eq!(&config.metrics_connection().proxy, proxy);
}
