//! What counts calls and measures them: the middleware's side of metrics, whatever collects them.

use std::borrow::Cow;
use std::time::Duration;

use super::grpc::Code;
use super::verdict::{Protocol, Role};

/// Told of each call, sampled or not. A call that began has ended once it is told of that: also one
/// that panicked or was given up.
pub(crate) trait Meter: Send + Sync {
    fn began(&self, call: &Labels);
    fn ended(&self, call: &Labels, end: &Measured<'_>);
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
    pub(crate) scheme: Cow<'static, str>,
    pub(crate) route: Option<String>,
    /// Of a gRPC call: `package.Service/Method`, or `_OTHER`.
    pub(crate) rpc_method: Option<String>,
    pub(crate) version: Option<&'static str>,
    /// Whom a client asks.
    pub(crate) server: Option<(String, Option<u16>)>,
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
    pub(crate) response_size: Option<u64>,
}
