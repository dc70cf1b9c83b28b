//! Middleware for tower.

mod address;
mod body;
mod call;
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
mod meter;
mod method;
mod options;
mod redact;
mod server;
mod spans;
mod text;
mod verdict;

pub use body::ResponseBody;
pub use client::{Client, ClientLayer, CountResends, Resends, ResendsLayer, UrlTemplate};
pub use end::CallEnd;
pub use future::ResponseFuture;
pub use head::{RequestHead, ResponseHead};
pub use in_flight::InFlight;
pub use server::{Server, ServerLayer};

#[cfg(feature = "metrics")]
pub(crate) use self::{
    grpc::SYSTEM,
    meter::{Labels, Measured, Meter},
    method::OTHER,
    verdict::{Protocol, Role},
};
