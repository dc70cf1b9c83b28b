//! Detects misspelled variables, because a variable that no code reads has no effect.

use strsim::osa_distance;

use super::ConfigWarning;

/// The names that this crate reads.
const OURS: &[&str] = &[
    "OTEL_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
    "OTEL_BLRP_EXPORT_TIMEOUT",
    "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE",
    "OTEL_BLRP_MAX_QUEUE_SIZE",
    "OTEL_BLRP_SCHEDULE_DELAY",
    "OTEL_BSP_EXPORT_TIMEOUT",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
    "OTEL_BSP_MAX_QUEUE_SIZE",
    "OTEL_BSP_SCHEDULE_DELAY",
    "OTEL_CONFIG_FILE",
    "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
    "OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS",
    "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT",
    "OTEL_LOGS_EXPORTER",
    "OTEL_LOG_LEVEL",
    "OTEL_METRICS_EXPORTER",
    "OTEL_METRIC_EXPORT_INTERVAL",
    "OTEL_METRIC_EXPORT_TIMEOUT",
    "OTEL_PROPAGATORS",
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_RUST_TRACING_EVENTS",
    "OTEL_RUST_TRACING_FILTER",
    "OTEL_SDK_DISABLED",
    "OTEL_SEMCONV_EXCEPTION_SIGNAL_OPT_IN",
    "OTEL_SERVICE_NAME",
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
    "OTEL_SPAN_EVENT_COUNT_LIMIT",
    "OTEL_SPAN_LINK_COUNT_LIMIT",
    "OTEL_TRACES_EXPORTER",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
];

/// `OTEL_EXPORTER_OTLP_` and these, also after `TRACES_`, `METRICS_` and `LOGS_`.
const OTLP: &[&str] = &[
    "ENDPOINT",
    "PROTOCOL",
    "INSECURE",
    "CERTIFICATE",
    "CLIENT_KEY",
    "CLIENT_CERTIFICATE",
    "HEADERS",
    "COMPRESSION",
    "TIMEOUT",
];

/// The specification's names that this crate does not read.
const OTHERS: &[&str] = &[
    "OTEL_ENTITIES",
    "OTEL_EXPERIMENTAL_CONFIG_FILE",
    "OTEL_EXPORTER_JAEGER_AGENT_HOST",
    "OTEL_EXPORTER_JAEGER_AGENT_PORT",
    "OTEL_EXPORTER_JAEGER_ENDPOINT",
    "OTEL_EXPORTER_JAEGER_PASSWORD",
    "OTEL_EXPORTER_JAEGER_PROTOCOL",
    "OTEL_EXPORTER_JAEGER_TIMEOUT",
    "OTEL_EXPORTER_JAEGER_USER",
    "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
    "OTEL_EXPORTER_OTLP_METRIC_INSECURE",
    "OTEL_EXPORTER_OTLP_SPAN_INSECURE",
    "OTEL_EXPORTER_PROMETHEUS_HOST",
    "OTEL_EXPORTER_PROMETHEUS_PORT",
    "OTEL_EXPORTER_ZIPKIN_ENDPOINT",
    "OTEL_EXPORTER_ZIPKIN_TIMEOUT",
    "OTEL_METRICS_EXEMPLAR_FILTER",
    "OTEL_SEMCONV_STABILITY_OPT_IN",
];

/// The most names in the warning.
const MOST: usize = 8;

/// One warning for all misspelled names.
pub(super) fn misspelled(names: impl Iterator<Item = String>) -> Option<ConfigWarning> {
    let known = Known::new();
    let mut found: Vec<_> = names
        .filter_map(|name| Some((known.meant_by(&name)?, name)))
        .collect();
    found.sort();
    found.truncate(MOST);
    let (meant, given): (Vec<_>, Vec<_>) = found.into_iter().unzip();
    let what = match given.len() {
        0 => return None,
        1 => "no variable has this name",
        _ => "no variables have these names",
    };
    let meant = meant.join(", ");
    // A value may be a secret.
    let message = format!("{what}; did you mean {meant}?");
    Some(ConfigWarning::masked(&given.join(", "), message))
}

struct Known {
    ours: Vec<String>,
    others: Vec<String>,
}

impl Known {
    fn new() -> Self {
        let owned = |names: &[&str]| -> Vec<String> {
            names.iter().map(|name| (*name).to_owned()).collect()
        };
        let (mut ours, others) = (owned(OURS), owned(OTHERS));
        for option in OTLP {
            for signal in ["", "TRACES_", "METRICS_", "LOGS_"] {
                ours.push(format!("OTEL_EXPORTER_OTLP_{signal}{option}"));
            }
        }
        Self { ours, others }
    }

    /// The setting whose name is misspelled; `None` if a name of the specification that this crate does
    /// not read is nearer.
    fn meant_by(&self, name: &str) -> Option<String> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if name.len() > 80 || !name.chars().all(is_plain) {
            return None;
        }
        let upper = name.to_ascii_uppercase().replace('-', "_");
        // Other prefixes, such as `OTLP_`, belong to other programs.
        let is_ours = upper.starts_with("OTEL_") || upper.starts_with("OTLE_");
        if !is_ours || self.all().any(|known| known == name) {
            return None;
        }
        let nearest = |names: &[String]| {
            let nearest = names.iter().map(|known| (distance(&upper, known), known));
            nearest
                .min()
                .map(|(distance, known)| (distance, known.clone()))
        };
        let (ours, meant) = nearest(&self.ours)?;
        let (others, _) = nearest(&self.others)?;
        let is_near = ours <= if meant.len() < 16 { 2 } else { 3 };
        (is_near && ours <= others).then_some(meant)
    }

    fn all(&self) -> impl Iterator<Item = &String> {
        self.ours.iter().chain(&self.others)
    }
}

/// The edit distance in letters. A missing or an additional word counts as two.
fn distance(name: &str, known: &str) -> usize {
    match is_without_a_word(name, known) || is_without_a_word(known, name) {
        true => osa_distance(name, known).min(2),
        false => osa_distance(name, known),
    }
}

/// Whether `short` is `long` without one inner word.
fn is_without_a_word(short: &str, long: &str) -> bool {
    let (short, long): (Vec<_>, Vec<_>) = (short.split('_').collect(), long.split('_').collect());
    if short.len() + 1 != long.len() {
        return false;
    }
    let same = short.iter().zip(&long).take_while(|(a, b)| a == b).count();
    (1..short.len()).contains(&same) && short.get(same..) == long.get(same + 1..)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meant(name: &str) -> Option<String> {
        Known::new().meant_by(name)
    }

    #[test]
    fn a_name_that_was_missed_by_little_is_told() {
        for (name, expected) in [
            ("OTEL_EXPORTER_OLTP_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"),
            ("OTEL_EXPORTER_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"),
            ("OTEL_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"),
            ("OTEL_EXPORTER_OTLP_HEADER", "OTEL_EXPORTER_OTLP_HEADERS"),
            (
                "OTEL_EXPORTER_OTLP_TRACE_ENDPOINT",
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            ),
            ("OTEL_SERVICENAME", "OTEL_SERVICE_NAME"),
            ("otel_service_name", "OTEL_SERVICE_NAME"),
            ("OTEL-SERVICE-NAME", "OTEL_SERVICE_NAME"),
            ("OTEL_SERVICE_NAMES", "OTEL_SERVICE_NAME"),
            ("OTEL_RESOURCE_ATTRIBUTE", "OTEL_RESOURCE_ATTRIBUTES"),
            ("OTEL_TRACE_SAMPLER", "OTEL_TRACES_SAMPLER"),
            ("OTEL_TRACES_SAMPLER_ARGS", "OTEL_TRACES_SAMPLER_ARG"),
            ("OTEL_TRACES_EXPORTERS", "OTEL_TRACES_EXPORTER"),
            ("OTEL_PROPAGATOR", "OTEL_PROPAGATORS"),
            ("OTEL_BLRP_SCHEDULE_DELAYS", "OTEL_BLRP_SCHEDULE_DELAY"),
            (
                "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCES",
                "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
            ),
            (
                "OTEL_EXPORTER_OTLP_LOGS_ENDPONT",
                "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
            ),
        ] {
            assert_eq!(meant(name).as_deref(), Some(expected), "{name}");
        }
    }

    #[test]
    fn names_of_others_are_left_alone() {
        let known = Known::new();
        for name in known.all() {
            assert_eq!(meant(name), None, "{name}");
        }
        for name in [
            "OTEL_PYTHON_LOG_CORRELATION",
            "OTEL_NODE_RESOURCE_DETECTORS",
            "OTEL_GO_X_EXEMPLAR",
            "OTEL_JAVAAGENT_ENABLED",
            "OTEL_DOTNET_AUTO_HOME",
            // Kubernetes, of services that are named `otel` and `otel-exporter`
            "OTEL_SERVICE_HOST",
            "OTEL_SERVICE_PORT",
            "OTEL_PORT_4317_TCP",
            "OTEL_EXPORTER_PORT",
            "OTEL_EXPORTER_OTLP",
            "SERVICE_NAME",
            "PATH",
            "OTEL_",
            "OTEL_SERVICE_NAME\n",
        ] {
            assert_eq!(meant(name), None, "{name}");
        }
    }

    #[test]
    fn one_warning_tells_all_and_no_value() {
        let names = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            misspelled(names.into_iter()).map(|warning| warning.to_string())
        };
        assert_eq!(names(&["PATH", "OTEL_SERVICE_NAME"]), None);
        let one = names(&["OTEL_SERVICENAME"]).unwrap_or_default();
        assert!(one.contains("did you mean OTEL_SERVICE_NAME?"), "{one}");
        let two = names(&["OTEL_SERVICENAME", "OTEL_PROPAGATOR"]).unwrap_or_default();
        assert!(
            two.contains("OTEL_PROPAGATOR, OTEL_SERVICENAME")
                && two.contains("did you mean OTEL_PROPAGATORS, OTEL_SERVICE_NAME?"),
            "{two}"
        );
    }

    /// A variable that is read somewhere and not listed here would be called misspelled; one that is listed
    /// among those that are not read would hide its misspellings.
    #[test]
    fn every_variable_that_is_read_is_known() {
        let known = Known::new();
        let source = concat!(
            include_str!("env.rs"),
            include_str!("env/logs.rs"),
            include_str!("env/metrics.rs"),
            include_str!("../init/filter.rs")
        );
        let names = source
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .filter(|word| word.starts_with("OTEL_") && !word.ends_with('_'));
        let mut count = 0;
        for name in names {
            assert!(known.ours.iter().any(|known| known == name), "{name}");
            count += 1;
        }
        assert!(count > 40);
    }
}
