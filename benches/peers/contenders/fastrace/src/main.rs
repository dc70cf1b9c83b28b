//! fastrace with its OpenTelemetry reporter and OTLP over gRPC. It is not `tracing`: the workloads
//! are said in its own macros' terms, and every value becomes a string, for it has no other kind.
//!
//! Synchronous steps are `LocalSpan`s, its cheap kind; futures carry whole `Span`s, as its
//! documentation asks for futures that may move between threads.

use std::borrow::Cow;

use fastrace::collector::Config;
use fastrace::future::FutureExt;
use fastrace::prelude::{Event, LocalSpan, Span, SpanContext};
use fastrace_opentelemetry::OpenTelemetryReporter;
use harness::workload::{CALLSITES, FIELDS, Input, KEYS, Workload, yield_now};
use harness::{Contender, Ledger, Setup};
use opentelemetry::InstrumentationScope;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use tokio::runtime::{Builder, Runtime};

fn main() {
    harness::run::<Fastrace>();
}

struct Fastrace {
    _connection: Runtime,
}

impl Contender for Fastrace {
    type Work = Native;

    fn start(setup: &Setup) -> Self {
        assert_eq!(setup.variant, "", "fastrace has no variants");
        let mut runtime = Builder::new_multi_thread();
        let connection = runtime.worker_threads(1).enable_all().build();
        let connection = connection.expect("a runtime");
        let exporter = {
            let _inside = connection.enter();
            let exporter = SpanExporter::builder().with_tonic();
            exporter.with_endpoint(&setup.url).build()
        };
        let runtime = connection.handle().clone();
        let reporter = OpenTelemetryReporter::new(
            exporter.expect("a valid endpoint"),
            Cow::Owned(Resource::builder().build()),
            InstrumentationScope::builder("peers").build(),
        )
        .with_block_on(move |export| runtime.block_on(export));
        fastrace::set_reporter(reporter, Config::default());
        Self {
            _connection: connection,
        }
    }

    /// On a thread that fastrace makes for it.
    fn flush(&self) {
        fastrace::flush();
    }

    fn shutdown(self) -> Option<Ledger> {
        fastrace::flush();
        None
    }
}

type Property = (&'static str, Cow<'static, str>);

fn request_span(input: &Input) -> Span {
    Span::root("HTTP request", SpanContext::random()).with_properties(|| -> [Property; 8] {
        [
            ("span.kind", "server".into()),
            ("http.request.method", input.method.into()),
            ("http.route", input.route.into()),
            ("url.path", input.path.clone().into()),
            ("url.scheme", input.scheme.into()),
            ("server.address", input.host.clone().into()),
            ("user_agent.original", input.user_agent.clone().into()),
            ("client.address", input.client.to_string().into()),
        ]
    })
}

fn status(input: &Input) -> (&'static str, String) {
    ("http.response.status_code", input.status.to_string())
}

fn step_properties(input: &Input) -> [Property; 3] {
    [
        ("component", "web".into()),
        ("item.count", input.rows.to_string().into()),
        ("user.id", input.user.clone().into()),
    ]
}

fn step_event(message: &'static str, input: &Input) {
    let properties = || -> [Property; 2] {
        [
            ("cache.key", "users".into()),
            ("attempt", input.rows.to_string().into()),
        ]
    };
    LocalSpan::add_event(Event::new(message).with_properties(properties));
}

macro_rules! step {
    ($function:ident, $name:literal, $message:literal $(, $inner:ident)?) => {
        #[inline(never)]
        fn $function(input: &Input) {
            let _entered = LocalSpan::enter_with_local_parent($name)
                .with_properties(|| step_properties(input));
            step_event($message, input);
            $($inner(input);)?
        }
    };
}

macro_rules! async_step {
    ($function:ident, $name:literal, $message:literal $(, $inner:ident)?) => {
        async fn $function(input: &'static Input) {
            let span = Span::enter_with_local_parent($name)
                .with_properties(|| step_properties(input));
            async {
                yield_now().await;
                step_event($message, input);
                $($inner(input).await;)?
                yield_now().await;
            }
            .in_span(span)
            .await
        }
    };
}

step!(authenticate, "authenticate", "token accepted");
step!(load_user, "load_user", "cache miss", db_query);
step!(db_query, "db_query", "rows fetched");
step!(render, "render", "template rendered");

async_step!(authenticate_async, "authenticate", "token accepted");
async_step!(load_user_async, "load_user", "cache miss", db_query_async);
async_step!(db_query_async, "db_query", "rows fetched");
async_step!(render_async, "render", "template rendered");

#[inline(never)]
fn tiny_child() {
    let _entered = LocalSpan::enter_with_local_parent("child");
}

struct Native;

impl Workload for Native {
    fn request(input: &'static Input) {
        let request = request_span(input);
        let _entered = request.set_local_parent();
        authenticate(input);
        load_user(input);
        render(input);
        request.add_property(|| status(input));
    }

    fn tiny() {
        let root = Span::root("root", SpanContext::random());
        let _entered = root.set_local_parent();
        tiny_child();
    }

    fn request_async(input: &'static Input) -> impl Future<Output = ()> + Send + 'static {
        async move {
            authenticate_async(input).await;
            load_user_async(input).await;
            render_async(input).await;
            LocalSpan::add_property(|| status(input));
        }
        .in_span(request_span(input))
    }

    fn step(input: &'static Input) {
        render(input);
    }

    fn root_step(input: &'static Input) {
        let root =
            Span::root("render", SpanContext::random()).with_properties(|| step_properties(input));
        let _entered = root.set_local_parent();
        step_event("template rendered", input);
    }

    fn inside(levels: u64, f: &mut dyn FnMut()) {
        // The outermost is a root: without one there is no local parent.
        let root = Span::root("level", SpanContext::random());
        let _entered = root.set_local_parent();
        nested(levels - 1, f);
    }

    type Open = Span;

    fn open(number: u64) -> Span {
        Span::root("waiting", SpanContext::random())
            .with_property(|| ("number", number.to_string()))
    }

    fn fields(count: usize, value: i64) {
        let fields = FIELDS.iter().take(count);
        drop(
            Span::root("fields", SpanContext::random())
                .with_properties(|| fields.map(|&key| (key, value.to_string()))),
        );
    }

    fn late_attributes(keys: &'static [String]) {
        let span = Span::root("late", SpanContext::random());
        for (value, key) in keys.iter().enumerate() {
            span.add_property(|| (key.as_str(), value.to_string()));
        }
    }

    fn list_of_attributes() {
        let span = Span::root("list", SpanContext::random());
        let all = KEYS.iter().enumerate();
        span.add_properties(|| all.map(|(value, key)| (key.as_str(), value.to_string())));
    }

    /// It has no callsites.
    fn callsites() {
        for _ in 0..CALLSITES {
            drop(Span::root("callsite", SpanContext::random()));
        }
    }
}

fn nested(levels: u64, f: &mut dyn FnMut()) {
    if levels == 0 {
        return f();
    }
    let _entered = LocalSpan::enter_with_local_parent("level");
    nested(levels - 1, f);
}
