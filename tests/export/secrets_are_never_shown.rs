//! What may be a secret shows in no `Debug`, no error and no warning, and no foreign text turns the
//! direction of a line or moves a terminal's cursor.

use std::fmt::Debug;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Request};
use tracing::{info, info_span};
use tracing_otlp::export::{Batch, ConsoleExporter, Exporter, OtlpClient, Outcome};
use tracing_otlp::middleware::ClientLayer;
use tracing_otlp::propagation::Extractor;
use tracing_otlp::{DropReason, KeyValue, OtlpConfig, Resource};
use tracing_subscriber::layer::SubscriberExt as _;

const SECRET: &str = "SECRET";

#[track_caller]
fn is_hidden(text: &str) {
    assert!(!text.contains(SECRET), "{text}");
}

#[track_caller]
fn hides(value: &impl Debug) {
    is_hidden(&format!("{value:?}"));
    is_hidden(&format!("{value:#?}"));
}

fn config(variables: &[(&str, &str)]) -> OtlpConfig {
    OtlpConfig::from_source(|name| {
        let found = variables.iter().find(|(n, _)| *n == name);
        found.map(|(_, value)| value.into())
    })
}

/// What comes of such an endpoint: the configuration, and a client or an error, are looked at.
fn endpoint(variable: &str, url: &str) -> Option<tracing_otlp::Error> {
    let config = config(&[(variable, url)]);
    hides(&config);
    hides(&config.connection);
    hides(&config.metrics);
    config
        .warnings
        .iter()
        .for_each(|w| is_hidden(&w.to_string()));
    hides(&tracing_otlp::builder().with_config(config.clone()));
    match OtlpClient::new(config.connection) {
        Ok(client) => {
            hides(&client);
            None
        }
        Err(error) => {
            hides(&error);
            is_hidden(&error.to_string());
            Some(error)
        }
    }
}

#[test]
fn a_url_is_shown_without_query_and_credentials() {
    for variable in [
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    ] {
        for url in [
            "http://h:4318/v1?api_key=SECRET",
            "http://h:4317?api_key=SECRET",
            "http://h:4318/#SECRET",
            "https://user:SECRET@h",
            "https://SECRET@h:4318",
            "user:SECRET@h:4317",
        ] {
            assert!(endpoint(variable, url).is_none(), "{url}");
        }
        for url in [
            "https:/user:SECRET@h",
            "https:user:SECRET@h",
            "https//user:SECRET@h",
            "https://user:x/SECRET@h",
            "https://user:SECRET?x@h",
            "ftp://h?token=SECRET",
            "h?token=SECRET",
            "http://a b?token=SECRET",
            "http://h:99999/?token=SECRET",
        ] {
            let error = endpoint(variable, url).expect(url).to_string();
            assert!(error.contains("endpoint") && error.len() > 40, "{error}");
        }
    }
}

#[test]
fn variables_that_hold_secrets_are_told_by_position() {
    for (name, value, position, cure) in [
        (
            "OTEL_RESOURCE_ATTRIBUTES",
            "a=b,token=SECRET=x",
            "entry 2",
            "%3D",
        ),
        (
            "OTEL_RESOURCE_ATTRIBUTES",
            "a=b,c=d,SECRET",
            "entry 3",
            "key=value",
        ),
        (
            "OTEL_EXPORTER_OTLP_HEADERS",
            "a=b,authorization:SECRET",
            "entry 2",
            "name=value",
        ),
        (
            "OTEL_EXPORTER_OTLP_HEADERS",
            "authorization=SECRET%zz",
            "entry 1",
            "%25",
        ),
    ] {
        let config = config(&[(name, value)]);
        hides(&config);
        assert_eq!(config.warnings.len(), 1, "{value}");
        let text = config.warnings[0].to_string();
        is_hidden(&text);
        for part in [name, position, cure] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
    // What is good is not shown either.
    hides(&config(&[
        ("OTEL_RESOURCE_ATTRIBUTES", "token=SECRET"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=SECRET"),
    ]));
}

#[test]
fn other_types_hide_headers_queries_and_attributes() {
    let resource = Resource::new([KeyValue::new("process.command_args", SECRET)]);
    hides(&resource);
    assert!(format!("{resource:?}").contains("process.command_args"));
    let mut headers = HeaderMap::new();
    headers.insert("authorization", HeaderValue::from_static(SECRET));
    hides(&Extractor::get_all(&headers, "authorization"));
    hides(&ClientLayer::new().with_server("xds://user:SECRET@cluster"));
    let seen = Arc::new(Mutex::new(String::new()));
    let told = seen.clone();
    let layer = ClientLayer::new().with_filter(move |head| {
        *told.lock().unwrap() = format!("{head:?}");
        true
    });
    let service = tower::Layer::layer(
        &layer,
        tower::service_fn(|_: Request<String>| async {
            Ok::<_, io::Error>(http::Response::new(String::new()))
        }),
    );
    let mut request = Request::get("http://user:SECRET@h/p?q=SECRET").body(String::new());
    *request.as_mut().unwrap().headers_mut() = headers;
    let called = tower::ServiceExt::oneshot(service, request.unwrap());
    tokio_test::block_on(called).unwrap();
    let seen = seen.lock().unwrap();
    is_hidden(&seen);
    assert!(
        seen.contains("authorization") && seen.contains("/p"),
        "{seen}"
    );
}

/// Right-to-left override, an escape sequence, a zero-width space, a line.
const HOSTILE: &str = "a\u{202e}b\u{1b}[2Jc\u{200b}d\ne\u{2066}f";

#[track_caller]
fn is_visible(text: &str) {
    for c in ['\u{202e}', '\u{1b}', '\u{200b}', '\u{2066}'] {
        assert!(!text.contains(c), "{text:?}");
    }
}

#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Memory {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

#[test]
fn the_console_shows_what_cannot_be_seen() {
    let out = Memory::default();
    let (layer, guard) = tracing_otlp::builder()
        .without_env()
        .with_instrumentation_scope(HOSTILE, HOSTILE)
        .with_resource_attribute(HOSTILE, HOSTILE)
        .with_exporter(ConsoleExporter::with_writer(out.clone()))
        .build()
        .unwrap();
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
        let _span = info_span!(
            "span",
            otel.name = HOSTILE,
            otel.status_description = HOSTILE,
            key = HOSTILE
        )
        .entered();
        info!(key = HOSTILE, "{HOSTILE}");
    });
    guard.shutdown_blocking(Duration::from_secs(20)).unwrap();
    let text = out.text();
    is_visible(&text);
    assert!(text.matches("\\u{202e}").count() >= 6, "{text}");
}

/// Refuses everything with such a text.
struct Hostile;

impl Exporter for Hostile {
    type Permit = ();

    async fn ready(&self) {}

    fn send(&self, (): (), batch: Batch) -> impl Future<Output = Outcome> + Send + 'static {
        let spans = batch.item_count() as u64;
        std::future::ready(Outcome::dropped(DropReason::Refused, spans, HOSTILE))
    }
}

#[test]
fn what_an_exporter_or_endpoint_says_is_shown_as_it_is() {
    let (layer, guard) = tracing_otlp::builder()
        .without_env()
        .with_exporter(Hostile)
        .build()
        .unwrap();
    let log = Memory::default();
    let writer = log.clone();
    let fmt = tracing_subscriber::fmt::layer().with_ansi(false);
    let fmt = fmt.with_writer(move || writer.clone());
    let subscriber = tracing_subscriber::registry().with(layer).with(fmt);
    tracing::subscriber::with_default(subscriber, || drop(info_span!("span")));
    let error = guard
        .force_flush_blocking(Duration::from_secs(20))
        .unwrap_err();
    is_visible(&error.to_string());
    assert!(error.to_string().contains("\\u{202e}"), "{error}");
    let (_, text) = guard.stats().last_error.unwrap();
    is_visible(&text);
    let _ = guard.shutdown_blocking(Duration::from_secs(20));
    is_visible(&log.text());
}
