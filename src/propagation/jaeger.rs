//! Jaeger's own format, deprecated: `uber-trace-id` and `uberctx-*`.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use super::header::UBER_TRACE_ID;
use super::{Extractor, Injector, Propagator, adopt, short};
use crate::context::{Baggage, BaggageMember, TraceContext, TraceFlags};
use crate::text::trim_blanks;

/// Jaeger's `uber-trace-id`, and its baggage in `uberctx-*`: `jaeger` in `OTEL_PROPAGATORS`. Deprecated
/// by OpenTelemetry: Jaeger's clients read W3C's headers since 2022.
///
/// Ids may lack leading zeros. The debug flag is kept ([`TraceFlags::DEBUG`]) and implies sampled. Names
/// of baggage are in lower case if the carrier is HTTP or the environment, and in the environment a `-` in
/// them becomes a `_`. The baggage of a request is added to that of the parent.
#[derive(Debug, Clone, Copy, Default)]
pub struct JaegerPropagator;

impl Propagator for JaegerPropagator {
    fn inject(&self, cx: &TraceContext, carrier: &mut dyn Injector) {
        if cx.is_valid() {
            let flags = match cx.flags() {
                flags if flags.is_debug() => SAMPLED | DEBUG,
                flags => u8::from(flags.is_sampled()),
            };
            let (trace, span) = (cx.trace_id(), cx.span_id());
            carrier.set(UBER_TRACE_ID, &format!("{trace}:{span}:0:{flags:x}"));
        }
        // The same members and bounds as W3C's header.
        let sent = Baggage::parse(&cx.baggage().to_header());
        for BaggageMember { name, value, .. } in sent.iter() {
            let value = utf8_percent_encode(value, NO_VALUE).to_string();
            carrier.set(&format!("{BAGGAGE_PREFIX}{name}"), &value);
        }
    }

    fn extract(&self, parent: TraceContext, carrier: &dyn Extractor) -> TraceContext {
        let baggage = baggage(parent.baggage(), carrier);
        let parent = parent.with_baggage(baggage);
        match carrier.get(UBER_TRACE_ID).and_then(short).and_then(parse) {
            Some((trace_id, span_id, flags)) => {
                adopt(parent, trace_id, span_id, flags).unwrap_or_else(|p| p)
            }
            None => parent,
        }
    }

    fn fields(&self) -> Vec<&'static str> {
        vec![UBER_TRACE_ID]
    }
}

/// The most headers that are searched for baggage.
const MOST_ENTRIES: usize = 1024;

const BAGGAGE_PREFIX: &str = "uberctx-";
const BAGGAGE_VARIABLE: &str = "UBERCTX_";

const SAMPLED: u8 = 1;
const DEBUG: u8 = 2;

const NO_VALUE: &AsciiSet = &CONTROLS.add(b'%').add(b' ').add(b',').add(b';');

fn parse(text: &str) -> Option<([u8; 16], [u8; 8], TraceFlags)> {
    let text = trim_blanks(text);
    if text.contains('%') {
        let decoded = text.replace("%3A", ":").replace("%3a", ":");
        return parse_plain(&decoded);
    }
    parse_plain(text)
}

fn parse_plain(text: &str) -> Option<([u8; 16], [u8; 8], TraceFlags)> {
    let mut parts = text.split(':');
    let trace_id = number(parts.next()?, 32)?.to_be_bytes();
    let span_id = u64::try_from(number(parts.next()?, 16)?).ok()?;
    number(parts.next()?, 16)?;
    let bits = number(parts.next()?, 2)? as u8;
    if parts.next().is_some() {
        return None;
    }
    let flags = match bits {
        bits if bits & DEBUG != 0 => TraceFlags::DEBUG,
        bits if bits & SAMPLED != 0 => TraceFlags::SAMPLED,
        _ => TraceFlags::default(),
    };
    Some((trace_id, span_id.to_be_bytes(), flags))
}

/// At most `digits` hexadecimal digits, in upper or lower case.
fn number(text: &str, digits: usize) -> Option<u128> {
    let is_number =
        (1..=digits).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
    is_number
        .then(|| u128::from_str_radix(text, 16).ok())
        .flatten()
}

/// The parent's baggage and that of the request, up to the bounds.
fn baggage(old: &Baggage, carrier: &dyn Extractor) -> Baggage {
    let mut all = old.clone();
    let (mut bytes, mut looked_at) = (0, 0);
    for key in carrier.keys() {
        let Some(name) = baggage_name(key) else {
            continue;
        };
        looked_at += 1;
        // `get` may search the whole carrier, so the number of lookups is bounded.
        if looked_at > MOST_ENTRIES || all.len() >= Baggage::MAX_MEMBERS {
            break;
        }
        // A value beyond ASCII should be encoded.
        let Some(value) = carrier.get(key) else {
            continue;
        };
        let length = name.len() + value.len() + 1;
        if bytes + length > Baggage::MAX_BYTES || !value.is_ascii() {
            continue;
        }
        bytes += length;
        all = all.with(&name, &percent_decode_str(value).decode_utf8_lossy());
    }
    all
}

/// The name of the baggage member in a carrier's field, if it is one.
fn baggage_name(key: &str) -> Option<Cow<'_, str>> {
    let (prefix, name) = key.split_at_checked(BAGGAGE_PREFIX.len())?;
    if name.is_empty() {
        None
    } else if prefix.eq_ignore_ascii_case(BAGGAGE_PREFIX) {
        Some(Cow::Borrowed(name))
    } else if prefix == BAGGAGE_VARIABLE {
        // Reverses the environment's upper case (ENVC-1); `_` for `-` cannot be reversed.
        Some(Cow::Owned(name.to_ascii_lowercase()))
    } else {
        None
    }
}
