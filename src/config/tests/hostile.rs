//! No value of any variable panics, breaks the build, shows a secret or forges a line of a log.

use std::ffi::OsString;

use proptest::prelude::*;

use super::{OtlpConfig, VARIABLES, read, warned_settings};

const NASTY: &[&str] = &[
    "-1",
    "NaN",
    "1e308",
    "99999999999999999999999999",
    "0x7fffffff",
    "%",
    "%zz",
    "%00",
    "=",
    ",",
    "a=%0D%0Ainjected: 1",
    "line\nbreak",
    "\u{1b}[31mred",
    "nul\0byte",
    "💥",
    "'; rm -rf / #",
];

/// A client's key and certificate come in pairs, else `validate` rightly objects.
fn pair_of(name: &str) -> Option<String> {
    if name.ends_with("CLIENT_KEY") {
        Some(name.replace("CLIENT_KEY", "CLIENT_CERTIFICATE"))
    } else if name.ends_with("CLIENT_CERTIFICATE") {
        Some(name.replace("CLIENT_CERTIFICATE", "CLIENT_KEY"))
    } else {
        None
    }
}

fn survives(name: &str, value: OsString) {
    let pair = pair_of(name);
    let config = OtlpConfig::from_source(|asked| {
        (asked == name || Some(asked) == pair.as_deref()).then(|| value.clone())
    });
    config.validate().unwrap();
    for warning in &config.warnings {
        let line = warning.to_string();
        assert!(!line.contains(['\n', '\r', '\u{1b}', '\0']), "{line:?}");
        assert!(line.len() < 1500, "{} bytes from {name}", line.len());
    }
}

#[test]
fn nasty_values_of_every_variable() {
    for &name in VARIABLES {
        for value in NASTY {
            survives(name, value.into());
        }
        survives(name, "x".repeat(1 << 20).into());
        survives(name, "a=b,".repeat(1 << 18).into());
        survives(name, "a%3Db,".repeat(1 << 18).into());
    }
}

#[cfg(unix)]
#[test]
fn what_is_not_unicode_is_unset_and_warned_of() {
    use std::os::unix::ffi::OsStringExt;
    // The argument of a sampler that nobody named is not looked at.
    for &name in VARIABLES
        .iter()
        .filter(|v| **v != "OTEL_TRACES_SAMPLER_ARG")
        // Without metrics nothing reads their variables.
        .filter(|v| cfg!(feature = "metrics") || !v.contains("METRIC"))
    {
        let value = OsString::from_vec(b"a=\xff\xfe".to_vec());
        survives(name, value.clone());
        let mut config = OtlpConfig::from_source(|asked| (asked == name).then(|| value.clone()));
        assert_eq!(warned_settings(&config.warnings), [name]);
        config.warnings.clear();
        assert_eq!(config, OtlpConfig::default(), "{name}");
    }
}

#[test]
fn a_long_list_of_headers_takes_no_time() {
    let many: String = (0..40_000).map(|i| format!("h{i}=v,")).collect();
    let config = read(&[("OTEL_EXPORTER_OTLP_HEADERS", &many)]);
    assert_eq!(config.connection.headers.len(), 40_000);
}

/// `HeaderValue` takes it, `validate` does not: a variable must not break the build (ENV-6).
#[test]
fn a_header_that_is_not_ascii_is_left_out_and_warned_of() {
    for value in ["a=1,k=%C3%97", "a=1,k=×"] {
        survives("OTEL_EXPORTER_OTLP_HEADERS", value.into());
        let config = read(&[("OTEL_EXPORTER_OTLP_HEADERS", value)]);
        assert_eq!(config.connection.headers.len(), 1);
        assert_eq!(config.warnings.len(), 1);
    }
}

#[test]
fn header_values_show_nowhere() {
    for (variable, text) in [
        ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=s3cret"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "s3cret"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=s3cret%zz"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=s3cret%0a"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "te=s3cret,=s3cret,a b=s3cret"),
    ] {
        let config = read(&[(variable, text)]);
        let shown = format!("{config:?} {:?}", config.connection.headers);
        assert!(!shown.contains("s3cret"), "{shown}");
        for warning in &config.warnings {
            assert!(!warning.to_string().contains("s3cret"), "{warning}");
        }
    }
}

#[cfg(unix)]
#[test]
fn headers_that_are_not_unicode_show_nowhere() {
    use std::os::unix::ffi::OsStringExt;
    let config = OtlpConfig::from_source(|name| {
        (name == "OTEL_EXPORTER_OTLP_HEADERS")
            .then(|| OsString::from_vec(b"api-key=s3cret\xff".to_vec()))
    });
    assert_eq!(config.warnings.len(), 1);
    assert!(!format!("{:?}", config.warnings).contains("s3cret"));
}

#[test]
fn credentials_in_a_url_are_masked() {
    for (url, shown) in [
        ("http://me:pw@host/x", "http://[masked]@host/x"),
        ("http://p@w@host", "http://[masked]@host"),
        // It may be that a password holds the slash.
        ("http://host/a@b", "http://[masked]@b"),
        ("http:/me:pw@host", "http:/[masked]@host"),
        ("http://host/?key=pw", "http://host/?[masked]"),
    ] {
        // A variable that wants no URL, so that it is quoted.
        let config = read(&[("OTEL_BSP_SCHEDULE_DELAY", url)]);
        assert_eq!(config.warnings[0].value, shown);
        let config = read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", url)]);
        assert!(format!("{config:?}").contains(shown), "{config:?}");
    }
}

proptest! {
    #[test]
    fn any_text_in_any_variable(at in 0..VARIABLES.len(), value in ".{0,64}") {
        survives(VARIABLES[at], value.into());
    }

    /// Encoding everything that must be encoded gives back what went in (RES-4).
    #[test]
    fn encoded_attributes_come_back(key in "\\PC{1,12}", value in "\\PC{0,12}") {
        let encode = |text: &str| text.bytes().map(|b| format!("%{b:02X}")).collect::<String>();
        let text = format!("{}={}", encode(&key), encode(&value));
        let config = read(&[("OTEL_RESOURCE_ATTRIBUTES", &text)]);
        prop_assert!(config.warnings.is_empty());
        prop_assert_eq!(
            &config.resource.attributes,
            &[crate::attribute::KeyValue::new(key, value)]
        );
    }
}
