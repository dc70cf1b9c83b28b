//! The answer to an OTLP request in JSON.

use serde_json::Value;

use crate::wire::response::PartialSuccess;

/// The content of a success. The success counts even if the body cannot be read.
pub(super) fn partial(body: &[u8]) -> PartialSuccess {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let partial = answer.get("partialSuccess");
    let field = |name| partial.and_then(|partial| partial.get(name));
    let rejected = field("rejectedSpans")
        .or_else(|| field("rejectedLogRecords"))
        .or_else(|| field("rejectedDataPoints"));
    let number = match rejected {
        Some(Value::String(text)) => text.parse().ok(),
        Some(number) => number.as_i64(),
        None => None,
    };
    let message = field("errorMessage").and_then(Value::as_str);
    PartialSuccess {
        rejected_spans: number.unwrap_or_default(),
        error_message: message.unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_rejected_is_read_as_text_or_number_otlp_5() {
        for (body, rejected, message) in [
            ("{}", 0, ""),
            ("", 0, ""),
            ("<html>", 0, ""),
            (r#"{"partialSuccess":{}}"#, 0, ""),
            (
                r#"{"partialSuccess":{"rejectedSpans":"3","errorMessage":"old"}}"#,
                3,
                "old",
            ),
            (r#"{"partialSuccess":{"rejectedSpans":2}}"#, 2, ""),
            (r#"{"partialSuccess":{"rejectedDataPoints":"4"}}"#, 4, ""),
        ] {
            let partial = partial(body.as_bytes());
            assert_eq!(partial.rejected_spans, rejected, "{body}");
            assert_eq!(partial.error_message, message, "{body}");
        }
    }
}
