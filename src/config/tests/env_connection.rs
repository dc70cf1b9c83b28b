//! The variables of the connection.

use super::env::check;
use super::read;
use crate::config::Pem;

#[test]
fn protocols_and_compressions() {
    // ENV-6, for protocols and compressions
    const S: &str = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL";
    const G: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";
    check(
        |c| format!("{:?}", c.connection.protocol),
        &[
            (&[], "None", &[]),
            (&[(G, "grpc")], "Some(Grpc)", &[]),
            (&[(G, "HTTP/Protobuf")], "Some(HttpProtobuf)", &[]),
            (&[(S, "grpc"), (G, "http/protobuf")], "Some(Grpc)", &[]),
            (&[(G, "http/JSON")], "Some(HttpJson)", &[]),
            (&[(S, "http/json"), (G, "grpc")], "Some(HttpJson)", &[]),
            (&[(G, "http")], "None", &[G]),
            (&[(S, "x"), (G, "y")], "None", &[S, G]),
        ],
    );
    const CS: &str = "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION";
    const CG: &str = "OTEL_EXPORTER_OTLP_COMPRESSION";
    check(
        |c| format!("{:?}", c.connection.compression),
        &[
            (&[(CG, "GZIP")], "Gzip", &[]),
            (&[(CS, "none"), (CG, "gzip")], "None", &[]),
            (&[(CS, ""), (CG, "gzip")], "Gzip", &[]),
            (&[(CG, "zstd")], "Zstd", &[]),
            (&[(CG, "brotli")], "None", &[CG]),
        ],
    );
    let wrong = read(&[(G, "http/xml")]).warnings[0].to_string();
    assert!(wrong.contains("`http/protobuf` or `http/json`"), "{wrong}");
}

#[test]
fn endpoints_stay_apart() {
    let config = read(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", " http://base:4318/my/ "),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://traces/x"),
    ]);
    let exporter = config.connection;
    assert_eq!(exporter.endpoint.as_deref(), Some("http://base:4318/my/"));
    assert_eq!(
        exporter.traces_endpoint.as_deref(),
        Some("https://traces/x")
    );
}

#[test]
fn files() {
    let config = read(&[
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/etc/ca.pem"),
        ("OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", "/etc/key.pem"),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/etc/other.pem"),
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "chain.pem"),
    ]);
    let exporter = config.connection;
    assert_eq!(exporter.certificate, Some(Pem::File("/etc/ca.pem".into())));
    assert_eq!(exporter.client_key, Some(Pem::File("/etc/key.pem".into())));
    assert_eq!(
        exporter.client_certificate,
        Some(Pem::File("chain.pem".into()))
    );
}

#[test]
fn headers() {
    const S: &str = "OTEL_EXPORTER_OTLP_TRACES_HEADERS";
    const G: &str = "OTEL_EXPORTER_OTLP_HEADERS";
    check(
        |c| {
            let pairs = c.connection.headers.iter();
            let pairs = pairs.map(|(k, v)| format!("{k}: {}", v.to_str().unwrap()));
            pairs.collect::<Vec<_>>().join(" | ")
        },
        &[
            (&[(G, "Api-Key=abc")], "api-key: abc", &[]),
            (&[(G, " a = 1 ,, b=x%20y,")], "a: 1 | b: x y", &[]),
            (&[(G, "a=b=c==")], "a: b=c==", &[]),
            (&[(G, "a=")], "a: ", &[]),
            (&[(G, "a=1,b=2,A=3")], "a: 3 | b: 2", &[]),
            // Properties are not supported: part of the value.
            (&[(G, "a=1;p=2")], "a: 1;p=2", &[]),
            // The signal's list replaces the general one whole.
            (&[(S, "a=1"), (G, "b=2")], "a: 1", &[]),
            (&[(S, "nonsense"), (G, "b=2")], "b: 2", &[S]),
            (&[(G, "a=1,nonsense,b=%zz,c=3")], "a: 1 | c: 3", &[G]),
            (&[(G, "a=100%")], "", &[G]),
            (&[(G, "a=%ff")], "", &[G]),
            (&[(G, "=x")], "", &[G]),
            (&[(G, "bad name=x,ok=y")], "ok: y", &[G]),
            (&[(G, "a=1%0d%0aevil: 2")], "", &[G]),
            (&[(G, "content-type=text/plain,grpc-timeout=1S")], "", &[G]),
        ],
    );
}
