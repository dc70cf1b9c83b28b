//! [`Filter`]: which traces a request for the list means.

use percent_encoding::percent_decode_str;

use super::origin::Origin;
use super::record::StoredRecord;
use super::store::Snapshot;
use crate::text;
use crate::wire::decode::{Attributes, DecodedResource, DecodedValue, Span};

/// Traces of one answer where the request does not say.
const LIMIT: usize = 100;
/// And at most.
const MOST: usize = 1_000;

/// What a trace has to be, and which page of the list is wanted. Every part that is set has to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Filter {
    pub(super) limit: usize,
    /// Only traces whose number is smaller.
    pub(super) before: u64,
    /// A service of the trace.
    service: String,
    /// Name of the root, exactly.
    name: String,
    /// Words, each somewhere in a span: its name, a key, a value, the message of its status, or an
    /// event; or the beginning of the trace's id. In lower case.
    text: Vec<String>,
    /// Key and value of attributes of a span or its resource. The value `*` is any.
    attributes: Vec<(String, String)>,
    errors: bool,
    min_nanos: u64,
    /// The least severity of a log record; of a trace, that it has such a record.
    min_severity: i32,
}

impl Filter {
    /// Reads a query string; a parameter that cannot be used is an error with its name.
    pub(super) fn parse(query: &str) -> Result<Self, String> {
        let mut filter = Self {
            limit: LIMIT,
            before: u64::MAX,
            service: String::new(),
            name: String::new(),
            text: Vec::new(),
            attributes: Vec::new(),
            errors: false,
            min_nanos: 0,
            min_severity: 0,
        };
        for (key, value) in pairs(query) {
            let wrong = |what: &str| Err(format!("{key}: not {what}"));
            match &*key {
                _ if value.is_empty() => {}
                "limit" => match value.parse() {
                    Ok(limit @ 1..=MOST) => filter.limit = limit,
                    _ => return wrong("a number from 1 to 1000"),
                },
                "before" => match value.parse() {
                    Ok(before) => filter.before = before,
                    _ => return wrong("a trace's number"),
                },
                "service" => filter.service = value,
                "name" => filter.name = value,
                "text" => filter
                    .text
                    .extend(value.to_lowercase().split_whitespace().map(str::to_owned)),
                "attr" => match value.split_once('=') {
                    Some((key, value)) if !key.trim().is_empty() => filter
                        .attributes
                        .push((key.trim().to_owned(), value.trim().to_owned())),
                    _ => return wrong("of the form key=value"),
                },
                "error" => match &*value {
                    "1" | "true" => filter.errors = true,
                    "0" | "false" => filter.errors = false,
                    _ => return wrong("true or false"),
                },
                "min_duration_ms" => match value.parse::<f64>() {
                    // A float's cast ends at the bounds.
                    Ok(ms) if ms >= 0.0 => filter.min_nanos = (ms * 1e6) as u64,
                    _ => return wrong("a number of milliseconds"),
                },
                "min_severity" => match value.parse() {
                    Ok(number @ 1..=24) => filter.min_severity = number,
                    _ => return wrong("a number from 1 to 24"),
                },
                // A misspelt parameter would show all traces as if they fitted.
                _ => return Err(format!("{key}: no such parameter")),
            }
        }
        Ok(filter)
    }

    pub(super) fn fits(&self, trace: &Snapshot) -> bool {
        let summary = &trace.summary;
        if (self.errors && summary.errors == 0)
            || summary.nanos() < self.min_nanos
            || (!self.name.is_empty() && *summary.name != *self.name)
        {
            return false;
        }
        let is_service = |origin: &Origin| *origin.service == *self.service;
        let (spans, records) = (&trace.spans, &trace.records);
        if !self.service.is_empty()
            && !spans.iter().any(|s| is_service(&s.origin))
            && !records.iter().any(|r| is_service(&r.origin))
        {
            return false;
        }
        if self.min_severity > 0 && !records.iter().any(|r| r.severity >= self.min_severity) {
            return false;
        }
        self.text.iter().all(|word| has_text(trace, word))
            && self
                .attributes
                .iter()
                .all(|(key, value)| has_attribute(trace, key, value))
    }

    /// Whether a log record of no trace is meant; names and durations of traces do not matter.
    pub(super) fn fits_record(&self, record: &StoredRecord) -> bool {
        record.severity >= self.min_severity
            && (!self.errors || record.is_error())
            && (self.service.is_empty() || *record.origin.service == *self.service)
            && self.text.iter().all(|word| record_has_text(record, word))
            && self
                .attributes
                .iter()
                .all(|(key, value)| record_has_attribute(record, key, value))
    }
}

/// The pairs of a query string, decoded.
pub(super) fn pairs(query: &str) -> impl Iterator<Item = (String, String)> + '_ {
    let decode = |text: &str| {
        let text = text.replace('+', " ");
        percent_decode_str(&text).decode_utf8_lossy().into_owned()
    };
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs.map(move |pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(key), decode(value))
    })
}

fn has_text(trace: &Snapshot, word: &str) -> bool {
    if text::hex(&trace.summary.id).starts_with(word) {
        return true;
    }
    let contains = |text: &str| text.to_lowercase().contains(word);
    let in_attributes = |list: &Attributes<'_>| {
        list.iter()
            .any(|(key, v)| contains(key) || any_text(v, &contains))
    };
    trace.spans.iter().any(|stored| {
        if contains(&stored.origin.service) {
            return true;
        }
        // Text stands in the bytes as it is; so most spans need no decoding. Words beyond ASCII may
        // differ in case there.
        if word.is_ascii() && !find_ignoring_case(&stored.bytes, word) && !may_be_number(word) {
            return false;
        }
        let span = stored.span();
        contains(span.name)
            || contains(span.status.message)
            || in_attributes(&span.attributes)
            || span
                .events
                .iter()
                .any(|e| contains(e.name) || in_attributes(&e.attributes))
    }) || trace.records.iter().any(|r| record_has_text(r, word))
}

fn record_has_text(stored: &StoredRecord, word: &str) -> bool {
    let contains = |text: &str| text.to_lowercase().contains(word);
    if contains(&stored.origin.service) {
        return true;
    }
    if word.is_ascii() && !find_ignoring_case(&stored.bytes, word) && !may_be_number(word) {
        return false;
    }
    let record = stored.record();
    let in_body = record.body.as_ref().is_some_and(|b| any_text(b, &contains));
    let mut attributes = record.attributes.iter();
    in_body
        || contains(record.severity_text)
        || contains(record.event_name)
        || attributes.any(|(key, v)| contains(key) || any_text(v, &contains))
}

fn record_has_attribute(stored: &StoredRecord, key: &str, wanted: &str) -> bool {
    let fits = |list: &Attributes<'_>| {
        let mut values = list.iter().filter(|(k, _)| *k == key);
        values.any(|(_, v)| wanted == "*" || any_text(v, &|text: &str| text == wanted))
    };
    let resource = DecodedResource::decode(&stored.origin.resource);
    resource.is_some_and(|r| fits(&r.attributes))
        || (find_ignoring_case(&stored.bytes, key) && fits(&stored.record().attributes))
}

/// Whether an encoded number or flag may read as this.
fn may_be_number(word: &str) -> bool {
    word.chars().all(|c| "0123456789.-+einftrualsx".contains(c))
}

fn find_ignoring_case(bytes: &[u8], word: &str) -> bool {
    let word = word.as_bytes();
    bytes
        .windows(word.len())
        .any(|w| w.eq_ignore_ascii_case(word))
}

fn has_attribute(trace: &Snapshot, key: &str, wanted: &str) -> bool {
    let fits = |list: &Attributes<'_>| {
        let mut values = list.iter().filter(|(k, _)| *k == key);
        values.any(|(_, v)| wanted == "*" || any_text(v, &|text: &str| text == wanted))
    };
    let mut last = None;
    trace.spans.iter().any(|stored| {
        let origin = &stored.origin;
        // Spans of one origin mostly come together.
        if last.is_none_or(|last| !std::ptr::eq(last, &**origin)) {
            last = Some(&**origin);
            let resource = DecodedResource::decode(&origin.resource);
            if resource.is_some_and(|r| fits(&r.attributes)) {
                return true;
            }
        }
        if !find_ignoring_case(&stored.bytes, key) {
            return false;
        }
        let span: Span<'_> = stored.span();
        fits(&span.attributes) || span.events.iter().any(|e| fits(&e.attributes))
    }) || trace
        .records
        .iter()
        .any(|r| record_has_attribute(r, key, wanted))
}

/// Whether a value, or one in a list, is a text that `is_it`.
fn any_text(value: &DecodedValue<'_>, is_it: &impl Fn(&str) -> bool) -> bool {
    match value {
        DecodedValue::Empty => false,
        DecodedValue::String(v) => is_it(v),
        DecodedValue::Bool(v) => is_it(if *v { "true" } else { "false" }),
        DecodedValue::Int(v) => is_it(&v.to_string()),
        DecodedValue::Double(v) => is_it(&v.to_string()),
        DecodedValue::Bytes(v) => is_it(&text::hex(v)),
        DecodedValue::Array(list) => list.iter().any(|v| any_text(v, is_it)),
        DecodedValue::Map(list) => list.iter().any(|(_, v)| any_text(v, is_it)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_and_what_is_wrong_named() {
        let filter = Filter::parse("text=Bank%20refused&attr=http.route=%2Fx&error=1&limit=5&min_duration_ms=1.5&before=9&service=a+b").unwrap();
        assert_eq!(filter.text, ["bank", "refused"]);
        assert_eq!(filter.attributes, [("http.route".into(), "/x".into())]);
        assert_eq!((filter.limit, filter.before), (5, 9));
        assert_eq!((filter.errors, filter.min_nanos), (true, 1_500_000));
        assert_eq!(filter.service, "a b");
        for wrong in [
            "limit=0",
            "limit=1001",
            "limit=x",
            "attr=x",
            "error=2",
            "min_duration_ms=-1",
            "colour=red",
            "before=-1",
            "min_severity=0",
            "min_duration_ms=NaN",
        ] {
            let error = Filter::parse(wrong).unwrap_err();
            assert!(
                error.starts_with(wrong.split('=').next().unwrap()),
                "{error}"
            );
        }
        assert_eq!(
            Filter::parse("text=&limit=&&").unwrap(),
            Filter::parse("").unwrap()
        );
    }
}
