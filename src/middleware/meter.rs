//! [`Meter`]: the middleware's side of metrics, without the metrics API.

use std::borrow::Cow;
use std::time::Duration;

use super::call_status::{CallProtocol, Role};
use super::grpc::Code;

/// Takes the begin and the end of each call, sampled or not. Each begin has exactly one end, also after
/// a panic or a cancellation.
pub(crate) trait Meter: Send + Sync {
    fn began(&self, call: &Labels);
    /// Owns the labels, so that none of their texts is copied.
    fn ended(&self, call: Labels, end: &Measured<'_>);
}

/// The labels of a call, set at its begin.
#[cfg_attr(
    not(feature = "metrics"),
    allow(dead_code, reason = "only a meter reads it")
)]
#[derive(Debug, Clone)]
pub(crate) struct Labels {
    pub(crate) role: Role,
    pub(crate) protocol: CallProtocol,
    /// The HTTP method, or `_OTHER`.
    pub(crate) method: Cow<'static, str>,
    /// The URI's scheme; empty on a client.
    pub(crate) scheme: &'static str,
    pub(crate) route: Option<String>,
    /// `package.Service/Method` of a gRPC call; `None` stands for `_OTHER`.
    pub(crate) rpc_method: Option<String>,
    /// The version of HTTP, on a server.
    pub(crate) version: Option<&'static str>,
    /// The address and port of a client's server.
    pub(crate) server: Option<(String, Option<u16>)>,
    /// In bytes, if the request announces it and a setting asks for it.
    pub(crate) request_size: Option<u64>,
}

/// The measures of a call, taken at its end.
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
    /// The version of HTTP, on a client: from the response.
    pub(crate) version: Option<&'static str>,
    /// Bytes of the response's body, if a setting asks for them.
    pub(crate) response_size: Option<u64>,
}
