//! A request in JSON as an encoded `ExportTraceServiceRequest` or `ExportLogsServiceRequest`.
//!
//! Unknown keys and fields of `null` are ignored; integers may be numbers or texts, ids of either case. An
//! error names the key of the invalid value.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Value as Json};

use crate::text::hex;
use crate::wire::varint::{self, FIXED32, FIXED64, LEN, VARINT, tag};

/// Padding is optional, as in protobuf's own readers.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

type Object = Map<String, Json>;
type Read<T> = Result<T, String>;
type Put = fn(&mut Vec<u8>, &Object) -> Read<()>;

/// What a request in JSON holds, as encoded requests; `None`: it has no such key.
#[derive(Debug, Default)]
pub(crate) struct JsonRequest {
    /// An `ExportTraceServiceRequest`.
    pub(crate) spans: Option<Vec<u8>>,
    /// An `ExportLogsServiceRequest`.
    pub(crate) logs: Option<Vec<u8>>,
}

/// Encodes a request in JSON as protobuf; an error names the invalid key.
pub(crate) fn request_of_json(text: &str) -> Read<JsonRequest> {
    let json: Json = serde_json::from_str(text).map_err(|e| format!("no JSON: {e}"))?;
    let Json::Object(request) = json else {
        return Err("no object of JSON".to_owned());
    };
    let encoded = |key: &str, put: Put| {
        let mut out = Vec::new();
        let is_there = request.contains_key(key);
        messages(&mut out, 1, &request, key, put)?;
        Ok::<_, String>(is_there.then_some(out))
    };
    Ok(JsonRequest {
        spans: encoded("resourceSpans", resource_spans)?,
        logs: encoded("resourceLogs", resource_logs)?,
    })
}

fn resource_logs(out: &mut Vec<u8>, o: &Object) -> Read<()> {
    resource(out, o)?;
    messages(out, 2, o, "scopeLogs", scope_logs)?;
    text(out, 3, o, "schemaUrl")
}

fn scope_logs(out: &mut Vec<u8>, o: &Object) -> Read<()> {
    scope(out, o)?;
    messages(out, 2, o, "logRecords", log_record)?;
    text(out, 3, o, "schemaUrl")
}

fn log_record(out: &mut Vec<u8>, o: &Object) -> Read<()> {
    fixed64(out, 1, o, "timeUnixNano")?;
    number(out, 2, o, "severityNumber")?;
    text(out, 3, o, "severityText")?;
    message(out, 5, o, "body", any_value)?;
    messages(out, 6, o, "attributes", key_value)?;
    count(out, 7, o, "droppedAttributesCount")?;
    fixed32(out, 8, o, "flags")?;
    id::<16>(out, 9, o, "traceId")?;
    id::<8>(out, 10, o, "spanId")?;
    fixed64(out, 11, o, "observedTimeUnixNano")?;
    text(out, 12, o, "eventName")
}

fn resource(out: &mut Vec<u8>, o: &Object) -> Read<()> {
    message(out, 1, o, "resource", |out, resource| {
        messages(out, 1, resource, "attributes", key_value)?;
        count(out, 2, resource, "droppedAttributesCount")
    })
}

fn scope(out: &mut Vec<u8>, o: &Object) -> Read<()> {
    message(out, 1, o, "scope", |out, scope| {
        text(out, 1, scope, "name")?;
        text(out, 2, scope, "version")?;
        messages(out, 3, scope, "attributes", key_value)?;
        count(out, 4, scope, "droppedAttributesCount")
    })
}

fn resource_spans(out: &mut Vec<u8>, o: &Object) -> Read<()> {
    resource(out, o)?;
    messages(out, 2, o, "scopeSpans", scope_spans)?;
    text(out, 3, o, "schemaUrl")
}

fn scope_spans(out: &mut Vec<u8>, o: &Object) -> Read<()> {
    scope(out, o)?;
    messages(out, 2, o, "spans", span)?;
    text(out, 3, o, "schemaUrl")
}

fn span(out: &mut Vec<u8>, o: &Object) -> Read<()> {
    id::<16>(out, 1, o, "traceId")?;
    id::<8>(out, 2, o, "spanId")?;
    text(out, 3, o, "traceState")?;
    id::<8>(out, 4, o, "parentSpanId")?;
    text(out, 5, o, "name")?;
    number(out, 6, o, "kind")?;
    fixed64(out, 7, o, "startTimeUnixNano")?;
    fixed64(out, 8, o, "endTimeUnixNano")?;
    messages(out, 9, o, "attributes", key_value)?;
    count(out, 10, o, "droppedAttributesCount")?;
    messages(out, 11, o, "events", event)?;
    count(out, 12, o, "droppedEventsCount")?;
    messages(out, 13, o, "links", link)?;
    count(out, 14, o, "droppedLinksCount")?;
    message(out, 15, o, "status", |out, status| {
        text(out, 2, status, "message")?;
        number(out, 3, status, "code")
    })?;
    fixed32(out, 16, o, "flags")
}

fn event(out: &mut Vec<u8>, o: &Object) -> Read<()> {
    fixed64(out, 1, o, "timeUnixNano")?;
    text(out, 2, o, "name")?;
    messages(out, 3, o, "attributes", key_value)?;
    count(out, 4, o, "droppedAttributesCount")
}

fn link(out: &mut Vec<u8>, o: &Object) -> Read<()> {
    id::<16>(out, 1, o, "traceId")?;
    id::<8>(out, 2, o, "spanId")?;
    text(out, 3, o, "traceState")?;
    messages(out, 4, o, "attributes", key_value)?;
    count(out, 5, o, "droppedAttributesCount")?;
    fixed32(out, 6, o, "flags")
}

fn key_value(out: &mut Vec<u8>, o: &Object) -> Read<()> {
    text(out, 1, o, "key")?;
    message(out, 2, o, "value", any_value)
}

/// A `oneof`: a default value is written too.
fn any_value(out: &mut Vec<u8>, o: &Object) -> Read<()> {
    // serde_json bounds the recursion: it rejects more than 128 levels.
    for (key, value) in o {
        let wrong = |what: &str| Err(format!("{key}: not {what}"));
        match (&**key, value) {
            (_, Json::Null) => {}
            ("stringValue", Json::String(v)) => varint::put_bytes(out, tag(1, LEN), v.as_bytes()),
            ("stringValue", _) => return wrong("a text"),
            ("boolValue", Json::Bool(v)) => out.extend([tag(2, VARINT), u8::from(*v)]),
            ("boolValue", _) => return wrong("true or false"),
            ("intValue", v) => match integer::<i64>(v) {
                Some(v) => {
                    out.push(tag(3, VARINT));
                    varint::put(out, v as u64);
                }
                None => return wrong("an integer"),
            },
            ("doubleValue", v) => match double(v) {
                Some(v) => {
                    out.push(tag(4, FIXED64));
                    out.extend(v.to_le_bytes());
                }
                None => return wrong("a number"),
            },
            ("arrayValue", Json::Object(list)) => {
                let put: Put = |out, list| messages(out, 1, list, "values", any_value);
                nested(out, 5, list, put)?;
            }
            ("kvlistValue", Json::Object(list)) => {
                let put: Put = |out, list| messages(out, 1, list, "values", key_value);
                nested(out, 6, list, put)?;
            }
            ("arrayValue" | "kvlistValue", _) => return wrong("an object"),
            ("bytesValue", Json::String(v)) => {
                // Both base64 alphabets are read.
                let standard = v.replace('-', "+").replace('_', "/");
                match BASE64.decode(standard) {
                    Ok(bytes) => varint::put_bytes(out, tag(7, LEN), &bytes),
                    Err(_) => return wrong("base64"),
                }
            }
            ("bytesValue", _) => return wrong("base64"),
            _ => {}
        }
    }
    Ok(())
}

/// A field that is present and not null.
fn get<'a>(o: &'a Object, key: &str) -> Option<&'a Json> {
    o.get(key).filter(|v| !v.is_null())
}

fn put_tag(out: &mut Vec<u8>, number: u32, wire_type: u8) {
    varint::put(out, u64::from(number << 3 | u32::from(wire_type)));
}

fn nested(out: &mut Vec<u8>, number: u32, o: &Object, put: Put) -> Read<()> {
    let mut content = Vec::new();
    put(&mut content, o)?;
    put_tag(out, number, LEN);
    varint::put(out, content.len() as u64);
    out.extend(content);
    Ok(())
}

fn message(out: &mut Vec<u8>, number: u32, o: &Object, key: &str, put: Put) -> Read<()> {
    match get(o, key) {
        None => Ok(()),
        Some(Json::Object(o)) => nested(out, number, o, put).map_err(|e| format!("{key}.{e}")),
        Some(_) => Err(format!("{key}: not an object")),
    }
}

fn messages(out: &mut Vec<u8>, number: u32, o: &Object, key: &str, put: Put) -> Read<()> {
    let list = match get(o, key) {
        None => return Ok(()),
        Some(Json::Array(list)) => list,
        Some(_) => return Err(format!("{key}: not a list")),
    };
    for item in list {
        match item {
            Json::Object(o) => nested(out, number, o, put).map_err(|e| format!("{key}.{e}"))?,
            // An element that is no message has no meaning in protobuf.
            _ => return Err(format!("{key}: not a list of objects")),
        }
    }
    Ok(())
}

fn text(out: &mut Vec<u8>, number: u32, o: &Object, key: &str) -> Read<()> {
    match get(o, key) {
        None => Ok(()),
        Some(Json::String(text)) => {
            put_tag(out, number, LEN);
            varint::put(out, text.len() as u64);
            out.extend(text.as_bytes());
            Ok(())
        }
        Some(_) => Err(format!("{key}: not a text")),
    }
}

/// An id in hex, of either case; empty is none.
fn id<const N: usize>(out: &mut Vec<u8>, number: u32, o: &Object, key: &str) -> Read<()> {
    let id: Option<[u8; N]> = match get(o, key) {
        None => return Ok(()),
        Some(Json::String(digits)) if digits.is_empty() => return Ok(()),
        Some(Json::String(digits)) => hex::decode(digits.to_ascii_lowercase().as_bytes()),
        Some(_) => None,
    };
    let id = id.ok_or_else(|| format!("{key}: not {} digits of hex", 2 * N))?;
    put_tag(out, number, LEN);
    varint::put(out, N as u64);
    out.extend(id);
    Ok(())
}

fn integer<T: TryFrom<i128>>(json: &Json) -> Option<T> {
    let number = match json {
        Json::Number(n) => match (n.as_i64(), n.as_u64(), n.as_f64()) {
            (Some(v), _, _) => i128::from(v),
            (_, Some(v), _) => i128::from(v),
            // `1e3` is an integer too, by protobuf's mapping; beyond 53 bits it is not exact.
            (_, _, Some(v)) if v.fract() == 0.0 && v.abs() < 9e15 => v as i128,
            _ => return None,
        },
        Json::String(text) => text.parse().ok()?,
        _ => return None,
    };
    T::try_from(number).ok()
}

fn double(json: &Json) -> Option<f64> {
    match json {
        Json::Number(n) => n.as_f64(),
        Json::String(text) => match &**text {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            text => text.parse().ok().filter(|v: &f64| v.is_finite()),
        },
        _ => None,
    }
}

/// An enum or a number of 32 bits with a sign.
fn number(out: &mut Vec<u8>, field: u32, o: &Object, key: &str) -> Read<()> {
    let Some(json) = get(o, key) else {
        return Ok(());
    };
    // OTLP forbids the names of enums (LOG-73).
    let number: i32 = integer(json).ok_or_else(|| format!("{key}: not a number"))?;
    put_tag(out, field, VARINT);
    varint::put(out, i64::from(number) as u64);
    Ok(())
}

fn count(out: &mut Vec<u8>, field: u32, o: &Object, key: &str) -> Read<()> {
    let Some(json) = get(o, key) else {
        return Ok(());
    };
    let count: u32 = integer(json).ok_or_else(|| format!("{key}: not a number"))?;
    put_tag(out, field, VARINT);
    varint::put(out, count.into());
    Ok(())
}

fn fixed32(out: &mut Vec<u8>, field: u32, o: &Object, key: &str) -> Read<()> {
    let Some(json) = get(o, key) else {
        return Ok(());
    };
    let value: u32 = integer(json).ok_or_else(|| format!("{key}: not a number"))?;
    put_tag(out, field, FIXED32);
    out.extend(value.to_le_bytes());
    Ok(())
}

fn fixed64(out: &mut Vec<u8>, field: u32, o: &Object, key: &str) -> Read<()> {
    let Some(json) = get(o, key) else {
        return Ok(());
    };
    let value: u64 = integer(json).ok_or_else(|| format!("{key}: not a number"))?;
    put_tag(out, field, FIXED64);
    out.extend(value.to_le_bytes());
    Ok(())
}
