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
//! client's to the headers of the response, to its end with
//! [`with_whole_body`](ClientLayer::with_whole_body), and for gRPC always to its status. It
//! never outlives the call. The span records how the call ended:
//!
//! | The call | status | `error.type` |
//! | --- | --- | --- |
//! | is answered | unset | none |
//! | is answered with 5xx, to a client 4xx too | error | the status code, `502` |
//! | (gRPC) with a code that the conventions count as an error of its side | error | the code's name, `INTERNAL` |
//! | fails, before the response or within its body | error, the error's text | its type, `hyper::Error`; `_OTHER` if boxed |
//! | panics; the panic goes on | error, its message | `panic`, and an event `exception`, or a [log record](crate::config::LogsConfig::exceptions) |
//! | is cancelled by its client (server's span) | error | `cancelled` |
//! | (gRPC) the same | unset | none; the code is `CANCELLED`, or `DEADLINE_EXCEEDED` and an error |
//! | is cancelled by its caller (client's span) | unset | none |
//!
//! A response to HEAD, with 204, 304 or 1xx has no body to wait for. A protocol upgrade ends the span
//! with its 101: the WebSocket's session is no part of the request. The session can continue the trace,
//! by [`context::FutureExt::with_trace_context`](crate::context::FutureExt::with_trace_context), and a
//! shutdown can wait for it, by an [`InFlightToken`]: see the example `axum`. A stream of server-sent
//! events lasts until its client disconnects, which is not an error: for such a stream, let
//! [`on_end`](ServerLayer::on_end) set the status to [`Ok`](crate::Status::Ok).
//!
//! # What is gRPC
//!
//! A POST of `application/grpc` or `application/grpc+…` is a gRPC call, unless axum has routed it to a
//! handler of plain HTTP (a route with a parameter, such as `/users/{id}`). Any client can send such a
//! request, so the span records `_OTHER` for a method until the method is known to exist: see
//! [`with_known_rpc_methods`](ServerLayer::with_known_rpc_methods).
//! gRPC-Web is recorded as HTTP.
//!
//! # Context
//!
//! [`propagation::global()`](crate::propagation::global) reads the caller's context on a server, and
//! writes that of the span on a client. A request without a span (the level is off, or a filter
//! excludes it) still runs in the caller's context. An unsampled request costs no attributes and no
//! memory.
//!
//! The spans are `tracing` spans of level INFO with the targets `tracing_otlp::server` and
//! `tracing_otlp::client`, so that log lines show them. An `EnvFilter` of `shop=debug` alone would turn
//! them off: say `shop=debug,tracing_otlp=info`.
//!
//! # What is never recorded
//!
//! Bodies; headers that the layer does not list; credentials in URLs; the values of signatures in
//! queries. Texts of requests are cut at 4,096 bytes.

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
mod late;
mod layer;
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
    call_status::{CallProtocol, Role},
    grpc::SYSTEM,
    meter::{Labels, Measured, Meter},
    method::OTHER,
};
