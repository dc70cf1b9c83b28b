//! [`Transport`]: gRPC or HTTP, as one type.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{HeaderMap, HeaderValue};

use super::attempt::{AttemptResult, Request, SendFailure};
use super::dial::Dialer;
use super::endpoint::{Endpoint, RequestTarget};
#[cfg(feature = "grpc")]
use super::grpc::Grpc;
#[cfg(feature = "http")]
use super::redirect::Redirecting;
use crate::config::Protocol;
use crate::error::Error;

/// What the transports to the addresses of one endpoint have in common.
#[derive(Debug)]
pub(crate) struct TransportTemplate {
    pub(crate) dialer: Dialer,
    pub(crate) headers: HeaderMap,
    pub(crate) user_agent: HeaderValue,
    pub(crate) max_response: usize,
}

impl TransportTemplate {
    /// A transport to the endpoint, or to one address of its name.
    pub(crate) fn transport(&self, at: Option<SocketAddr>) -> Result<Transport, Error> {
        let (headers, user_agent) = (self.headers.clone(), self.user_agent.clone());
        Transport::new(self.dialer.to(at), headers, user_agent, self.max_response)
    }

    /// The addresses of the endpoint's name.
    pub(crate) async fn look_up(&self) -> Result<Vec<SocketAddr>, String> {
        self.dialer.look_up().await
    }
}

#[derive(Debug)]
pub(crate) struct Transport {
    wire: Wire,
    /// The last attempt to connect succeeded; false before the first.
    up: AtomicBool,
}

#[derive(Debug)]
enum Wire {
    #[cfg(feature = "grpc")]
    Grpc(Box<Grpc>),
    #[cfg(feature = "http")]
    Http(Box<Redirecting>),
    /// In a build without a transport.
    #[cfg(not(any(feature = "grpc", feature = "http")))]
    Neither(std::convert::Infallible),
}

/// The same expression for each protocol.
macro_rules! either {
    ($self:ident, $wire:ident => $do:expr) => {
        match &$self.wire {
            #[cfg(feature = "grpc")]
            Wire::Grpc($wire) => $do,
            #[cfg(feature = "http")]
            Wire::Http($wire) => $do,
            #[cfg(not(any(feature = "grpc", feature = "http")))]
            Wire::Neither(never) => match *never {},
        }
    };
}

impl Transport {
    #[cfg_attr(
        not(any(feature = "grpc", feature = "http")),
        expect(unused_variables, reason = "nothing can be sent")
    )]
    pub(crate) fn new(
        dialer: Dialer,
        headers: HeaderMap,
        user_agent: HeaderValue,
        max_response: usize,
    ) -> Result<Self, Error> {
        let wire =
            match dialer.endpoint.protocol {
                #[cfg(feature = "grpc")]
                Protocol::Grpc => Wire::Grpc(Box::new(Grpc::new(
                    dialer,
                    headers,
                    user_agent,
                    max_response,
                ))),
                #[cfg(feature = "http")]
                Protocol::HttpProtobuf | Protocol::HttpJson => Wire::Http(Box::new(
                    Redirecting::new(dialer, headers, user_agent, max_response),
                )),
                #[cfg(not(feature = "grpc"))]
                Protocol::Grpc => return Err(absent("grpc", "grpc")),
                #[cfg(not(feature = "http"))]
                Protocol::HttpProtobuf | Protocol::HttpJson => {
                    return Err(absent("http/protobuf", "http"));
                }
            };
        Ok(Self {
            wire,
            up: AtomicBool::new(false),
        })
    }

    /// The target of requests to `endpoint` on connections of this transport.
    #[cfg_attr(
        not(any(feature = "grpc", feature = "http")),
        expect(unused_variables, reason = "nothing can be sent")
    )]
    pub(crate) fn target_of(&self, endpoint: &Endpoint) -> RequestTarget {
        either!(self, wire => wire.target_of(endpoint))
    }

    /// Whether a connection exists.
    pub(crate) fn is_connected(&self) -> bool {
        either!(self, wire => wire.is_connected())
    }

    /// Whether a request that has not begun waits for its turn on a connection.
    pub(crate) fn holds_requests_back(&self) -> bool {
        match &self.wire {
            #[cfg(feature = "grpc")]
            Wire::Grpc(wire) => wire.is_connected(),
            #[cfg(feature = "http")]
            Wire::Http(_) => false,
            #[cfg(not(any(feature = "grpc", feature = "http")))]
            Wire::Neither(never) => match *never {},
        }
    }

    /// Whether the last attempt to connect succeeded.
    pub(crate) fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    /// Makes a connection for the next request.
    pub(crate) async fn connect(&self) -> Result<(), String> {
        let connected: Result<(), String> = either!(self, wire => wire.connect().await);
        self.up.store(connected.is_ok(), Ordering::Relaxed);
        connected
    }

    /// One attempt. `timeout` is only sent to the endpoint; the caller keeps the deadline.
    pub(crate) async fn exchange(
        &self,
        request: &Request,
        timeout: Option<Duration>,
    ) -> AttemptResult {
        // A connection must not outlive its certificate.
        if either!(self, wire => wire.has_new_tls()) {
            self.disconnect();
        }
        let answer: AttemptResult = either!(self, wire => wire.exchange(request, timeout).await);
        let lost =
            matches!(&answer, AttemptResult::None { lost, .. } if *lost == SendFailure::Unreached);
        self.up.store(!lost, Ordering::Relaxed);
        answer
    }

    /// Notes that no connection was made in time.
    pub(crate) fn mark_down(&self) {
        self.up.store(false, Ordering::Relaxed);
    }

    /// Host and port, for messages.
    pub(crate) fn address(&self) -> String {
        either!(self, wire => wire.address())
    }

    /// Drops the current connections: the next request gets a new one.
    pub(crate) fn disconnect(&self) {
        either!(self, wire => wire.disconnect_current());
    }
}

#[cfg(not(all(feature = "grpc", feature = "http")))]
fn absent(protocol: &'static str, feature: &'static str) -> Error {
    Error::config(
        "protocol",
        protocol,
        format!(
            "this build cannot speak it: enable the feature `{feature}` of tracing-otlp, or choose \
             another protocol"
        ),
    )
}
