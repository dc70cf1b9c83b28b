//! `otel.name`, `otel.kind` and the status may change until the span closes (PAIN 35).

use crate::capture::{record, value};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use tracing::field::Empty;
use tracing::info_span;

/// TR-6: the kind is a client's or a server's where it is said, else internal.
#[test]
fn at_creation() {
    let spans = record(|| {
        let _ = info_span!(
            "plain",
            otel.name = "GET /orders",
            otel.kind = "Server",
            otel.status_code = "ERROR",
            otel.status_description = "out of stock"
        );
    });
    let span = &spans[0];
    assert_eq!(span.name, "GET /orders");
    assert_eq!(span.kind, SpanKind::Server as i32);
    let status = span.status.clone().unwrap();
    assert_eq!((status.code, status.message.as_str()), (2, "out of stock"));
    assert!(!span.attributes.iter().any(|a| a.key.starts_with("otel.")));
}

#[test]
fn recorded_after_the_first_enter_and_again() {
    let spans = record(|| {
        let span = info_span!(
            "plain",
            otel.name = Empty,
            otel.kind = "client",
            otel.status_code = Empty,
            otel.status_message = Empty
        );
        drop(span.enter());
        span.record("otel.name", "first");
        drop(info_span!(parent: &span, "child"));
        span.record("otel.name", "second");
        span.record("otel.kind", tracing::field::debug(SpanKind::Producer));
        span.record("otel.status_message", "late");
    });
    let span = crate::capture::named(&spans, "second");
    assert_eq!(span.kind, SpanKind::Producer as i32);
    let status = span.status.clone().unwrap();
    assert_eq!((status.code, status.message.as_str()), (2, "late"));
}

#[test]
fn ok_is_final_and_unset_changes_nothing_tr_7_mig_8() {
    let spans = record(|| {
        let ok = info_span!(
            "ok",
            otel.status_code = "ok",
            otel.status_description = Empty
        );
        ok.record("otel.status_code", "error");
        ok.record("otel.status_description", "ignored");
        ok.in_scope(|| tracing::error!("later"));
        let error = info_span!("error", otel.status_code = "error");
        error.record("otel.status_code", "unset");
        error.record("otel.status_code", "what?");
    });
    let ok = crate::capture::named(&spans, "ok").status.clone().unwrap();
    assert_eq!((ok.code, ok.message.as_str()), (1, ""));
    assert_eq!(
        crate::capture::named(&spans, "error")
            .status
            .clone()
            .unwrap()
            .code,
        2
    );
}

#[test]
fn defaults_and_nonsense() {
    let spans = record(|| {
        drop(info_span!("default"));
        drop(info_span!(
            "nonsense",
            otel.kind = "sideways",
            otel.status_code = "great"
        ));
    });
    for span in &spans {
        assert_eq!(span.kind, SpanKind::Internal as i32, "{}", span.name);
        assert_eq!(span.status, None, "{}", span.name);
    }
    assert_eq!(value(&spans[1].attributes, "otel.kind"), None);
}
