//! Requests through middleware without a socket, for callgrind: `requests STACK WORK UNITS RECEIVER-URL`.
//!
//! A stack is the telemetry around a service:
//!
//! - `none`: no middleware and no subscriber
//! - `tower-floor`: tower-http's `TraceLayer`, a registry and a layer that does nothing
//! - `tower-unsampled`: `TraceLayer` over this crate's pipeline, nothing is sampled
//! - `sampled`, `unsampled`: this crate's middleware and pipeline on tracing-subscriber's registry
//! - `registry`, `registry-unsampled`: the same on this crate's registry
//!
//! A work is the service and its requests:
//!
//! - `plain`: answers at once, with a body of one frame; the request is that of `wrk`
//! - `caller`: the same with a browser's headers, a `traceparent` and a `tracestate`
//! - `axum`: a router whose handler makes two spans and an event and yields once, as in `web`
//! - `client`: an outgoing request in no span, answered at once

mod drive;
mod services;
mod stacks;

use std::{env, hint};

use http::{Request, Response};
use tower_http::classify::{ServerErrorsAsFailures, SharedClassifier};
use tower_http::trace::{DefaultMakeSpan, TraceLayer};
use tower_layer::Layer as _;
use tower_service::Service;
use tracing::Level;
use tracing_otlp::middleware::{ClientLayer, ServerLayer};

use crate::drive::{Driven, Sent, drive};
use crate::stacks::Stack;

fn main() {
    let args: Vec<_> = env::args().collect();
    let [_, stack, work, units, receiver] = &args[..] else {
        panic!("requests STACK WORK UNITS RECEIVER-URL");
    };
    let stack = Stack::start(stack, receiver);
    let units = units.parse().expect("a number of units");
    match work.as_str() {
        "plain" => served(&stack, units, services::plain()),
        "caller" => served(&stack, units, services::called()),
        "axum" => routed(&stack, units),
        "client" => sent(&stack, units),
        other => panic!("there is no work `{other}`"),
    }
    stack.end();
}

fn trace_layer() -> TraceLayer<SharedClassifier<ServerErrorsAsFailures>> {
    TraceLayer::new_for_http().make_span_with(DefaultMakeSpan::new().level(Level::INFO))
}

fn served(stack: &Stack, units: u64, request: Request<()>) {
    let inner = services::Ready;
    match stack {
        Stack::None => fixed(units, &request, inner),
        Stack::Tower(_) => fixed(units, &request, trace_layer().layer(inner)),
        Stack::Ours(_) => fixed(units, &request, ServerLayer::new().layer(inner)),
    }
}

fn sent(stack: &Stack, units: u64) {
    let (request, inner) = (services::outgoing(), services::Ready);
    match stack {
        Stack::None => fixed(units, &request, inner),
        Stack::Tower(_) => fixed(units, &request, trace_layer().layer(inner)),
        Stack::Ours(_) => fixed(units, &request, ClientLayer::new().layer(inner)),
    }
}

fn routed(stack: &Stack, units: u64) {
    let (request, router) = (services::plain(), services::router());
    let router = match stack {
        Stack::None => router,
        Stack::Tower(_) => router.layer(trace_layer()),
        Stack::Ours(_) => router.layer(ServerLayer::new()),
    };
    fixed::<_, axum::body::Body, _>(units, &request, router);
}

/// The measured part: what the thread did before entering it is forgotten (run.sh names it).
#[inline(never)]
fn fixed<S, B, R>(units: u64, request: &Request<()>, mut service: S)
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: std::fmt::Debug,
    B: Sent,
    R: Driven,
{
    for _ in 0..units {
        let (head, ()) = request.clone().into_parts();
        hint::black_box(drive(&mut service, Request::from_parts(head, B::empty())));
    }
}
