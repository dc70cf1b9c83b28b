use super::*;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

fn base(url: &str) -> ConnectionConfig {
    ConnectionConfig {
        endpoint: Some(url.to_owned()),
        ..ConnectionConfig::default()
    }
}

fn signal(url: &str) -> ConnectionConfig {
    ConnectionConfig {
        traces_endpoint: Some(url.to_owned()),
        ..ConnectionConfig::default()
    }
}

fn grpc(config: ConnectionConfig) -> ConnectionConfig {
    ConnectionConfig {
        protocol: Some(Protocol::Grpc),
        ..config
    }
}

const GRPC_METHOD: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

fn traces(config: &ConnectionConfig) -> Result<Endpoint, Error> {
    Endpoint::resolve(config, ExportSignal::Traces)
}

#[test]
fn the_other_protocol_s_port_is_doubted() {
    let doubt = |url: &str, protocol| {
        let config = ConnectionConfig {
            protocol,
            ..base(url)
        };
        port_doubt(&config).map(|warning| warning.to_string())
    };
    let http = Some(Protocol::HttpProtobuf);
    let grpc = Some(Protocol::Grpc);
    for (url, protocol, part) in [
        ("http://c:4317", http, "PROTOCOL=grpc"),
        ("https://c:4318/", grpc, "PROTOCOL=http/protobuf"),
        ("c:4318", grpc, "port 4317"),
    ] {
        let said = doubt(url, protocol).unwrap();
        assert!(said.contains(part), "{said}");
    }
    for (url, protocol) in [
        ("http://c:4317", None),
        ("http://c:4317", grpc),
        ("http://c:4318", http),
        ("http://c", grpc),
    ] {
        assert_eq!(doubt(url, protocol), None);
    }
}

#[track_caller]
fn uri(config: ConnectionConfig) -> String {
    traces(&config).unwrap().uri.to_string()
}

#[test]
fn metrics_have_a_path_a_method_and_a_url_of_their_own() {
    let uri = |config: &ConnectionConfig| {
        let endpoint = Endpoint::resolve(config, ExportSignal::Metrics).unwrap();
        endpoint.uri.to_string()
    };
    let mut config = base("http://c:4318/my");
    config.traces_endpoint = Some("http://traces/only".to_owned());
    assert_eq!(uri(&config), "http://c:4318/my/v1/metrics");
    config.metrics_endpoint = Some("http://m:1/as/it/is".to_owned());
    assert_eq!(uri(&config), "http://m:1/as/it/is");
    let method = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
    assert_eq!(uri(&grpc(config)), format!("http://m:1{method}"));
    let error = ConnectionConfig {
        metrics_endpoint: Some("ftp://m".to_owned()),
        ..ConnectionConfig::default()
    };
    let error = Endpoint::resolve(&error, ExportSignal::Metrics).unwrap_err();
    assert!(error.to_string().contains("metrics_endpoint"), "{error}");
}

#[test]
fn a_base_url_gets_the_signal_s_path_and_nothing_else_changes() {
    assert_eq!(
        uri(ConnectionConfig::default()),
        "http://localhost:4318/v1/traces"
    );
    assert_eq!(uri(base("http://c:4318")), "http://c:4318/v1/traces");
    assert_eq!(uri(base("http://c:4318/")), "http://c:4318/v1/traces");
    assert_eq!(uri(base("http://c:4318/my/")), "http://c:4318/my/v1/traces");
    assert_eq!(uri(base("http://c:4318/my")), "http://c:4318/my/v1/traces");
    assert_eq!(
        uri(base("https://c/a?key=1#x")),
        "https://c/a/v1/traces?key=1"
    );
}

#[test]
fn a_signal_s_url_is_used_as_it_is() {
    assert_eq!(
        uri(signal("http://c:4318/v1/traces")),
        "http://c:4318/v1/traces"
    );
    assert_eq!(uri(signal("http://c:4318/")), "http://c:4318/");
    assert_eq!(uri(signal("http://c:4318")), "http://c:4318/");
    assert_eq!(uri(signal("http://c/otlp/spans/")), "http://c/otlp/spans/");
}

#[test]
fn the_port_s_default_is_the_scheme_s() {
    let port = |url| traces(&signal(url)).unwrap().port;
    assert_eq!(port("http://c"), 80);
    assert_eq!(port("https://c"), 443);
    assert_eq!(port("https://[::1]"), 443);
    assert_eq!(port("http://c:8126/x"), 8126);
}

#[test]
fn grpc_is_spoken_on_its_port_unless_said_otherwise() {
    let protocol = |config| traces(&config).unwrap().protocol;
    assert_eq!(protocol(base("http://c:4317")), Protocol::Grpc);
    assert_eq!(protocol(base("http://c:4318")), Protocol::HttpProtobuf);
    assert_eq!(protocol(base("http://c")), Protocol::HttpProtobuf);
    assert_eq!(protocol(signal("http://[::1]:4317")), Protocol::Grpc);
    let http = ConnectionConfig {
        protocol: Some(Protocol::HttpProtobuf),
        ..base("http://c:4317")
    };
    assert_eq!(protocol(http), Protocol::HttpProtobuf);
}

#[test]
fn grpc_takes_host_and_port_and_its_scheme_beats_insecure() {
    let endpoint = traces(&grpc(base("c:4317"))).unwrap();
    assert!(endpoint.tls);
    let insecure = ConnectionConfig {
        insecure: true,
        ..grpc(base("c:4317"))
    };
    assert!(!traces(&insecure).unwrap().tls);
    let https = ConnectionConfig {
        insecure: true,
        ..grpc(base("https://c:4317"))
    };
    assert!(traces(&https).unwrap().tls);
    assert!(!traces(&grpc(base("http://c:4317"))).unwrap().tls);
    assert_eq!(
        uri(grpc(base("http://c:4317/ignored"))),
        format!("http://c:4317{GRPC_METHOD}")
    );
    assert_eq!(
        uri(grpc(ConnectionConfig::default())),
        format!("http://localhost:4317{GRPC_METHOD}")
    );
}

#[test]
fn an_ipv6_host_loses_its_brackets_only_where_it_is_dialled() {
    let endpoint = traces(&base("http://[::1]:4318")).unwrap();
    assert_eq!((endpoint.host.as_str(), endpoint.port), ("::1", 4318));
    assert_eq!(endpoint.uri.to_string(), "http://[::1]:4318/v1/traces");
}

#[test]
fn user_and_password_become_basic_authentication_and_show_nowhere() {
    let endpoint = traces(&base("http://us%40er:p%3Ass@c:4318/x")).unwrap();
    let header = endpoint.authorization.clone().unwrap();
    assert!(header.is_sensitive());
    let encoded = header.to_str().unwrap().strip_prefix("Basic ").unwrap();
    assert_eq!(BASE64_STANDARD.decode(encoded).unwrap(), b"us@er:p:ss");
    assert_eq!(endpoint.uri.to_string(), "http://c:4318/x/v1/traces");
    let shown = format!("{endpoint:?} {}", endpoint.address());
    assert!(!shown.contains("ss"), "{shown}");
    let header = |url: &str| traces(&base(url)).unwrap().authorization;
    assert_eq!(header("http://@c:4318"), None);
    assert_eq!(header("http://token@c").unwrap(), "Basic dG9rZW46");
    // The gRPC port is seen behind them.
    let endpoint = traces(&base("http://u:p@c:4317")).unwrap();
    assert_eq!(endpoint.protocol, Protocol::Grpc);
    assert_eq!(
        endpoint.uri.to_string(),
        format!("http://c:4317{GRPC_METHOD}")
    );
}

#[cfg(unix)]
#[test]
fn a_socket_stands_for_host_and_port() {
    for url in ["unix:/run/o.sock", "unix:///run/o.sock", "UNIX:/run/o.sock"] {
        for config in [base(url), signal(url)] {
            let endpoint = traces(&config).unwrap();
            assert_eq!(endpoint.socket, Some("/run/o.sock".into()));
            assert_eq!(endpoint.uri.to_string(), "http://localhost/v1/traces");
            assert_eq!(endpoint.address(), "unix:/run/o.sock");
            let endpoint = traces(&grpc(config)).unwrap();
            let uri = format!("http://localhost{GRPC_METHOD}");
            assert_eq!((endpoint.uri.to_string(), endpoint.tls), (uri, false));
        }
    }
    let relative = traces(&base("unix:o.sock")).unwrap().socket;
    assert_eq!(relative, Some("o.sock".into()));
    let long = format!("unix:/{}", "x".repeat(200));
    traces(&base(&long)).unwrap_err();
}

#[test]
fn what_can_t_be_used_is_named_with_the_cure() {
    for (url, cure) in [
        ("localhost:4318", "scheme"),
        ("ftp://c", "http, https or unix"),
        ("http://", "host"),
        ("http://:4318", "host"),
        ("http://c:99999", "65535"),
        ("http://c:port", "port"),
        ("http://c:0", "can't be 0"),
        ("http://a b", "host"),
        ("http://us%3Aer:secret@c:4318", "authorization header"),
        ("http://user:secret@", "host"),
        ("http://user:sec/ret@c:4318", "port"),
        ("unix:", "unix:///run/otel.sock"),
        ("unix:///", "unix:///run/otel.sock"),
        ("unix://run/otel.sock", "unix:///path"),
    ] {
        let error = traces(&base(url)).expect_err(url);
        let text = error.to_string();
        assert!(error.is_config() && text.contains(cure), "{url}: {text}");
        assert!(
            text.contains("endpoint") && !text.contains("secret"),
            "{text}"
        );
    }
}
