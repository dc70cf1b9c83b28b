//! What counts calls and measures them: the middleware's side of metrics, whatever collects them.

use std::borrow::Cow;
use std::time::Duration;

use super::call_status::{Protocol, Role};
use super::grpc::Code;

/// Told of each call, sampled or not. A call that began has ended once it is told of that: also one
/// that panicked or was given up.
pub(crate) trait Meter: Send + Sync {
    fn began(&self, call: &Labels);
    /// Takes the labels along, so that none of their texts is copied.
    fn ended(&self, call: Labels, end: &Measured<'_>);
}

/// What is known of a call when it begins; all of low cardinality, save what its server says of
/// itself.
#[cfg_attr(
    not(feature = "metrics"),
    allow(dead_code, reason = "only a meter reads it")
)]
#[derive(Debug, Clone)]
pub(crate) struct Labels {
    pub(crate) role: Role,
    pub(crate) protocol: Protocol,
    /// The HTTP method, or `_OTHER`.
    pub(crate) method: Cow<'static, str>,
    /// How a server was asked.
    pub(crate) scheme: &'static str,
    pub(crate) route: Option<String>,
    /// Of a gRPC call: `package.Service/Method`; none if it is `_OTHER`.
    pub(crate) rpc_method: Option<String>,
    /// The version of HTTP, as far as a server knows it.
    pub(crate) version: Option<&'static str>,
    /// Whom a client asks.
    pub(crate) server: Option<(String, Option<u16>)>,
    /// In bytes, where it is announced and wanted.
    pub(crate) request_size: Option<u64>,
}

/// How a call ended.
#[cfg_attr(
    not(feature = "metrics"),
    allow(dead_code, reason = "only a meter reads it")
)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measured<'a> {
    pub(crate) duration: Duration,
    pub(crate) status: Option<u16>,
    pub(crate) code: Option<Code>,
    pub(crate) error_type: Option<&'a str>,
    /// The same, as a client learns it from the response.
    pub(crate) version: Option<&'static str>,
    /// Bytes that have passed, where they are wanted.
    pub(crate) response_size: Option<u64>,
}
