//! emit with emit_otlp over gRPC, spans and log records. It is not `tracing`: the workloads are said in its
//! own macros' terms. It has the workloads `quiet` and `logs`.
//!
//! What a span's macro captures would be copied to each of the span's records, which no other contender
//! does, so spans get their fields as `evt_props`.

use std::time::Duration;

use emit::setup::Init;
use harness::workload::{Input, Workload};
use harness::{Contender, Ledger, Setup};

/// No measurement here comes near it.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() {
    harness::run::<Emit>();
}

struct Emit {
    otlp: Init<'static, emit_otlp::Otlp>,
}

impl Contender for Emit {
    type Work = Native;

    fn start(setup: &Setup) -> Self {
        assert_eq!(setup.variant, "", "emit has no variants");
        let otlp = emit_otlp::new()
            .resource(emit::props! {
                #[emit::key("service.name")]
                service_name: "peers",
            })
            .logs(emit_otlp::logs_grpc_proto(&*setup.url))
            .traces(emit_otlp::traces_grpc_proto(&*setup.url))
            .spawn();
        Self {
            otlp: emit::setup().emit_to(otlp).init(),
        }
    }

    fn flush(&self) {
        // A flush that fails shows as records that did not arrive.
        let _ = self.otlp.blocking_flush(PATIENCE);
    }

    fn shutdown(self) -> Option<Ledger> {
        self.flush();
        None
    }
}

macro_rules! log_event {
    ($message:tt, $input:ident) => {
        emit::info!(
            $message,
            #[emit::key("cache.key")]
            cache_key: "users",
            attempt: $input.rows,
            #[emit::key("user.id")]
            user_id: $input.user.as_str(),
        )
    };
}

macro_rules! step {
    ($function:ident, $name:tt $(, $message:tt)? $(; $inner:ident)?) => {
        #[emit::span(
            evt_props: emit::props! {
                component: "web",
                #[emit::key("item.count")]
                item_count: input.rows,
                #[emit::key("user.id")]
                user_id: input.user.as_str(),
            },
            $name
        )]
        #[inline(never)]
        fn $function(input: &Input) {
            $(log_event!($message, input);)?
            $($inner(input);)?
        }
    };
}

macro_rules! request {
    ($function:ident $(, $message:tt)?; $authenticate:ident, $load_user:ident, $render:ident) => {
        #[emit::span(
            evt_props: emit::props! {
                #[emit::key("http.request.method")]
                method: input.method,
                #[emit::key("http.route")]
                route: input.route,
                #[emit::key("url.path")]
                path: input.path.as_str(),
                #[emit::key("url.scheme")]
                scheme: input.scheme,
                #[emit::key("server.address")]
                host: input.host.as_str(),
                #[emit::key("user_agent.original")]
                user_agent: input.user_agent.as_str(),
                #[emit::key("client.address")]
                #[emit::as_display]
                client: input.client,
                #[emit::key("http.response.status_code")]
                status: input.status,
            },
            kind: "server",
            "HTTP request"
        )]
        #[inline(never)]
        fn $function(input: &Input) {
            $authenticate(input);
            $load_user(input);
            $render(input);
            $(log_event!($message, input);)?
        }
    };
}

request!(quiet_request; quiet_authenticate, quiet_load_user, quiet_render);
step!(quiet_authenticate, "authenticate");
step!(quiet_load_user, "load_user"; quiet_db_query);
step!(quiet_db_query, "db_query");
step!(quiet_render, "render");

request!(log_request, "request handled"; log_authenticate, log_load_user, log_render);
step!(log_authenticate, "authenticate", "token accepted");
step!(log_load_user, "load_user", "cache miss"; log_db_query);
step!(log_db_query, "db_query", "rows fetched");
step!(log_render, "render", "template rendered");

struct Native;

impl Workload for Native {
    type Open = ();

    fn quiet(input: &'static Input) {
        quiet_request(input);
    }

    fn logs(input: &'static Input) {
        log_event!("connection accepted", input);
        log_event!("request read", input);
        log_request(input);
        log_event!("response written", input);
    }

    fn request(_: &'static Input) {
        unimplemented!("emit has the workloads `quiet` and `logs`")
    }

    fn tiny() {
        unimplemented!("emit has the workloads `quiet` and `logs`")
    }

    async fn request_async(_: &'static Input) {
        unimplemented!("emit has the workloads `quiet` and `logs`")
    }
}
