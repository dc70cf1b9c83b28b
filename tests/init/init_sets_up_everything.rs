//! One call sets up a filter, lines with trace ids and OTLP, from variables alone. In children, because a
//! global subscriber stays.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "../support/child.rs"]
mod child;

use tracing::{debug, info, info_span};
use tracing_otlp::testing::Collector;

#[test]
fn a_span_arrives_and_its_lines_say_which_trace_log_4() {
    const TEST: &str = "a_span_arrives_and_its_lines_say_which_trace_log_4";
    if child::role().is_some() {
        let guard = tracing_otlp::init().unwrap();
        info_span!("work").in_scope(|| {
            info!("hello");
            debug!("too detailed");
        });
        // A second one says why it can't be.
        let twice = tracing_otlp::init().unwrap_err().to_string();
        assert!(twice.contains("call init() once"), "{twice}");
        // Dropped at the end of `main`, it flushes.
        drop(guard);
        return;
    }
    let collector = Collector::start();
    let said = child::run_with(
        TEST,
        "the application",
        &[
            ("RUST_LOG", ""),
            ("OTEL_SERVICE_NAME", "shop"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.http_endpoint()),
        ],
    )
    .well();
    let [span] = collector.expect_names(["work"]);
    assert_eq!(span.resource["service.name"].as_str(), Some("shop"));
    assert_eq!(span.events.len(), 1);
    let line = said.lines().find(|line| line.contains("hello")).unwrap();
    let (trace, id) = (span.trace_id, span.span_id);
    let ids = format!("trace_id={trace} span_id={id}");
    assert!(line.contains(&ids), "{line} {ids}");
    assert!(!said.contains("too detailed"));
}

#[test]
fn a_setting_that_cannot_be_used_is_an_error_with_the_cure() {
    const TEST: &str = "a_setting_that_cannot_be_used_is_an_error_with_the_cure";
    if child::role().is_some() {
        let error = tracing_otlp::init().unwrap_err();
        assert!(error.is_config());
        // `main` prints an error's Debug: it reads like its Display.
        let (text, debug) = (error.to_string(), format!("{error:?}"));
        assert!(
            debug.starts_with(&text) && !debug.contains("Config {"),
            "{debug}"
        );
        assert!(
            text.contains("RUST_LOG") && text.contains("shop=loud"),
            "{text}"
        );
        return;
    }
    child::run_with(TEST, "the application", &[("RUST_LOG", "shop=loud")]).well();
}

/// It changes nothing: no thread is started, no propagator is set.
#[test]
fn a_second_global_subscriber_is_refused_before_anything_is_set() {
    const TEST: &str = "a_second_global_subscriber_is_refused_before_anything_is_set";
    if child::role().is_some() {
        use tracing_otlp::propagation::Propagator as _;
        use tracing_subscriber::util::SubscriberInitExt as _;
        tracing_subscriber::registry().init();
        let before = tracing_otlp::propagation::global().fields();
        let b3 = tracing_otlp::config::PropagatorKind::B3;
        let error = tracing_otlp::subscriber()
            .with_otlp(|otlp| otlp.with_propagators([b3]))
            .init()
            .unwrap_err();
        assert!(error.is_subscriber() && !error.is_worker(), "{error}");
        let after = tracing_otlp::propagation::global().fields();
        assert_eq!(before, after);
        return;
    }
    child::run_with(TEST, "the application", &[]).well();
}

/// The subscriber of a thread, as a test has it, is no obstacle.
#[test]
fn a_subscriber_of_the_thread_is_no_global_one() {
    const TEST: &str = "a_subscriber_of_the_thread_is_no_global_one";
    if child::role().is_some() {
        let _of_thread = tracing::subscriber::set_default(tracing_subscriber::registry());
        drop(tracing_otlp::init().unwrap());
        return;
    }
    child::run_with(TEST, "the application", &[]).well();
}

#[test]
fn quiet_lines_keep_the_traces_and_what_the_pipeline_reports() {
    const TEST: &str = "quiet_lines_keep_the_traces_and_what_the_pipeline_reports";
    if child::role().is_some() {
        let guard = tracing_otlp::subscriber()
            .with_service_name("shop")
            .init()
            .unwrap();
        info_span!("work").in_scope(|| {
            info!("too quiet for a line");
            tracing::warn!("a line");
        });
        tracing::debug_span!("too detailed").in_scope(|| {});
        drop(guard);
        return;
    }
    for quiet in ["warn", "init_sets_up_everything=warn"] {
        let collector = Collector::start();
        let endpoint = collector.http_endpoint();
        let said = child::run_with(
            TEST,
            "the application",
            &[
                ("RUST_LOG", quiet),
                ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
            ],
        )
        .well();
        let [span] = collector.expect_names(["work"]);
        let events: Vec<_> = span.events.iter().map(|e| e.name.as_str()).collect();
        assert_eq!(events, ["too quiet for a line", "a line"]);
        assert!(
            said.contains("a line") && !said.contains("too quiet"),
            "{said}"
        );
        assert!(!said.contains('\u{1b}'), "no terminal, no colours: {said}");
    }
    let dead = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let said = child::run_with(
        TEST,
        "the application",
        &[
            ("RUST_LOG", "app=info"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &dead),
        ],
    )
    .well();
    assert!(
        said.contains("WARN") && said.contains("tracing_otlp"),
        "{said}"
    );
}

#[test]
fn spans_have_a_filter_of_their_own() {
    const TEST: &str = "spans_have_a_filter_of_their_own";
    if child::role().is_some() {
        let guard = tracing_otlp::init().unwrap();
        info_span!("hidden").in_scope(|| {
            tracing::warn_span!("shown").in_scope(|| info!("a line all the same"));
        });
        drop(guard);
        return;
    }
    let collector = Collector::start();
    let endpoint = collector.http_endpoint();
    let said = child::run_with(
        TEST,
        "the application",
        &[
            ("RUST_LOG", "info"),
            ("OTEL_RUST_TRACING_FILTER", "warn"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
        ],
    )
    .well();
    let [span] = collector.expect_names(["shown"]);
    assert!(span.events.is_empty() && span.parent_span_id.is_none());
    assert!(said.contains("a line all the same"), "{said}");
}

#[test]
fn a_warning_about_a_setting_is_never_lost() {
    const TEST: &str = "a_warning_about_a_setting_is_never_lost";
    if child::role().is_some() {
        let guard = tracing_otlp::init().unwrap();
        info_span!("work").in_scope(|| info!("hello"));
        drop(guard);
        return;
    }
    let collector = Collector::start();
    let endpoint = collector.http_endpoint();
    for run in 0..20 {
        let said = child::run_with(
            TEST,
            "the application",
            &[
                ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
                ("OTEL_BSP_MAX_QUEUE_SIZE", "plenty"),
            ],
        )
        .well();
        assert!(
            said.contains("OTEL_BSP_MAX_QUEUE_SIZE"),
            "run {run}: {said}"
        );
    }
}
