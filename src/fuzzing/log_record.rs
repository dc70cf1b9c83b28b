//! Log records: what is written is what prost reads, and what prost reads we read the same.

use opentelemetry_proto::tonic::logs::v1 as proto;
use prost::Message as _;

use super::choose::Choose;
use super::encode::attribute;
use crate::wire::bounded::Unbounded;
use crate::wire::decode::LogRecord;
use crate::wire::log_record as wire;

/// Writes a record that the bytes choose, has prost read it, and reads the bytes themselves.
pub fn log_record(bytes: &[u8]) {
    read(bytes);
    let mut choose = Choose(bytes);
    let mut ours = Vec::new();
    let mut theirs = proto::LogRecord {
        time_unix_nano: choose.number(),
        observed_time_unix_nano: choose.number(),
        ..Default::default()
    };
    wire::put_time_and_observed(
        &mut ours,
        theirs.time_unix_nano,
        theirs.observed_time_unix_nano,
    );
    let number = choose.byte() % 25;
    theirs.severity_number = number.into();
    theirs.severity_text = choose.text();
    wire::put_severity(&mut ours, number, &theirs.severity_text);
    if choose.byte() % 2 == 0 {
        let (trace_id, span_id, flags) = (choose.array(), choose.array(), choose.byte());
        wire::put_context(&mut ours, trace_id, span_id, flags);
        theirs.trace_id = trace_id.into();
        theirs.flags = flags.into();
        if span_id != [0; 8] {
            theirs.span_id = span_id.into();
        }
    }
    let body = choose.text();
    match choose.byte() % 3 {
        0 => {}
        1 => wire::put_body_str(&mut ours, &mut Unbounded, &body),
        _ => {
            let was_written = wire::put_body_fmt(&mut ours, &mut Unbounded, format_args!("{body}"));
            assert!(was_written);
        }
    }
    while !choose.0.is_empty() {
        let attribute = attribute(&mut choose, wire::LOG_ATTRIBUTE, &mut ours);
        theirs.attributes.push(attribute);
    }
    let read = proto::LogRecord::decode(&ours[..]).unwrap_or_default();
    // An empty key is written, and prost writes none.
    if theirs.attributes.iter().all(|a| !a.key.is_empty()) {
        assert_eq!(read.encoded_len(), ours.len(), "the shortest there is");
    }
    if let Some(text) = read.body.clone() {
        let expected = opentelemetry_proto::tonic::common::v1::any_value::Value::StringValue(body);
        assert_eq!(text.value, Some(expected));
    }
    theirs.body.clone_from(&read.body);
    // Compared as bytes: a number that is none equals nothing.
    assert_eq!(read.encode_to_vec(), theirs.encode_to_vec());
}

/// Reads a record; where prost can read it too, both read the same.
fn read(bytes: &[u8]) {
    let (Some(ours), Ok(theirs)) = (LogRecord::decode(bytes), proto::LogRecord::decode(bytes))
    else {
        return;
    };
    let times = (theirs.time_unix_nano, theirs.observed_time_unix_nano);
    assert_eq!((ours.unix_nanos, ours.observed_unix_nanos), times);
    assert_eq!(ours.severity_number, theirs.severity_number);
    assert_eq!(ours.severity_text, theirs.severity_text);
    assert_eq!(ours.event_name, theirs.event_name);
    assert_eq!(ours.flags, theirs.flags);
    assert_eq!(ours.dropped_attributes, theirs.dropped_attributes_count);
    assert_eq!(ours.body.is_some(), theirs.body.is_some());
    assert_eq!(ours.attributes.len(), theirs.attributes.len());
    for ((key, _), theirs) in ours.attributes.iter().zip(&theirs.attributes) {
        assert_eq!(*key, theirs.key);
    }
    let trace_id = ours.trace_id.map(Vec::from).unwrap_or_default();
    let span_id = ours.span_id.map(Vec::from).unwrap_or_default();
    assert_eq!((trace_id, span_id), (theirs.trace_id, theirs.span_id));
}
