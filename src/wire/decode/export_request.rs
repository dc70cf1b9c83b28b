//! A request taken apart into its spans or log records, for the viewer's OTLP receiver.

use crate::wire::reader::each_field;
use crate::wire::request::OPEN_SPANS;
use crate::wire::varint::{self, LEN, tag};

/// Calls `each` with the resource (encoded fields of `ResourceSpans` other than `scope_spans`), the
/// scope (those of `ScopeSpans` other than `spans`) and the encoded `Span`, for each span in order.
///
/// `None` where the bytes are no such request; spans before the fault have been given by then. The
/// spans themselves are not looked into.
pub(crate) fn each_span<'a>(
    request: &'a [u8],
    each: impl FnMut(&[u8], &[u8], &'a [u8]),
) -> Option<()> {
    each_span_below(request, 1, each)
}

/// The same for the log records of an `ExportLogsServiceRequest`, whose messages have the same numbers.
pub(crate) fn each_record<'a>(
    request: &'a [u8],
    each: impl FnMut(&[u8], &[u8], &'a [u8]),
) -> Option<()> {
    each_span_below(request, 1, each)
}

/// The same for spans that are still open, which OTLP does not have.
pub(crate) fn each_open_span<'a>(
    request: &'a [u8],
    each: impl FnMut(&[u8], &[u8], &'a [u8]),
) -> Option<()> {
    each_span_below(request, OPEN_SPANS, each)
}

fn each_span_below<'a>(
    request: &'a [u8],
    below: u32,
    mut each: impl FnMut(&[u8], &[u8], &'a [u8]),
) -> Option<()> {
    let (mut resource, mut scope) = (Vec::new(), Vec::new());
    each_field(request, |number, field| {
        if number != below {
            return Some(());
        }
        let resource_spans = field.bytes()?;
        rest_of(resource_spans, &mut resource)?;
        each_field(resource_spans, |number, field| {
            if number != 2 {
                return Some(());
            }
            let scope_spans = field.bytes()?;
            rest_of(scope_spans, &mut scope)?;
            each_field(scope_spans, |number, field| {
                if number == 2 {
                    each(&resource, &scope, field.bytes()?);
                }
                Some(())
            })
        })
    })
}

/// Copies `resource` or `scope` (field 1) and `schema_url` (field 3). Both may stand behind the
/// spans, so they are read before.
fn rest_of(message: &[u8], out: &mut Vec<u8>) -> Option<()> {
    out.clear();
    each_field(message, |number, field| {
        match number {
            1 => varint::put_bytes(out, tag(1, LEN), field.bytes()?),
            3 => varint::put_bytes(out, tag(3, LEN), field.bytes()?),
            _ => {}
        }
        Some(())
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::common::v1::{
        AnyValue, InstrumentationScope, KeyValue, any_value,
    };
    use opentelemetry_proto::tonic::resource::v1::Resource;
    use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
    use prost::Message;

    use super::*;
    use crate::wire::decode;

    fn request() -> Vec<u8> {
        let span = |name: &str| Span {
            name: name.to_owned(),
            ..Default::default()
        };
        let scope = |name: &str, spans: &[&str]| ScopeSpans {
            scope: Some(InstrumentationScope {
                name: name.to_owned(),
                ..Default::default()
            }),
            spans: spans.iter().copied().map(span).collect(),
            schema_url: "u".to_owned(),
        };
        let resource = |name: &str, scope_spans| ResourceSpans {
            resource: Some(Resource {
                attributes: vec![KeyValue {
                    key: "service.name".to_owned(),
                    value: Some(AnyValue {
                        value: Some(any_value::Value::StringValue(name.to_owned())),
                    }),
                    ..Default::default()
                }],
                ..Default::default()
            }),
            scope_spans,
            schema_url: String::new(),
        };
        let request = ExportTraceServiceRequest {
            resource_spans: vec![
                resource("shop", vec![scope("a", &["1", "2"]), scope("b", &["3"])]),
                resource("stock", vec![scope("c", &["4"])]),
            ],
        };
        request.encode_to_vec()
    }

    #[test]
    fn each_span_comes_with_its_resource_and_scope() {
        let mut seen = Vec::new();
        each_span(&request(), |resource, scope, span| {
            let resource = decode::DecodedResource::decode(resource).unwrap();
            let decode::DecodedValue::String(service) = resource.attributes[0].1 else {
                panic!("{resource:?}");
            };
            let scope = decode::Scope::decode(scope).unwrap();
            assert_eq!(scope.schema_url, "u");
            let name = decode::Span::decode(span).unwrap().name;
            seen.push(format!("{service} {} {name}", scope.name));
        })
        .unwrap();
        assert_eq!(seen, ["shop a 1", "shop a 2", "shop b 3", "stock c 4"]);
    }

    #[test]
    fn bytes_that_are_cut_short_are_refused() {
        let whole = request();
        for len in 0..whole.len() {
            // Only a cut between two resources leaves a request.
            let cut = each_span(&whole[..len], |_, _, _| {});
            assert!(cut.is_none() || len == 0 || whole[len] == 0x0a, "{len}");
        }
    }
}
