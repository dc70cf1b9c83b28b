//! [`Collector`]: its thread, its ports, its life.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::answer::Answer;
use super::received::ReceivedSpan;
use super::received_request::ReceivedRequest;
use super::request::Port;
use super::store::{Malformed, RequestStore};
use super::{server, tls};
use crate::config::Protocol;
use crate::suppress;
use crate::sync::{Mutex, lock};

/// An OTLP collector inside the process: listens on two ports of 127.0.0.1, keeps what arrives,
/// lets a test wait for it, and misbehaves on command.
///
/// It runs on a thread of its own, with a runtime of its own, and needs none around it. What that
/// thread itself traces is never captured by this crate's layer. Dropping it closes its ports.
///
/// See [the module](super) for an example.
pub struct Collector {
    pub(super) store: Arc<RequestStore>,
    pub(super) patience: Duration,
    pub(super) runtime: tokio::runtime::Handle,
    ports: [(SocketAddr, Arc<Port>); 2],
    tls: Option<tls::Acceptor>,
    online: Mutex<Option<Online>>,
    /// Ends the thread when dropped or cancelled.
    stop: CancellationToken,
    /// Says, by closing, that the thread is done and all sockets are closed.
    stopped: Mutex<mpsc::Receiver<()>>,
}

/// The listeners and connections of one time of being online.
struct Online {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Collector {
    /// Starts a collector; when this returns, it listens.
    ///
    /// # Panics
    ///
    /// If no port can be opened on 127.0.0.1 or no thread started. See
    /// [`try_start`](Self::try_start).
    #[track_caller]
    pub fn start() -> Self {
        match Self::try_start() {
            Ok(collector) => collector,
            Err(e) => panic!("the test collector cannot start: {e}"),
        }
    }

    /// Starts a collector; when this returns, it listens.
    ///
    /// # Errors
    ///
    /// What the system said when a port was opened on 127.0.0.1 or the thread started.
    pub fn try_start() -> io::Result<Self> {
        Self::builder().start()
    }

    /// A collector with settings of its own.
    pub fn builder() -> CollectorBuilder {
        CollectorBuilder {
            max_message_size: 4 << 20,
            count_only: false,
            http_path: "/v1/traces".to_owned(),
            takes_logs: true,
            patience: Duration::from_secs(5),
            tls: None,
        }
    }

    /// The URL for an exporter that speaks gRPC, such as `http://127.0.0.1:40713`.
    pub fn grpc_endpoint(&self) -> String {
        self.endpoint(Protocol::Grpc)
    }

    /// The base URL for an exporter that speaks OTLP/HTTP, such as `http://127.0.0.1:40714`; it
    /// appends `/v1/traces` itself.
    pub fn http_endpoint(&self) -> String {
        self.endpoint(Protocol::HttpProtobuf)
    }

    /// The URL for an exporter that speaks `protocol`.
    pub fn endpoint(&self, protocol: Protocol) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        // One port takes both: the content type of a request says which it is.
        let protocol = match protocol {
            Protocol::HttpJson => Protocol::HttpProtobuf,
            protocol => protocol,
        };
        let address = self.ports.iter().find(|(_, p)| p.protocol == protocol);
        let port = address.map_or(0, |(address, _)| address.port());
        format!("{scheme}://127.0.0.1:{port}")
    }

    /// Answers the next requests so, one after the other, in place of what is left of an earlier
    /// script. After it, requests are answered as [`always`](Self::always) says.
    ///
    /// Only export requests use it up, well-formed or not; one for a wrong path does not.
    pub fn script(&self, answers: impl IntoIterator<Item = Answer>) {
        self.store.set_script(answers.into_iter().collect());
    }

    /// Answers all requests so that the script does not speak of. Default [`Answer::ok`].
    pub fn always(&self, answer: Answer) {
        self.store.set_always(answer);
    }

    /// Answers of the script that no request has used yet.
    pub fn script_left(&self) -> usize {
        self.store.script_left()
    }

    /// The spans that were accepted, in order of arrival.
    pub fn spans(&self) -> Vec<ReceivedSpan> {
        self.store.spans()
    }

    /// How many spans were accepted.
    pub fn span_count(&self) -> usize {
        self.store.span_count()
    }

    /// The requests that could be decoded, accepted or not, in order of arrival.
    pub fn requests(&self) -> Vec<ReceivedRequest> {
        self.store.requests()
    }

    /// The requests that could not be read, in order of arrival.
    pub fn malformed(&self) -> Vec<Malformed> {
        self.store.malformed()
    }

    /// Requests whose headers arrived, whatever became of them.
    pub fn received_attempts(&self) -> u64 {
        self.store.attempts()
    }

    /// Connections that were accepted since the start.
    pub fn connections(&self) -> u64 {
        self.store.connections()
    }

    /// Forgets spans, requests and attempts, also of requests under way. The script stays.
    pub fn clear(&self) {
        self.store.clear();
    }

    /// Closes both ports and all connections, as if the machine were gone. When this returns,
    /// connecting is refused.
    pub fn go_offline(&self) {
        let Some(Online { stop, tasks }) = lock(&self.online).take() else {
            return;
        };
        stop.cancel();
        tasks.close();
        let (done, closed) = mpsc::channel::<()>();
        self.runtime.spawn(async move {
            tasks.wait().await;
            drop(done);
        });
        // Ends by the sender's drop; the limit is for a machine that stands still.
        let _ = closed.recv_timeout(LIMIT);
    }

    /// Opens the same two ports again; does nothing if they are open.
    ///
    /// # Errors
    ///
    /// If another process took one of the ports in the meantime.
    pub fn go_online(&self) -> io::Result<()> {
        let mut online = lock(&self.online);
        if online.is_none() {
            let [grpc, http] = &self.ports;
            let listeners = [listen(grpc.0)?, listen(http.0)?];
            *online = Some(self.serve(listeners));
        }
        Ok(())
    }

    fn serve(&self, listeners: [TcpListener; 2]) -> Online {
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        for (listener, (_, port)) in listeners.into_iter().zip(&self.ports) {
            let accept = server::accept(
                listener,
                port.clone(),
                self.tls.clone(),
                stop.clone(),
                tasks.clone(),
            );
            tasks.spawn_on(accept, &self.runtime);
        }
        Online { stop, tasks }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.stop.cancel();
        // Ends by the thread's end; the limit is for a machine that stands still.
        let _ = lock(&self.stopped).recv_timeout(LIMIT);
    }
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector")
            .field("grpc_endpoint", &self.grpc_endpoint())
            .field("http_endpoint", &self.http_endpoint())
            .field("spans", &self.span_count())
            .field("attempts", &self.received_attempts())
            .finish_non_exhaustive()
    }
}

/// Shared between tasks in an `Arc`.
const _: fn() = || {
    fn promised<T: Send + Sync + 'static>() {}
    promised::<Collector>();
};

/// Settings of a [`Collector`].
#[derive(Clone)]
#[must_use = "nothing listens until `start` is called"]
pub struct CollectorBuilder {
    max_message_size: usize,
    count_only: bool,
    http_path: String,
    takes_logs: bool,
    patience: Duration,
    tls: Option<tls::Acceptor>,
}

impl CollectorBuilder {
    /// The largest message it takes, in bytes, also after decompression. A larger one is answered
    /// with `RESOURCE_EXHAUSTED` or 413. Default 4 MiB, as usual for gRPC.
    pub fn max_message_size(mut self, bytes: usize) -> Self {
        self.max_message_size = bytes;
        self
    }

    /// Counts spans and keeps none of them, nor the bytes of requests: for tests under load.
    /// [`Collector::span_count`] and [`ReceivedRequest::span_count`] stay true, and
    /// [`Collector::spans`] is empty. What is wrong within a span goes unnoticed.
    pub fn count_only(mut self) -> Self {
        self.count_only = true;
        self
    }

    /// The path at which OTLP/HTTP takes traces; any other but that of logs, `/v1/logs`, is answered
    /// with 404. Default `/v1/traces`.
    pub fn with_http_path(mut self, path: impl Into<String>) -> Self {
        self.http_path = path.into();
        self
    }

    /// Takes no logs, as a backend of traces alone: they are answered with `UNIMPLEMENTED`, or 404 at
    /// `/v1/logs`.
    pub fn without_logs(mut self) -> Self {
        self.takes_logs = false;
        self
    }

    /// How long the `expect_*` methods wait before they fail. Default 5 s.
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Serves `https` on both ports. All three are PEM documents: the certificate chain, its
    /// private key, and the authorities to which a client's certificate must chain; without these
    /// none is asked for.
    ///
    /// # Errors
    ///
    /// If one of them cannot be read or does not fit the others.
    #[cfg(feature = "tls")]
    pub fn with_tls(
        mut self,
        certificate: impl AsRef<[u8]>,
        key: impl AsRef<[u8]>,
        client_ca: Option<&[u8]>,
    ) -> io::Result<Self> {
        let tls = tls::Acceptor::new(certificate.as_ref(), key.as_ref(), client_ca)?;
        self.tls = Some(tls);
        Ok(self)
    }

    /// Starts the collector; when this returns, it listens.
    ///
    /// # Errors
    ///
    /// What the system said when a port was opened on 127.0.0.1 or the thread started.
    pub fn start(self) -> io::Result<Collector> {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listeners = [listen(any)?, listen(any)?];
        let store = Arc::new(RequestStore::new());
        let port = |protocol, listener: &TcpListener| {
            let port = Port {
                protocol,
                http_path: self.http_path.clone(),
                takes_logs: self.takes_logs,
                max_message_size: self.max_message_size,
                count_only: self.count_only,
                store: store.clone(),
            };
            io::Result::Ok((listener.local_addr()?, Arc::new(port)))
        };
        let ports = [
            port(Protocol::Grpc, &listeners[0])?,
            port(Protocol::HttpProtobuf, &listeners[1])?,
        ];
        let stop = CancellationToken::new();
        let (runtime, stopped) = start_thread(stop.clone())?;
        let collector = Collector {
            store,
            patience: self.patience,
            runtime,
            ports,
            tls: self.tls,
            online: Mutex::new(None),
            stop,
            stopped: Mutex::new(stopped),
        };
        let online = collector.serve(listeners);
        *lock(&collector.online) = Some(online);
        Ok(collector)
    }
}

impl fmt::Debug for CollectorBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CollectorBuilder")
            .field("max_message_size", &self.max_message_size)
            .field("count_only", &self.count_only)
            .field("http_path", &self.http_path)
            .field("takes_logs", &self.takes_logs)
            .field("patience", &self.patience)
            .field("tls", &self.tls.is_some())
            .finish()
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Starts the collector's thread and runtime. The receiver closes when the thread has ended.
fn start_thread(
    stop: CancellationToken,
) -> io::Result<(tokio::runtime::Handle, mpsc::Receiver<()>)> {
    let (ready, started) = mpsc::channel();
    let (done, stopped) = mpsc::channel();
    let run = move || {
        // What hyper and h2 trace here is no business of the application under test.
        suppress::mark_thread();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        match runtime {
            Err(e) => drop(ready.send(Err(e))),
            Ok(runtime) => {
                let _ = ready.send(Ok(runtime.handle().clone()));
                runtime.block_on(stop.cancelled());
                // Drops all tasks, and their sockets with them.
                drop(runtime);
            }
        }
        drop(done);
    };
    std::thread::Builder::new()
        .name("otlp-collector".to_owned())
        .spawn(run)?;
    let runtime = started
        .recv()
        .map_err(|_| io::Error::other("the collector's thread ended at once"))??;
    Ok((runtime, stopped))
}

/// The longest that closing sockets may take.
const LIMIT: Duration = Duration::from_secs(2);
