//! An OTLP collector inside the process, to test what an application reports (feature `testing`).

mod answer;
mod collector;
mod convert;
mod received;
mod reply;
mod request;
mod server;
mod store;
#[cfg_attr(not(feature = "tls"), path = "no_tls.rs")]
mod tls;
mod value;
mod wait;

pub use answer::Answer;
pub use collector::{Collector, CollectorBuilder};
pub use received::{
    ReceivedEvent, ReceivedKind, ReceivedLink, ReceivedRequest, ReceivedResource, ReceivedScope,
    ReceivedSpan, ReceivedStatus, ReceivedStatusCode, SpanData,
};
pub use store::Malformed;
pub use value::ReceivedValue;
pub use wait::Timeout;
