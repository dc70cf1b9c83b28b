//! Parses texts of variables by the specification's rules. Pure: no I/O; an unusable text results in
//! a message that names the cure.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Uri};
use percent_encoding::percent_decode_str;
use tracing_core::LevelFilter;

use super::request_header;
use crate::attribute::KeyValue;
#[cfg(feature = "metrics")]
use crate::config::MetricsTemporality;
use crate::config::{
    Compression, EventRule, Events, LogsExporterKind, PropagatorKind, Protocol, SamplerConfig,
    TracesExporterKind,
};

/// Why a text is unusable, and a usable one; completes the sentence "… is ignored: ".
pub(crate) type Cure = String;

/// The largest integer a variable may hold (ENV-4 asks for at least this much).
pub(crate) const MAX_INTEGER: usize = i32::MAX as usize;

/// The longest duration: 365 days. It keeps every sum of an instant and a setting in range.
pub(crate) const MAX_DURATION: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Only `true` in any case is true (ENV-3); `Err` for a text that is neither `true` nor `false`: the
/// caller takes it as false.
pub(crate) fn boolean(text: &str) -> Result<bool, Cure> {
    if text.eq_ignore_ascii_case("true") {
        Ok(true)
    } else if text.eq_ignore_ascii_case("false") {
        Ok(false)
    } else {
        Err("neither `true` nor `false`; it counts as `false`".to_owned())
    }
}

/// An integer from 0 to 2³¹−1 (ENV-4).
pub(crate) fn integer(text: &str) -> Result<usize, Cure> {
    match text.parse() {
        Ok(n) if n <= MAX_INTEGER => Ok(n),
        _ => Err(format!("not an integer from 0 to {MAX_INTEGER}")),
    }
}

/// An integer from 1 to 2³¹−1 (ENV-4).
pub(crate) fn positive(text: &str) -> Result<usize, Cure> {
    match integer(text) {
        Ok(n) if n > 0 => Ok(n),
        _ => Err(format!("not an integer from 1 to {MAX_INTEGER}")),
    }
}

/// Milliseconds, none of them negative (ENV-5).
pub(crate) fn duration(text: &str) -> Result<Duration, Cure> {
    match text.parse().map(Duration::from_millis) {
        Ok(d) if d <= MAX_DURATION => Ok(d),
        _ => Err(format!(
            "not whole milliseconds from 0 to {}",
            MAX_DURATION.as_millis()
        )),
    }
}

/// Milliseconds, of which 0 means no limit: `None` (ENV-5).
pub(crate) fn timeout(text: &str) -> Result<Option<Duration>, Cure> {
    duration(text).map(|d| (!d.is_zero()).then_some(d))
}

/// `grpc`, `http/protobuf` or `http/json`, in any case (ENV-6).
pub(crate) fn protocol(text: &str) -> Result<Protocol, Cure> {
    let known = [
        ("grpc", Protocol::Grpc),
        ("http/protobuf", Protocol::HttpProtobuf),
        ("http/json", Protocol::HttpJson),
    ];
    let why = "not a known protocol; use `grpc`, `http/protobuf` or `http/json`";
    one_of(text, &known).ok_or_else(|| why.to_owned())
}

/// The levels of the specification's SDKs, under the names that they have in any of them.
pub(crate) fn log_level(text: &str) -> Result<LevelFilter, Cure> {
    let known = [
        ("none", LevelFilter::OFF),
        ("off", LevelFilter::OFF),
        ("error", LevelFilter::ERROR),
        ("warn", LevelFilter::WARN),
        ("warning", LevelFilter::WARN),
        ("info", LevelFilter::INFO),
        ("debug", LevelFilter::DEBUG),
        ("trace", LevelFilter::TRACE),
        ("verbose", LevelFilter::TRACE),
        ("all", LevelFilter::TRACE),
    ];
    one_of(text, &known).ok_or_else(|| {
        "not a level; `info` is used instead; use one of `none`, `error`, `warn`, `info`".to_owned()
    })
}

/// A sampler of the specification, in any case (ENV-6); a ratio is 1 until its argument is read.
pub(crate) fn sampler(text: &str) -> Result<SamplerConfig, Cure> {
    let known = [
        ("always_on", SamplerConfig::AlwaysOn),
        ("always_off", SamplerConfig::AlwaysOff),
        ("traceidratio", SamplerConfig::TraceIdRatio(1.0)),
        ("parentbased_always_on", SamplerConfig::ParentBasedAlwaysOn),
        (
            "parentbased_always_off",
            SamplerConfig::ParentBasedAlwaysOff,
        ),
        (
            "parentbased_traceidratio",
            SamplerConfig::ParentBasedTraceIdRatio(1.0),
        ),
    ];
    one_of(text, &known).ok_or_else(|| {
        let names: Vec<_> = known.iter().map(|(name, _)| format!("`{name}`")).collect();
        format!(
            "not a sampler that is supported; `parentbased_always_on` is used instead; use one of {}",
            names.join(", ")
        )
    })
}

/// A number from 0 to 1.
pub(crate) fn ratio(text: &str) -> Result<f64, Cure> {
    match text.parse::<f64>() {
        Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(ratio),
        _ => Err("not a number from 0 to 1; 1 is used instead".to_owned()),
    }
}

/// `none`, `gzip` or, our own, `zstd`, in any case (ENV-6).
pub(crate) fn compression(text: &str) -> Result<Compression, Cure> {
    let known = [
        ("none", Compression::None),
        ("gzip", Compression::Gzip),
        ("zstd", Compression::Zstd),
    ];
    let cure = "not a known compression; use `none`, `gzip` or `zstd`";
    one_of(text, &known).ok_or_else(|| cure.to_owned())
}

/// The URL of a proxy of HTTP; without a scheme it is `http://`.
pub(crate) fn proxy(text: &str) -> Result<String, Cure> {
    let cure = "not the URL of a proxy; use one such as `http://proxy:3128`";
    let uri: Uri = text.parse().map_err(|_| cure.to_owned())?;
    if !matches!(uri.scheme_str(), None | Some("http" | "https")) {
        return Err("only proxies of `http://` and `https://` are supported".to_owned());
    }
    match uri.authority() {
        Some(authority) if !authority.host().is_empty() => Ok(text.to_owned()),
        _ => Err(cure.to_owned()),
    }
}

const EXPORTERS: &str = match (cfg!(feature = "viewer"), cfg!(feature = "file")) {
    (false, false) => "`otlp`, `console` and `none`",
    (true, false) => "`otlp`, `console`, `viewer` and `none`",
    (false, true) => "`otlp`, `otlp/stdout`, `console` and `none`",
    (true, true) => "`otlp`, `otlp/stdout`, `console`, `viewer` and `none`",
};

const LOGS_EXPORTERS: &str = match cfg!(feature = "file") {
    false => "`otlp`, `console` and `none`",
    true => "`otlp`, `otlp/stdout`, `console` and `none`",
};

/// Whether a variable alone may open the viewer's port: not in production, where the person who sets
/// variables may not be allowed to read traces.
#[cfg(feature = "viewer")]
const MAY_SHOW: bool = cfg!(debug_assertions);

/// The first known exporter of a comma-separated list, and a message on the entries skipped (ENV-6).
pub(crate) fn traces_exporter(text: &str) -> (Option<TracesExporterKind>, Option<Cure>) {
    let known = [
        ("otlp", TracesExporterKind::Otlp),
        ("console", TracesExporterKind::Console),
        ("none", TracesExporterKind::None),
        #[cfg(feature = "viewer")]
        ("viewer", TracesExporterKind::Viewer),
        #[cfg(feature = "file")]
        ("otlp/stdout", TracesExporterKind::OtlpStdout),
    ];
    let mut chosen = None;
    let (mut unknown, mut surplus) = (false, false);
    #[cfg_attr(not(feature = "viewer"), allow(unused_mut))]
    let mut refused = false;
    for entry in list(text) {
        match (one_of(entry, &known), chosen) {
            #[cfg(feature = "viewer")]
            (Some(TracesExporterKind::Viewer), _) if !MAY_SHOW => refused = true,
            (None, _) => unknown = true,
            (Some(exporter), None) => chosen = Some(exporter),
            (Some(exporter), Some(first)) => surplus |= exporter != first,
        }
    }
    let complaint = match (unknown, surplus) {
        _ if refused => Some(
            "a release build shows traces only where its code says so: \
             `builder().with_exporter(tracing_otlp::viewer().build()?)`"
                .into(),
        ),
        (true, _) => Some(format!("not a known exporter; use one of {EXPORTERS}")),
        (false, true) => Some("spans go to one exporter; the first one is taken".into()),
        (false, false) => None,
    };
    (chosen, complaint)
}

/// Whether metrics are exported.
#[cfg(feature = "metrics")]
pub(crate) fn metrics_exporter(text: &str) -> Result<bool, Cure> {
    let mut entries = list(text);
    let known = [("otlp", true), ("none", false)];
    let chosen = entries.find_map(|entry| one_of(entry, &known));
    chosen.ok_or_else(|| "metrics go to an OTLP endpoint: use `otlp` or `none`".into())
}

/// The first known exporter of logs in a comma-separated list.
pub(crate) fn logs_exporter(text: &str) -> Result<LogsExporterKind, Cure> {
    let known = [
        ("otlp", LogsExporterKind::Otlp),
        ("console", LogsExporterKind::Console),
        ("none", LogsExporterKind::None),
        #[cfg(feature = "file")]
        ("otlp/stdout", LogsExporterKind::OtlpStdout),
    ];
    let chosen = list(text).find_map(|entry| one_of(entry, &known));
    chosen.ok_or_else(|| format!("not a known exporter; use one of {LOGS_EXPORTERS}"))
}

/// The handling of events, and rules for some of them: `span_events,warn=both,shop::cart=debug=logs`. The
/// more specific rule comes first.
pub(crate) fn event_rules(text: &str) -> Result<(Option<Events>, Vec<EventRule>), Cure> {
    let (mut all, mut rules) = (None, Vec::new());
    for entry in text.split(',').map(str::trim) {
        let Some((place, kind)) = entry.rsplit_once('=') else {
            all = Some(events(entry)?);
            continue;
        };
        let (target, level) = place.rsplit_once('=').unwrap_or(("", place));
        let (target, level) = (target.trim(), level.trim());
        // `LevelFilter` parses an empty text as `error`.
        let level = level
            .parse::<LevelFilter>()
            .ok()
            .filter(|_| !level.is_empty());
        let level =
            level.ok_or("name a level before `=`: error, warn, info, debug or trace".to_owned())?;
        let rule = EventRule::new(target.to_owned(), level, events(kind)?);
        rules.push(((target.len(), level), rule));
    }
    // Of one target the more severe level first.
    rules.sort_by(|((a, x), _), ((b, y), _)| b.cmp(a).then(x.cmp(y)));
    Ok((all, rules.into_iter().map(|(_, rule)| rule).collect()))
}

/// The signals of exceptions: a list, of which `logs/dup` wins. Values that belong to no such choice are other
/// instrumentations'.
pub(crate) fn exception_signals(text: &str) -> Result<Events, Cure> {
    let names = |name: &str| {
        text.split(',')
            .any(|part| part.trim().eq_ignore_ascii_case(name))
    };
    match (names("logs/dup"), names("logs")) {
        (true, _) => Ok(Events::AsBoth),
        (false, true) => Ok(Events::AsLogs),
        (false, false) => Err("name `logs`, or `logs/dup` for span events too".to_owned()),
    }
}

/// The handling of events; case does not matter.
fn events(text: &str) -> Result<Events, Cure> {
    let known = [
        ("span_events", Events::AsSpanEvents),
        ("logs", Events::AsLogs),
        ("both", Events::AsBoth),
    ];
    one_of(text, &known).ok_or_else(|| "use `span_events`, `logs` or `both`".into())
}

/// A temporality of metrics, in any case.
#[cfg(feature = "metrics")]
pub(crate) fn temporality(text: &str) -> Result<MetricsTemporality, Cure> {
    let known = [
        ("cumulative", MetricsTemporality::Cumulative),
        ("delta", MetricsTemporality::Delta),
        ("lowmemory", MetricsTemporality::LowMemory),
    ];
    one_of(text, &known).ok_or_else(|| "use `cumulative`, `delta` or `lowmemory`".into())
}

/// The propagators of a comma-separated list, each once, and a message on the entries skipped
/// (ENV-6). `none` alone is an empty list; beside others it is ignored.
pub(crate) fn propagators(text: &str) -> (Option<Vec<PropagatorKind>>, Option<Cure>) {
    let known = [
        ("tracecontext", Some(PropagatorKind::TraceContext)),
        ("baggage", Some(PropagatorKind::Baggage)),
        ("b3", Some(PropagatorKind::B3)),
        ("b3multi", Some(PropagatorKind::B3Multi)),
        ("jaeger", Some(PropagatorKind::Jaeger)),
        ("xray", Some(PropagatorKind::XRay)),
        ("none", None),
    ];
    let mut chosen = Vec::new();
    let mut unknown: Option<&str> = None;
    let mut none = false;
    for entry in list(text) {
        match one_of(entry, &known) {
            None => unknown = unknown.or(Some(entry)),
            Some(None) => none = true,
            Some(Some(kind)) if chosen.contains(&kind) => {}
            Some(Some(kind)) => chosen.push(kind),
        }
    }
    let complaint = match unknown {
        Some(entry) => {
            let names: Vec<_> = known.iter().map(|(name, _)| format!("`{name}`")).collect();
            // Escaped, and bounded to the length of a name.
            let entry: String = entry.chars().take(40).collect();
            Some(format!(
                "{entry:?} is not a propagator that is supported; use {}",
                names.join(", ")
            ))
        }
        None if none && !chosen.is_empty() => {
            Some("`none` beside others says nothing; the others are used".to_owned())
        }
        None => None,
    };
    ((none || !chosen.is_empty()).then_some(chosen), complaint)
}

/// `name=value,name=value`, values percent-decoded. Usable entries are used; the message names the
/// others by position, never by content, which may be secret. Of one name the last value counts.
#[allow(
    clippy::type_complexity,
    reason = "a pair of results, named nowhere else"
)]
pub(crate) fn headers(text: &str) -> (Vec<(HeaderName, HeaderValue)>, Option<Cure>) {
    let mut headers: Vec<(HeaderName, HeaderValue)> = Vec::new();
    let mut places: HashMap<HeaderName, usize> = HashMap::new();
    let mut complaint = None;
    let mut bad = 0usize;
    for (i, entry) in list(text).enumerate() {
        match header_entry(entry) {
            Ok((name, value)) => {
                let place = *places.entry(name.clone()).or_insert(headers.len());
                match headers.get_mut(place) {
                    Some(earlier) => earlier.1 = value,
                    None => headers.push((name, value)),
                }
            }
            Err(why) => {
                bad += 1;
                complaint.get_or_insert_with(|| format!("entry {} is left out: {why}", i + 1));
            }
        }
    }
    if bad > 1 {
        complaint = complaint.map(|first| format!("{first} (and {} more)", bad - 1));
    }
    (headers, complaint)
}

fn header_entry(entry: &str) -> Result<(HeaderName, HeaderValue), Cure> {
    let (name, value) = entry
        .split_once('=')
        .ok_or("it has no `=`; write `name=value`")?;
    let value = decode(value.trim_ascii())
        .ok_or("its value is not percent-encoded UTF-8; write `%` as `%25`")?;
    request_header::checked(name.trim_ascii(), &value)
}

/// `key=value,key=value`, both percent-decoded. One error discards the whole list (RES-4).
pub(crate) fn resource_attributes(text: &str) -> Result<Vec<KeyValue>, Cure> {
    list(text)
        .enumerate()
        .map(|(i, entry)| {
            attribute(entry).map_err(|why| {
                format!(
                    "entry {} {why}, so the whole list is discarded; write \
                     `key=value,key=value` with `,` `=` `%` as `%2C` `%3D` `%25`",
                    i + 1
                )
            })
        })
        .collect()
}

fn attribute(entry: &str) -> Result<KeyValue, &'static str> {
    let (key, value) = entry.split_once('=').ok_or("has no `=`")?;
    if value.contains('=') {
        return Err("has a second `=`");
    }
    let not_encoded = "is not percent-encoded UTF-8";
    let key = decode(key.trim_ascii()).ok_or(not_encoded)?;
    let value = decode(value.trim_ascii()).ok_or(not_encoded)?;
    if key.is_empty() {
        return Err("has an empty key");
    }
    Ok(KeyValue::new(key.into_owned(), value.into_owned()))
}

/// The entries of a comma-separated list. Empty ones are skipped, as in HTTP's lists.
pub(super) fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(str::trim_ascii)
        .filter(|entry| !entry.is_empty())
}

fn one_of<T: Copy>(text: &str, known: &[(&str, T)]) -> Option<T> {
    known
        .iter()
        .find(|(name, _)| text.eq_ignore_ascii_case(name))
        .map(|&(_, value)| value)
}

/// `None` if a `%` is not followed by two hexadecimal digits, or the result is not UTF-8.
fn decode(text: &str) -> Option<Cow<'_, str>> {
    let well_formed = text.split('%').skip(1).all(|after| {
        let mut digits = after.bytes();
        let mut digit = || digits.next().is_some_and(|b| b.is_ascii_hexdigit());
        digit() && digit()
    });
    if !well_formed {
        return None;
    }
    percent_decode_str(text).decode_utf8().ok()
}
