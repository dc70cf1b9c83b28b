//! An OTLP collector inside the process, to test what an application reports (feature `testing`).
//!
//! [`Collector::start`] opens two ports on 127.0.0.1, one for gRPC and one for HTTP, on a thread of
//! its own. Point the exporter at one of them, run the code under test, then ask for spans. No
//! container, no sleep, and nothing is mocked: what is checked are the bytes that went over a socket,
//! decoded by `opentelemetry-proto`.
//!
//! ```
//! use std::time::Duration;
//! use tracing_otlp::testing::Collector;
//! use tracing_subscriber::prelude::*;
//!
//! # mod shop {
//! #     pub fn checkout(cart: &str) {
//! #         let _root = tracing::info_span!("checkout", cart.id = cart).entered();
//! #         let _charge = tracing::info_span!("charge card").entered();
//! #     }
//! # }
//! // #[test] fn a_checkout_is_traced() {
//! let collector = Collector::start();
//! let (layer, guard) = tracing_otlp::builder()
//!     .without_env()
//!     .with_endpoint(collector.http_endpoint())
//!     .build()?;
//! let subscriber = tracing_subscriber::registry().with(layer);
//!
//! tracing::subscriber::with_default(subscriber, || {
//!     shop::checkout("cart-7"); // the code under test
//! });
//! guard.shutdown_blocking(Duration::from_secs(5))?;
//!
//! let [root, charge] = collector.expect_names(["checkout", "charge card"]);
//! assert!(charge.is_child_of(&root));
//! assert_eq!(root["cart.id"], "cart-7");
//! assert!(!root.status.is_error());
//! println!("{}", collector.expect_trace(2)); // see Trace for what it looks like
//! // }
//! # Ok::<(), tracing_otlp::Error>(())
//! ```
//!
//! - **Wait** with [`expect_spans`](Collector::expect_spans) and its sisters, which fail with what
//!   arrived and what did not; or with [`wait_for`](Collector::wait_for) and
//!   [`wait_for_async`](Collector::wait_for_async), which return an error. All keep a deadline.
//! - **Look** at a [`ReceivedSpan`] by field or index, at a [`ReceivedRequest`] with its headers and
//!   raw bytes, at a [`Trace`] as a tree.
//! - **Logs** arrive beside the spans: [`expect_logs`](Collector::expect_logs) and
//!   [`expect_log`](Collector::expect_log) give each [`ReceivedLog`], and a [`Trace`] of
//!   [`expect_trace`](Collector::expect_trace) draws them under their spans.
//! - **Break** things with [`Collector::script`]: an [`Answer`] refuses, delays, closes, freezes, or
//!   answers nonsense; [`go_offline`](Collector::go_offline) closes the ports.
//!
//! It keeps all that it receives until [`clear`](Collector::clear): made for tests, not for load
//! without end. It takes traces and logs in protobuf only; JSON and metrics are turned away.

mod answer;
mod collector;
mod convert;
mod expect;
mod expect_logs;
mod log;
mod received;
mod received_request;
mod render;
mod reply;
mod reply_json;
mod request;
mod server;
mod store;
#[cfg_attr(not(feature = "tls"), path = "no_tls.rs")]
mod tls;
mod trace;
mod value;
mod wait;

pub use answer::Answer;
pub use collector::{Collector, CollectorBuilder};
pub use log::{LogData, ReceivedLog};
pub use received::{
    ReceivedEvent, ReceivedKind, ReceivedLink, ReceivedResource, ReceivedScope, ReceivedSpan,
    ReceivedStatus, ReceivedStatusCode, SpanData,
};
pub use received_request::ReceivedRequest;
pub use render::TraceDrawing;
pub use store::Malformed;
pub use trace::Trace;
pub use value::ReceivedValue;
pub use wait::Timeout;
