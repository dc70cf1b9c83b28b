//! A gRPC server and its client, in one trace.
//!
//! ```text
//! cargo run --all-features --example grpc
//! ```
//!
//! A span lasts as long as its call: that of the stream, until the last message and its status. Its
//! own collector prints what arrived over OTLP.
#![allow(clippy::print_stdout, reason = "an example shows what it did")]

use std::error::Error;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_stream::StreamExt as _;
use tonic::Request;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Endpoint, Server};
use tower::ServiceBuilder;
use tracing::level_filters::LevelFilter;
use tracing::{Instrument as _, info, info_span};
use tracing_otlp::Protocol;
use tracing_otlp::fmt::with_trace_ids;
use tracing_otlp::middleware::{ClientLayer, ServerLayer};
use tracing_otlp::testing::{Collector, Trace};
use tracing_subscriber::prelude::*;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let collector = Collector::start();
    let (otlp, guard) = tracing_otlp::builder()
        .without_env()
        .with_service_name("counter")
        .with_protocol(Protocol::Grpc)
        .with_endpoint(collector.grpc_endpoint())
        .build()?;
    let log = tracing_subscriber::fmt::layer().map_event_format(with_trace_ids);
    tracing_subscriber::registry()
        .with(LevelFilter::INFO)
        .with(otlp)
        .with(log)
        .init();

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let target = format!("http://{}", listener.local_addr()?);
    let server = Server::builder()
        .layer(ServerLayer::new())
        .add_service(counter::Server)
        .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)));
    let server = tokio::spawn(server);

    let channel = Endpoint::from_shared(target.clone())?.connect().await?;
    // A channel's requests do not say whom they are for.
    let channel = ServiceBuilder::new()
        .layer(ClientLayer::new().with_server(target))
        .service(channel);
    let mut counter = counter::Client::new(channel);

    let count = async {
        let doubled = counter.double(Request::new(21)).await?.into_inner();
        let mut numbers = counter.count(Request::new(3)).await?.into_inner();
        while let Some(number) = numbers.next().await {
            info!(doubled, number = number?, "counted");
        }
        // Not there; an error for the client, and none of the server's.
        if let Err(status) = counter.double(Request::new(u32::MAX)).await {
            info!(%status, "refused");
        }
        Ok::<_, tonic::Status>(())
    };
    count.instrument(info_span!("counting")).await?;
    server.abort();
    let _ = server.await;

    guard.shutdown(Duration::from_secs(5)).await?;
    println!();
    for trace in Trace::all(&collector.spans()) {
        println!("{trace}");
    }
    println!("{}", guard.stats());
    Ok(())
}

/// What a build script makes of this, more or less:
///
/// ```proto
/// service Counter {
///   rpc Double(google.protobuf.UInt32Value) returns (google.protobuf.UInt32Value);
///   rpc Count(google.protobuf.UInt32Value) returns (stream google.protobuf.UInt32Value);
/// }
/// ```
mod counter {
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use http::uri::PathAndQuery;
    use tokio_stream::{Stream, StreamExt as _};
    use tonic::body::Body;
    use tonic::client::{Grpc, GrpcService};
    use tonic::codegen::{BoxFuture, Service, StdError};
    use tonic::server::NamedService;
    use tonic::{Request, Response, Status, Streaming};
    use tonic_prost::ProstCodec;
    use tracing::info;

    const DOUBLE: &str = "/example.Counter/Double";
    const COUNT: &str = "/example.Counter/Count";

    type Numbers = Pin<Box<dyn Stream<Item = Result<u32, Status>> + Send>>;

    async fn double(request: Request<u32>) -> Result<Response<u32>, Status> {
        let number = request.into_inner();
        info!(number, "doubling");
        match number.checked_mul(2) {
            Some(doubled) => Ok(Response::new(doubled)),
            None => Err(Status::out_of_range("too large to double")),
        }
    }

    async fn count(request: Request<u32>) -> Result<Response<Numbers>, Status> {
        let numbers = tokio_stream::iter(1..=request.into_inner());
        let numbers = numbers.then(|number| async move {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            Ok(number)
        });
        Ok(Response::new(Box::pin(numbers)))
    }

    #[derive(Clone, Copy)]
    pub(crate) struct Server;

    impl NamedService for Server {
        const NAME: &'static str = "example.Counter";
    }

    impl Service<http::Request<Body>> for Server {
        type Response = http::Response<Body>;
        type Error = Infallible;
        type Future = BoxFuture<Self::Response, Infallible>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: http::Request<Body>) -> Self::Future {
            let mut grpc = tonic::server::Grpc::new(ProstCodec::<u32, u32>::default());
            Box::pin(async move {
                Ok(match request.uri().path() {
                    DOUBLE => grpc.unary(tower::service_fn(double), request).await,
                    COUNT => {
                        let service = tower::service_fn(count);
                        grpc.server_streaming(service, request).await
                    }
                    _ => Status::unimplemented("").into_http(),
                })
            })
        }
    }

    pub(crate) struct Client<S>(Grpc<S>);

    impl<S> Client<S>
    where
        S: GrpcService<Body, Error: Into<StdError>>,
        S::ResponseBody:
            http_body::Body<Data = bytes::Bytes, Error: Into<StdError> + Send> + Send + 'static,
    {
        pub(crate) fn new(service: S) -> Self {
            Self(Grpc::new(service))
        }

        pub(crate) async fn double(
            &mut self,
            request: Request<u32>,
        ) -> Result<Response<u32>, Status> {
            self.ready().await?;
            let path = PathAndQuery::from_static(DOUBLE);
            self.0.unary(request, path, ProstCodec::default()).await
        }

        pub(crate) async fn count(
            &mut self,
            request: Request<u32>,
        ) -> Result<Response<Streaming<u32>>, Status> {
            self.ready().await?;
            let path = PathAndQuery::from_static(COUNT);
            let codec = ProstCodec::default();
            self.0.server_streaming(request, path, codec).await
        }

        async fn ready(&mut self) -> Result<(), Status> {
            let ready = self.0.ready().await;
            ready.map_err(|error| Status::from_error(error.into()))
        }
    }
}
