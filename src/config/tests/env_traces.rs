//! The variables of traces: sampler, exporter, propagators.

use super::env::check;
use super::read;
use crate::config::TracesExporterKind;

#[test]
fn sampler() {
    const S: &str = "OTEL_TRACES_SAMPLER";
    const A: &str = "OTEL_TRACES_SAMPLER_ARG";
    check(
        |c| format!("{:?}", c.sampler),
        &[
            (&[], "ParentBasedAlwaysOn", &[]),
            (&[(A, "0.5")], "ParentBasedAlwaysOn", &[]),
            (&[(S, " Always_Off ")], "AlwaysOff", &[]),
            (&[(S, "always_on"), (A, "nonsense")], "AlwaysOn", &[]),
            (
                &[(S, "parentbased_always_off")],
                "ParentBasedAlwaysOff",
                &[],
            ),
            (&[(S, "traceidratio")], "TraceIdRatio(1.0)", &[]),
            (
                &[(S, "traceidratio"), (A, "0.25")],
                "TraceIdRatio(0.25)",
                &[],
            ),
            (
                &[(S, "parentbased_traceidratio"), (A, "0")],
                "ParentBasedTraceIdRatio(0.0)",
                &[],
            ),
            (
                &[(S, "traceidratio"), (A, "1.5")],
                "TraceIdRatio(1.0)",
                &[A],
            ),
            (
                &[(S, "traceidratio"), (A, "NaN")],
                "TraceIdRatio(1.0)",
                &[A],
            ),
            (
                &[(S, "traceidratio"), (A, "half")],
                "TraceIdRatio(1.0)",
                &[A],
            ),
            (&[(S, "jaeger_remote")], "ParentBasedAlwaysOn", &[S]),
            (
                &[(S, "parentbased_jaeger_remote"), (A, "endpoint=http://x")],
                "ParentBasedAlwaysOn",
                &[S],
            ),
            (&[(S, "xray"), (A, "0.5")], "ParentBasedAlwaysOn", &[S]),
            (
                &[(S, "traceidratio"), (A, "1e-3")],
                "TraceIdRatio(0.001)",
                &[],
            ),
            (&[(S, "everything")], "ParentBasedAlwaysOn", &[S]),
        ],
    );
}

#[test]
fn a_sampler_that_cannot_be_used_is_named_with_what_is_used_instead() {
    // ENV-6
    for (variables, value, instead) in [
        (
            &[("OTEL_TRACES_SAMPLER", "xray")][..],
            "xray",
            "parentbased_always_on",
        ),
        (
            &[
                ("OTEL_TRACES_SAMPLER", "traceidratio"),
                ("OTEL_TRACES_SAMPLER_ARG", "10%"),
            ],
            "10%",
            "1 is used",
        ),
    ] {
        let config = read(variables);
        let [warning] = config.warnings.as_slice() else {
            panic!("{:?}", config.warnings);
        };
        assert_eq!(warning.value, value);
        assert!(warning.message.contains(instead), "{warning}");
    }
}

#[test]
fn exporters() {
    // ENV-6
    const V: &str = "OTEL_TRACES_EXPORTER";
    check(
        |c| format!("{:?}", c.traces_exporter),
        &[
            (&[(V, "otlp")], "Otlp", &[]),
            (&[(V, "Console")], "Console", &[]),
            (&[(V, "NONE")], "None", &[]),
            (&[(V, "none,")], "None", &[]),
            (&[(V, "console, console")], "Console", &[]),
            (&[(V, "console,otlp")], "Console", &[V]),
            (&[(V, "zipkin,none")], "None", &[V]),
            (&[(V, "zipkin")], "Otlp", &[V]),
            (&[(V, "logging")], "Otlp", &[V]),
            (&[(V, ",,")], "Otlp", &[]),
        ],
    );
    // The viewer by a variable alone is for builds with debug assertions.
    #[cfg(feature = "viewer")]
    match cfg!(debug_assertions) {
        true => check(
            |c| format!("{:?}", c.traces_exporter),
            &[(&[(V, "viewer")], "Viewer", &[])],
        ),
        false => {
            let config = read(&[(V, "viewer")]);
            assert_eq!(config.traces_exporter, TracesExporterKind::Otlp);
            let warning = config.warnings[0].to_string();
            assert!(warning.contains("tracing_otlp::viewer()"), "{warning}");
        }
    }
    let config = read(&[(V, "Jaeger")]);
    assert_eq!(config.traces_exporter, TracesExporterKind::Otlp);
    assert_eq!(config.warnings[0].value, "Jaeger", "the original value");
}

#[test]
fn propagators() {
    // PROP-2, ENV-2, ENV-6
    const V: &str = "OTEL_PROPAGATORS";
    check(
        |c| format!("{:?}", c.propagators),
        &[
            (&[], "None", &[]),
            (&[(V, "tracecontext")], "Some([TraceContext])", &[]),
            (
                &[(V, "tracecontext,baggage")],
                "Some([TraceContext, Baggage])",
                &[],
            ),
            (
                &[(V, " b3 ,B3Multi, JAEGER,xray,,")],
                "Some([B3, B3Multi, Jaeger, XRay])",
                &[],
            ),
            (&[(V, "b3,b3,B3")], "Some([B3])", &[]),
            (&[(V, "none")], "Some([])", &[]),
            (&[(V, "None,")], "Some([])", &[]),
            (&[(V, "none,b3")], "Some([B3])", &[V]),
            (&[(V, "ottrace")], "None", &[V]),
            (&[(V, "ottrace,none")], "Some([])", &[V]),
            (&[(V, "ottrace,b3,nobody")], "Some([B3])", &[V]),
            (&[(V, ",,")], "None", &[]),
        ],
    );
    let config = read(&[(V, "b3,OTtrace")]);
    let warning = config.warnings[0].to_string();
    assert!(warning.contains("\"OTtrace\" is not"), "{warning}");
}
