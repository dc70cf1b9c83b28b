//! Answers of OTLP/HTTP in JSON.

use std::time::Duration;

use serde_json::{Value, json};

use super::answer::What;
use crate::signal::Signal;

pub(super) const JSON: &str = "application/json";

/// The body of a response with status 200.
pub(super) fn success(what: &What, signal: Signal) -> Vec<u8> {
    let partial = |rejected: i64, message: &str| {
        let key = match signal {
            Signal::Traces => "rejectedSpans",
            Signal::Logs => "rejectedLogRecords",
        };
        // A number of 64 bits is a text in JSON.
        json!({ "partialSuccess": { key: rejected.to_string(), "errorMessage": message } })
    };
    let body = match what {
        What::Partial { rejected, message } => partial(*rejected, message),
        What::Oversize { len } => partial(0, &"x".repeat(*len)),
        What::Garbage => return b"{\"partialSuccess\":".to_vec(),
        _ => json!({}),
    };
    body.to_string().into_bytes()
}

/// The body of a refusal: `google.rpc.Status`.
pub(super) fn rpc_status(code: u32, message: &str, retry: Option<Duration>) -> Vec<u8> {
    let info = |delay: Duration| {
        json!({
            "@type": "type.googleapis.com/google.rpc.RetryInfo",
            "retryDelay": format!("{}s", delay.as_secs_f64()),
        })
    };
    let details: Vec<Value> = retry.map(info).into_iter().collect();
    let status = json!({ "code": code, "message": message, "details": details });
    status.to_string().into_bytes()
}
