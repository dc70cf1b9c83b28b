//! What each variable does with good, empty, odd and bad values, and which of two wins.

use std::time::Duration;

use super::{OtlpConfig, VARIABLES, read, warned_settings};

/// Each line: variables, what the setting must then be, and which variables must be warned of.
pub(super) fn check(
    setting: fn(&OtlpConfig) -> String,
    cases: &[(Variables, &'static str, Warned)],
) {
    for &(variables, expected, warned) in cases {
        let config = read(variables);
        assert_eq!(setting(&config), expected, "{variables:?}");
        assert_eq!(warned_settings(&config.warnings), warned, "{variables:?}");
    }
}

type Variables = &'static [(&'static str, &'static str)];
type Warned = &'static [&'static str];

#[test]
fn nothing_set_is_the_default() {
    assert_eq!(read(&[]), OtlpConfig::default());
}

#[test]
fn empty_is_unset_for_every_variable() {
    // ENV-2
    for &name in VARIABLES {
        for blank in ["", " ", "\t\n"] {
            assert_eq!(read(&[(name, blank)]), OtlpConfig::default(), "{name}");
        }
    }
}

#[test]
fn booleans() {
    // ENV-3
    const V: &str = "OTEL_SDK_DISABLED";
    check(
        |c| c.disabled.to_string(),
        &[
            (&[(V, "true")], "true", &[]),
            (&[(V, "TRUE")], "true", &[]),
            (&[(V, " True\n")], "true", &[]),
            (&[(V, "false")], "false", &[]),
            (&[(V, "FALSE")], "false", &[]),
            (&[(V, "1")], "false", &[V]),
            (&[(V, "yes")], "false", &[V]),
            (&[(V, "truee")], "false", &[V]),
            (&[(V, "true false")], "false", &[V]),
        ],
    );
    const S: &str = "OTEL_EXPORTER_OTLP_TRACES_INSECURE";
    const G: &str = "OTEL_EXPORTER_OTLP_INSECURE";
    check(
        |c| c.connection.insecure.to_string(),
        &[
            (&[(G, "true")], "true", &[]),
            (&[(S, "true"), (G, "false")], "true", &[]),
            (&[(S, "false"), (G, "true")], "false", &[]),
            // Any other value *is* false, not unset: plaintext needs a clear word.
            (&[(S, "on"), (G, "true")], "false", &[S]),
        ],
    );
}

#[test]
fn durations_and_timeouts() {
    // ENV-4, ENV-5
    const D: &str = "OTEL_BSP_SCHEDULE_DELAY";
    check(
        |c| format!("{:?}", c.batch.schedule_delay),
        &[
            (&[(D, "200")], "200ms", &[]),
            (&[(D, " 200 ")], "200ms", &[]),
            (&[(D, "0")], "0ns", &[]),
            (&[(D, "-1")], "5s", &[D]),
            (&[(D, "1.5")], "5s", &[D]),
            (&[(D, "5s")], "5s", &[D]),
            (&[(D, "1e3")], "5s", &[D]),
            (&[(D, "0x10")], "5s", &[D]),
            (&[(D, "31536000001")], "5s", &[D]),
            (&[(D, "18446744073709551616")], "5s", &[D]),
        ],
    );
    const T: &str = "OTEL_BSP_EXPORT_TIMEOUT";
    check(
        |c| format!("{:?}", c.batch.export_timeout),
        &[
            (&[(T, "1")], "Some(1ms)", &[]),
            (&[(T, "0")], "None", &[]),
            (&[(T, "2147483647")], "Some(2147483.647s)", &[]),
            (&[(T, "-0.5")], "Some(30s)", &[T]),
            (&[(T, "∞")], "Some(30s)", &[T]),
        ],
    );
    const S: &str = "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT";
    const G: &str = "OTEL_EXPORTER_OTLP_TIMEOUT";
    check(
        |c| format!("{:?}", c.connection.timeout),
        &[
            (&[(G, "0")], "None", &[]),
            (&[(S, "0"), (G, "7")], "None", &[]),
            (&[(S, "-7"), (G, "7")], "Some(7ms)", &[S]),
            (&[(S, "-7"), (G, "x")], "Some(10s)", &[S, G]),
        ],
    );
}

#[test]
fn queue_and_batch_sizes() {
    // ENV-4, BSP-5
    const Q: &str = "OTEL_BSP_MAX_QUEUE_SIZE";
    const B: &str = "OTEL_BSP_MAX_EXPORT_BATCH_SIZE";
    check(
        |c| {
            format!(
                "{}/{}",
                c.batch.max_export_batch_size, c.batch.max_queue_size
            )
        },
        &[
            (&[], "2048/65536", &[]),
            (&[(Q, "2048")], "2048/2048", &[]),
            (&[(Q, "2147483647")], "2048/2147483647", &[]),
            (&[(Q, "2147483648")], "2048/65536", &[Q]),
            (&[(Q, "0")], "2048/65536", &[Q]),
            (&[(Q, "-5")], "2048/65536", &[Q]),
            (&[(B, "1")], "1/65536", &[]),
            (&[(B, "0")], "2048/65536", &[B]),
            (&[(B, "65536")], "65536/65536", &[]),
            (&[(B, "65537")], "2048/65536", &[B]),
            (&[(Q, "600"), (B, "700")], "600/600", &[B]),
            (&[(Q, "100"), (B, "700")], "100/100", &[B]),
            // Nobody asked for 2,048 spans: no warning.
            (&[(Q, "100")], "100/100", &[]),
            (&[(Q, "x"), (B, "700")], "700/65536", &[Q]),
        ],
    );
}

#[test]
fn limits() {
    // LIM-1: the model's limit, else the general one, else the default
    const SL: &str = "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT";
    const GL: &str = "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT";
    check(
        |c| format!("{:?}", c.limits.attribute_value_length_limit),
        &[
            (&[], "None", &[]),
            (&[(GL, "0")], "Some(0)", &[]),
            (&[(SL, "9"), (GL, "5")], "Some(9)", &[]),
            (&[(SL, "-1"), (GL, "5")], "Some(5)", &[SL]),
            (&[(SL, "-1")], "None", &[SL]),
        ],
    );
    const S: &str = "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT";
    const E: &str = "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT";
    const L: &str = "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT";
    const G: &str = "OTEL_ATTRIBUTE_COUNT_LIMIT";
    check(
        |c| {
            let l = &c.limits;
            format!(
                "{} {} {}",
                l.attribute_count_limit, l.attributes_per_event_limit, l.attributes_per_link_limit
            )
        },
        &[
            (&[(G, "7")], "7 7 7", &[]),
            (&[(S, "1"), (E, "2"), (L, "3"), (G, "7")], "1 2 3", &[]),
            (&[(S, "0")], "0 128 128", &[]),
            (&[(S, "1"), (E, "many"), (G, "7")], "1 7 7", &[E]),
            // Read for three settings, said once.
            (&[(G, "-7")], "128 128 128", &[G]),
        ],
    );
    const EV: &str = "OTEL_SPAN_EVENT_COUNT_LIMIT";
    const LI: &str = "OTEL_SPAN_LINK_COUNT_LIMIT";
    check(
        |c| {
            format!(
                "{} {}",
                c.limits.event_count_limit, c.limits.link_count_limit
            )
        },
        &[
            (&[(EV, "3"), (LI, "0")], "3 0", &[]),
            (&[(EV, "1e3"), (LI, "+4")], "128 4", &[EV]),
            (&[(G, "7")], "128 128", &[]),
        ],
    );
}

#[test]
fn resource_attributes() {
    // RES-4, and the name's own variable wins
    const A: &str = "OTEL_RESOURCE_ATTRIBUTES";
    const N: &str = "OTEL_SERVICE_NAME";
    check(
        |c| {
            let pairs = c.resource.attributes.iter();
            let pairs = pairs.map(|a| match &a.value {
                crate::attribute::Value::String(v) => format!("{}={v}", a.key),
                other => panic!("{other:?}"),
            });
            pairs.collect::<Vec<_>>().join(" | ")
        },
        &[
            (&[(A, "a=1,b=")], "a=1 | b=", &[]),
            (&[(A, " a = x y , b = 2 ,")], "a=x y | b=2", &[]),
            (&[(A, "k%2C%3d=v%2Cw%25")], "k,==v,w%", &[]),
            (
                &[(A, "stadt=K%C3%B6ln,ort=Köln")],
                "stadt=Köln | ort=Köln",
                &[],
            ),
            (&[(A, "a=1+2")], "a=1+2", &[]),
            (
                &[(A, "service.name=low"), (N, "high")],
                "service.name=low | service.name=high",
                &[],
            ),
            // One error spoils the whole.
            (&[(A, "a=1,b")], "", &[A]),
            (&[(A, "a=1,=2")], "", &[A]),
            (&[(A, "a=1,b=2=3")], "", &[A]),
            (&[(A, "a=1,b=%2")], "", &[A]),
            (&[(A, "a=1,b=%ZZ")], "", &[A]),
            (&[(A, "a=1,b=%C3")], "", &[A]),
            (&[(A, "%20%=1")], "", &[A]),
            (&[(A, "b"), (N, "shop")], "service.name=shop", &[A]),
        ],
    );
}

/// CFG-1.
#[test]
fn a_configuration_file_is_refused_aloud() {
    let config = read(&[("OTEL_CONFIG_FILE", "otel.yaml")]);
    assert_eq!(warned_settings(&config.warnings), ["OTEL_CONFIG_FILE"]);
}

#[test]
fn a_year_is_the_longest_duration() {
    let config = read(&[("OTEL_BSP_SCHEDULE_DELAY", "31536000000")]);
    assert_eq!(
        config.batch.schedule_delay,
        Duration::from_secs(365 * 86_400)
    );
    assert!(config.validate().is_ok());
}
