//! A gRPC service `test.Echo` and its client, by hand: each does as the request says.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::convert::Infallible;
use std::future::pending;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::uri::PathAndQuery;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::codegen::{BoxFuture, Service};
use tonic::server::{Grpc as Served, NamedService};
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use tower::util::BoxCloneService;
use tower::{Layer as _, ServiceExt as _, service_fn};
use tracing_otlp::TraceContext;
use tracing_otlp::context;
use tracing_otlp::middleware::{ClientLayer, ServerLayer};
use tracing_otlp::propagation::{self, Propagator as _};

type Stringy = ProstCodec<String, String>;
type Texts = Pin<Box<dyn Stream<Item = Result<String, Status>> + Send>>;

pub const UNARY: &str = "/test.Echo/Unary";
pub const UPLOAD: &str = "/test.Echo/Upload";
pub const DOWNLOAD: &str = "/test.Echo/Download";
pub const ECHO: &str = "/test.Echo/Echo";

/// What the server is asked to do.
#[derive(Debug, Clone, Copy)]
pub enum Answer {
    Ok,
    /// So many messages.
    Count(u32),
    /// At once, without a message.
    Fails(Code),
    /// After one message.
    FailsLate(Code),
    /// One message, and then nothing.
    Endless,
    Never,
    Panics,
    /// The `traceparent` of what is current, or `none`.
    Context,
    /// That of the request's metadata.
    Metadata,
}

impl From<Answer> for String {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Ok => "ok".to_owned(),
            Answer::Count(n) => format!("count {n}"),
            Answer::Fails(code) => format!("fails {}", i32::from(code)),
            Answer::FailsLate(code) => format!("late {}", i32::from(code)),
            Answer::Endless => "endless".to_owned(),
            Answer::Never => "never".to_owned(),
            Answer::Panics => "panics".to_owned(),
            Answer::Context => "context".to_owned(),
            Answer::Metadata => "metadata".to_owned(),
        }
    }
}

fn traceparent(context: &TraceContext) -> String {
    match context.is_valid() {
        true => context.to_traceparent().to_string(),
        false => "none".to_owned(),
    }
}

fn failure(code: &str) -> Status {
    let code = Code::from(code.parse::<i32>().unwrap());
    Status::new(code, "says the test, 100%")
}

async fn unary(request: Request<String>) -> Result<Response<String>, Status> {
    let metadata = request.metadata().clone();
    let asked = request.into_inner();
    let (asked, argument) = asked.split_once(' ').unwrap_or((&asked, ""));
    let told = match asked {
        "fails" => return Err(failure(argument)),
        "never" => pending().await,
        "panics" => panic!("as it was told to"),
        "context" => traceparent(&context::current()),
        "metadata" => {
            let read = propagation::global().extract(TraceContext::default(), &metadata);
            traceparent(&read)
        }
        other => other.to_owned(),
    };
    let mut response = Response::new(told);
    let answer = "42".parse().unwrap();
    response.metadata_mut().insert("x-answer", answer);
    Ok(response)
}

async fn upload(request: Request<Streaming<String>>) -> Result<Response<String>, Status> {
    let mut texts = request.into_inner();
    let mut joined = String::new();
    while let Some(text) = texts.message().await? {
        joined.push_str(&text);
    }
    Ok(Response::new(joined))
}

async fn download(request: Request<String>) -> Result<Response<Texts>, Status> {
    let asked = request.into_inner();
    let (asked, argument) = asked.split_once(' ').unwrap_or((&asked, ""));
    let first = tokio_stream::once(Ok("first".to_owned()));
    let texts: Texts = match asked {
        "count" => {
            let n: u32 = argument.parse().unwrap();
            Box::pin(tokio_stream::iter(0..n).map(|i| Ok(i.to_string())))
        }
        "fails" => return Err(failure(argument)),
        "late" => Box::pin(first.chain(tokio_stream::once(Err(failure(argument))))),
        "endless" => Box::pin(first.chain(tokio_stream::pending())),
        "never" => pending().await,
        _ => Box::pin(first),
    };
    Ok(Response::new(texts))
}

async fn echo(request: Request<Streaming<String>>) -> Result<Response<Texts>, Status> {
    Ok(Response::new(Box::pin(request.into_inner())))
}

/// What a build script would have written.
#[derive(Clone, Copy)]
struct Echo;

impl NamedService for Echo {
    const NAME: &'static str = "test.Echo";
}

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<http::Response<Body>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let mut grpc = Served::new(Stringy::default());
        Box::pin(async move {
            let path = request.uri().path().to_owned();
            Ok(match path.as_str() {
                UNARY => grpc.unary(service_fn(unary), request).await,
                UPLOAD => grpc.client_streaming(service_fn(upload), request).await,
                DOWNLOAD => grpc.server_streaming(service_fn(download), request).await,
                ECHO => grpc.streaming(service_fn(echo), request).await,
                _ => Status::unimplemented("").into_http(),
            })
        })
    }
}

/// Serves it on a port of its own until the runtime ends.
pub async fn serve() -> SocketAddr {
    serve_with(Some(ServerLayer::new())).await
}

pub async fn serve_with(layer: Option<ServerLayer>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let incoming = TcpListenerStream::new(listener);
    tokio::spawn(async move {
        match layer {
            Some(layer) => {
                let server = Server::builder().layer(layer).add_service(Echo);
                server.serve_with_incoming(incoming).await
            }
            None => {
                let server = Server::builder().add_service(Echo);
                server.serve_with_incoming(incoming).await
            }
        }
    });
    address
}

pub fn channel(address: SocketAddr) -> Endpoint {
    Endpoint::from_shared(format!("http://{address}")).unwrap()
}

/// A client of that server, with a layer that knows it.
pub async fn calls(address: SocketAddr) -> Calls {
    let channel = channel(address).connect().await.unwrap();
    let layer = ClientLayer::new().with_server(format!("http://{address}"));
    Calls::new(channel, layer)
}

/// The client.
pub struct Calls(Grpc<BoxCloneService<http::Request<Body>, http::Response<Body>, Status>>);

fn status(error: tonic::transport::Error) -> Status {
    Status::from_error(error.into())
}

impl Calls {
    pub fn new(channel: Channel, layer: ClientLayer) -> Self {
        let service = layer.layer(channel);
        let service = service.map_response(|response| response.map(Body::new));
        Self(Grpc::new(BoxCloneService::new(service.map_err(status))))
    }

    pub fn plain(channel: Channel) -> Self {
        Self(Grpc::new(BoxCloneService::new(channel.map_err(status))))
    }

    async fn ready(&mut self) -> Stringy {
        self.0.ready().await.unwrap();
        Stringy::default()
    }

    pub async fn unary(&mut self, answer: Answer) -> Result<String, Status> {
        self.send(Request::new(answer.into())).await
    }

    pub async fn send(&mut self, request: Request<String>) -> Result<String, Status> {
        let codec = self.ready().await;
        let path = PathAndQuery::from_static(UNARY);
        Ok(self.0.unary(request, path, codec).await?.into_inner())
    }

    pub async fn at(&mut self, path: &'static str, answer: Answer) -> Result<String, Status> {
        let codec = self.ready().await;
        let (request, path) = (Request::new(answer.into()), PathAndQuery::from_static(path));
        Ok(self.0.unary(request, path, codec).await?.into_inner())
    }

    pub async fn upload(
        &mut self,
        texts: impl Stream<Item = String> + Send + 'static,
    ) -> Result<String, Status> {
        let codec = self.ready().await;
        let path = PathAndQuery::from_static(UPLOAD);
        let call = self.0.client_streaming(Request::new(texts), path, codec);
        Ok(call.await?.into_inner())
    }

    pub async fn download(&mut self, answer: Answer) -> Result<Streaming<String>, Status> {
        self.receive(Request::new(answer.into())).await
    }

    pub async fn receive(&mut self, request: Request<String>) -> Result<Streaming<String>, Status> {
        let codec = self.ready().await;
        let path = PathAndQuery::from_static(DOWNLOAD);
        let call = self.0.server_streaming(request, path, codec);
        Ok(call.await?.into_inner())
    }

    pub async fn echo(
        &mut self,
        texts: impl Stream<Item = String> + Send + 'static,
    ) -> Result<Streaming<String>, Status> {
        let codec = self.ready().await;
        let path = PathAndQuery::from_static(ECHO);
        let call = self.0.streaming(Request::new(texts), path, codec);
        Ok(call.await?.into_inner())
    }
}

/// A layered channel is itself a service for generated clients, without a box.
const _: fn(tracing_otlp::middleware::ClientService<Channel>) = |client| {
    fn generated<S: tonic::client::GrpcService<Body>>(_: S) {}
    generated(client);
};
