//! An actix-web service whose requests continue the trace of their caller, as `docs/recipes.md` shows it.

mod trace;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use actix_web::middleware::from_fn;
use actix_web::rt::task::spawn_blocking;
use actix_web::{App, HttpResponse, HttpServer, Responder, get, web};
use tracing_otlp::testing::Collector;
use tracing_subscriber::prelude::*;

const LONG: Duration = Duration::from_secs(60);
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

#[get("/users/{id}")]
async fn user(id: web::Path<u32>) -> impl Responder {
    load(id.into_inner()).await
}

#[tracing::instrument]
async fn load(id: u32) -> HttpResponse {
    match id {
        7 => HttpResponse::Ok().finish(),
        _ => HttpResponse::InternalServerError().finish(),
    }
}

#[actix_web::main]
async fn main() {
    let collector = Collector::start();
    let (layer, guard) = tracing_otlp::builder()
        .without_env()
        .with_endpoint(collector.http_endpoint())
        .with_service_name("shop")
        .build()
        .expect("a pipeline");
    // For the whole process: actix-web has a thread for each core.
    tracing_subscriber::registry().with(layer).init();

    let server = HttpServer::new(|| App::new().wrap(from_fn(trace::trace)).service(user))
        .workers(2)
        .disable_signals()
        .bind(("127.0.0.1", 0))
        .expect("a port");
    let address = server.addrs()[0];
    let server = server.run();
    let handle = server.handle();
    let serving = actix_web::rt::spawn(server);
    for (path, status) in [
        ("/users/7", "200"),
        ("/users/8", "500"),
        ("/nowhere", "404"),
    ] {
        let answer = spawn_blocking(move || call(address, path))
            .await
            .expect("a thread");
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{answer}"
        );
    }
    handle.stop(true).await;
    serving.await.expect("a task").expect("a server");
    guard.shutdown(LONG).await.expect("all delivered");

    let trace = collector.expect_trace(5);
    println!("{trace}");
    let requests: Vec<_> = trace
        .spans()
        .filter(|span| span.name.starts_with("GET"))
        .collect();
    let mut names: Vec<_> = requests.iter().map(|span| &*span.name).collect();
    names.sort_unstable();
    assert_eq!(names, ["GET", "GET /users/{id}", "GET /users/{id}"]);
    for request in requests {
        assert_eq!(request.trace_id.to_string(), TRACE);
        assert_eq!(request.parent_span_id, Some(CALLER.parse().unwrap()));
        assert_eq!(
            request.status.is_error(),
            request.attr("url.path") == Some(&"/users/8".into())
        );
    }
    for request in trace.spans().filter(|span| span.name == "GET /users/{id}") {
        let children = trace.children(request);
        assert!(
            matches!(children[..], [load] if load.name == "load"),
            "{children:?}"
        );
    }
}

/// Sends a request of a caller that traces, and returns the answer.
fn call(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("a connection");
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nTraceparent: 00-{TRACE}-{CALLER}-01\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}
