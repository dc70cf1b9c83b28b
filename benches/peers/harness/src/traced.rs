//! The workloads in the macros of `tracing`.

use std::marker::PhantomData;

use tracing::field::Empty;
use tracing::{Instrument, Span, info, info_span};

use crate::workload::{Input, Workload, yield_now};

macro_rules! request_span {
    ($input:ident) => {
        info_span!(
            "HTTP request",
            otel.kind = "server",
            http.request.method = $input.method,
            http.route = $input.route,
            url.path = $input.path.as_str(),
            url.scheme = $input.scheme,
            server.address = $input.host.as_str(),
            user_agent.original = $input.user_agent.as_str(),
            http.response.status_code = Empty,
            client.address = %$input.client,
        )
    };
}

macro_rules! step_span {
    ($name:literal, $input:ident) => {
        info_span!($name, component = "web", item.count = $input.rows, user.id = %$input.user)
    };
}

macro_rules! step_event {
    ($message:literal, $input:ident) => {
        info!(cache.key = "users", attempt = $input.rows, $message)
    };
}

/// A span with one event in it, and perhaps another step.
macro_rules! step {
    ($function:ident, $name:literal, $message:literal $(, $inner:ident)?) => {
        #[inline(never)]
        fn $function(input: &Input) {
            let _entered = step_span!($name, input).entered();
            step_event!($message, input);
            $($inner(input);)?
        }
    };
}

macro_rules! async_step {
    ($function:ident, $name:literal, $message:literal $(, $inner:ident)?) => {
        async fn $function(input: &'static Input) {
            let span = step_span!($name, input);
            async {
                yield_now().await;
                step_event!($message, input);
                $($inner(input).await;)?
                yield_now().await;
            }
            .instrument(span)
            .await
        }
    };
}

macro_rules! log_event {
    ($message:literal, $input:ident) => {
        info!(cache.key = "users", attempt = $input.rows, user.id = %$input.user, $message)
    };
}

/// A span, perhaps with one event in it, and perhaps another step.
macro_rules! log_step {
    ($function:ident, $name:literal $(, $message:literal)? $(; $inner:ident)?) => {
        #[inline(never)]
        fn $function(input: &Input) {
            let _entered = step_span!($name, input).entered();
            $(log_event!($message, input);)?
            $($inner(input);)?
        }
    };
}

/// How a layer's users set attributes that no callsite declares. The default sets none.
pub trait LateAttributes: 'static {
    /// Sets one attribute.
    fn set(_span: &Span, _key: &'static str, _value: i64) {}

    /// Sets all of [`KEYS`](crate::workload::KEYS) by one call.
    fn set_all(_span: &Span) {}
}

impl LateAttributes for () {}

/// For every contender that is a layer.
#[derive(Debug)]
pub struct Traced<A = ()>(PhantomData<A>);

/// A span whose callsite declares these fields.
macro_rules! span_with_fields {
    ($value:ident; $($name:ident)*) => {
        drop(info_span!("fields", $($name = $value),*))
    };
}

/// Sixteen times the same.
macro_rules! times_16 {
    ($($body:tt)*) => {
        $($body)* $($body)* $($body)* $($body)* $($body)* $($body)* $($body)* $($body)*
        $($body)* $($body)* $($body)* $($body)* $($body)* $($body)* $($body)* $($body)*
    };
}

impl<A: LateAttributes> Workload for Traced<A> {
    fn request(input: &'static Input) {
        let request = request_span!(input);
        let _entered = request.enter();
        authenticate(input);
        load_user(input);
        render(input);
        request.record("http.response.status_code", input.status);
    }

    fn tiny() {
        let _entered = info_span!("root").entered();
        tiny_child();
    }

    fn quiet(input: &'static Input) {
        let request = request_span!(input);
        let _entered = request.enter();
        quiet_authenticate(input);
        quiet_load_user(input);
        quiet_render(input);
        request.record("http.response.status_code", input.status);
    }

    fn logs(input: &'static Input) {
        log_event!("connection accepted", input);
        log_event!("request read", input);
        logged_request(input);
        log_event!("response written", input);
    }

    fn request_async(input: &'static Input) -> impl Future<Output = ()> + Send + 'static {
        let request = request_span!(input);
        let handle = request.clone();
        async move {
            authenticate_async(input).await;
            load_user_async(input).await;
            render_async(input).await;
            handle.record("http.response.status_code", input.status);
        }
        .instrument(request)
    }

    fn step(input: &'static Input) {
        render(input);
    }

    fn inside(levels: u64, f: &mut dyn FnMut()) {
        if levels == 0 {
            return f();
        }
        let _entered = info_span!("level", levels).entered();
        Self::inside(levels - 1, f);
    }

    type Open = Span;

    fn open(number: u64) -> Span {
        info_span!(parent: None, "waiting", number)
    }

    fn fields(count: usize, value: i64) {
        match count {
            0 => drop(info_span!("fields")),
            1 => span_with_fields!(value; f0),
            2 => span_with_fields!(value; f0 f1),
            4 => span_with_fields!(value; f0 f1 f2 f3),
            8 => span_with_fields!(value; f0 f1 f2 f3 f4 f5 f6 f7),
            16 => span_with_fields!(value; f0 f1 f2 f3 f4 f5 f6 f7 f8 f9 f10 f11 f12 f13 f14 f15),
            32 => span_with_fields!(value; f0 f1 f2 f3 f4 f5 f6 f7 f8 f9 f10 f11 f12 f13 f14 f15
                f16 f17 f18 f19 f20 f21 f22 f23 f24 f25 f26 f27 f28 f29 f30 f31),
            other => panic!("there is no callsite with {other} fields"),
        }
    }

    fn late_attributes(keys: &'static [String]) {
        let span = info_span!("late");
        for (value, key) in (0..).zip(keys) {
            A::set(&span, key, value);
        }
    }

    fn list_of_attributes() {
        A::set_all(&info_span!("list"));
    }

    fn callsites() {
        times_16!(times_16!(drop(info_span!("callsite"));););
    }
}

step!(authenticate, "authenticate", "token accepted");
step!(load_user, "load_user", "cache miss", db_query);
step!(db_query, "db_query", "rows fetched");
step!(render, "render", "template rendered");

#[inline(never)]
fn logged_request(input: &Input) {
    let request = request_span!(input);
    let _entered = request.enter();
    log_authenticate(input);
    log_load_user(input);
    log_render(input);
    log_event!("request handled", input);
    request.record("http.response.status_code", input.status);
}

log_step!(quiet_authenticate, "authenticate");
log_step!(quiet_load_user, "load_user"; quiet_db_query);
log_step!(quiet_db_query, "db_query");
log_step!(quiet_render, "render");

log_step!(log_authenticate, "authenticate", "token accepted");
log_step!(log_load_user, "load_user", "cache miss"; log_db_query);
log_step!(log_db_query, "db_query", "rows fetched");
log_step!(log_render, "render", "template rendered");

async_step!(authenticate_async, "authenticate", "token accepted");
async_step!(load_user_async, "load_user", "cache miss", db_query_async);
async_step!(db_query_async, "db_query", "rows fetched");
async_step!(render_async, "render", "template rendered");

#[inline(never)]
fn tiny_child() {
    let _entered = info_span!("child").entered();
}
