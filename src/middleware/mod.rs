//! Middleware: a span for each request that a service serves ([`ServerLayer`]) or a client sends
//! ([`ClientLayer`]), over HTTP and gRPC, as [`tower_layer::Layer`]s.
//!
//! ```
//! # async fn users() {}
//! use axum::{Router, routing::get};
//! use tracing_otlp::middleware::ServerLayer;
//!
//! let app = Router::new()
//!     .route("/users/{id}", get(users))
//!     .layer(ServerLayer::new());
//! # let _: Router = app;
//! ```
//!
//! # Where the layers belong
//!
//! ```text
//!   incoming                                             outgoing
//!   ────────                                             ────────
//!   connection                                           your code
//!     └─ time-out, load shedding                           └─ ResendsLayer       counts attempts
//!          └─ ServerLayer          the span                     └─ retry, redirects
//!               └─ compression, authentication                       └─ ClientLayer   a span an attempt
//!                    └─ routes     their spans are its children           └─ client, channel
//! ```
//!
//! What lies inside of a layer runs in its span. A time-out outside of it drops what is inside: the
//! span then says `cancelled`. With axum, `Router::layer` is the place: routes are known there. On
//! a tonic server it is `Server::builder().layer(…)`; around a channel,
//! `ServiceBuilder::new().layer(ClientLayer::new().with_server(target)).service(channel)`.
//!
//! # How long a span lasts
//!
//! A server's span lasts from the request's headers to the last byte or trailer of the response; a
//! client's to the headers of the response (HTTP-9), to its end with
//! [`with_whole_body`](ClientLayer::with_whole_body), and for gRPC always to its status (RPC-6). It
//! never outlives the call, and whatever ends that is told:
//!
//! | The call | status | `error.type` |
//! | --- | --- | --- |
//! | is answered | unset | none |
//! | is answered with 5xx, to a client 4xx too | error | the status code, `502` |
//! | (gRPC) with a code that is an error of its side (RPC-4) | error | the code's name, `INTERNAL` |
//! | fails, before the response or within its body | error, the error's text | its type, `hyper::Error`; `_OTHER` if boxed |
//! | panics; the panic goes on | error, its message | `panic`, and an event `exception` |
//! | is given up by its client, the span being a server's | error | `cancelled` |
//! | (gRPC) the same | unset | none; the code is `CANCELLED`, or `DEADLINE_EXCEEDED` and an error |
//! | is given up by its caller, the span being a client's | unset (HTTP-2) | none |
//!
//! A response to HEAD, with 204, 304 or 1xx has no body to wait for. A protocol upgrade ends the span
//! with its 101: what is said over a WebSocket is no part of the request. It can take the trace along,
//! by [`context::FutureExt::with_trace_context`](crate::context::FutureExt::with_trace_context), and be
//! waited for at a shutdown, by an [`InFlightToken`], as the example `axum` does. A stream of server-sent events lasts until its client goes away, which is no
//! error of anybody's: where that is how it should end, let [`on_end`](ServerLayer::on_end) set the
//! status to [`Ok`](crate::Status::Ok).
//!
//! # What is gRPC
//!
//! A POST of `application/grpc` or `application/grpc+…`, save where axum has routed it to a handler of
//! plain HTTP (a route with a parameter, as `/users/{id}`). Anyone can send such a request, so a method
//! that has not yet shown to be there is told as `_OTHER` (RPC-2): see
//! [`with_known_rpc_methods`](ServerLayer::with_known_rpc_methods).
//! gRPC-Web is told as HTTP.
//!
//! # Context
//!
//! The caller's context is read by [`propagation::global()`](crate::propagation::global); a client
//! writes that of its own span. What runs for a request has the context also where there is no span:
//! where the level is off, or a filter leaves the request out. An unsampled request costs no
//! attributes and no memory.
//!
//! The spans are `tracing` spans of level INFO with the targets `tracing_otlp::server` and
//! `tracing_otlp::client`, so that log lines show them. An `EnvFilter` of `shop=debug` alone would turn
//! them off: say `shop=debug,tracing_otlp=info`.
//!
//! # What is never recorded
//!
//! Bodies; headers that were not asked for; credentials in URLs; the values of signatures in queries
//! (HTTP-5). Texts of requests are cut at 4,096 bytes.

mod address;
mod body;
mod call;
mod call_status;
mod client;
mod end;
#[cfg(feature = "axum")]
mod from_axum;
#[cfg(not(feature = "axum"))]
#[path = "no_axum.rs"]
mod from_axum;
#[cfg(feature = "tonic")]
mod from_tonic;
#[cfg(not(feature = "tonic"))]
#[path = "no_tonic.rs"]
mod from_tonic;
mod future;
mod grpc;
mod head;
mod in_flight;
mod known;
mod meter;
mod method;
mod options;
mod redact;
mod server;
mod spans;
mod text;

pub use body::ResponseBody;
pub use client::{ClientLayer, ClientService, CountResends, Resends, ResendsLayer, UrlTemplate};
pub use end::CallEnd;
pub use future::ResponseFuture;
pub use head::{RequestHead, ResponseHead};
pub use in_flight::{InFlight, InFlightToken};
pub use server::{ServerLayer, ServerService};

#[cfg(feature = "metrics")]
pub(crate) use self::{
    call_status::{Protocol, Role},
    grpc::SYSTEM,
    meter::{Labels, Measured, Meter},
    method::OTHER,
};
