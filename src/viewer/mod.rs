//! A trace viewer in the browser: [`viewer()`] beside the other exporters, or the program
//! `tracing-otlp-viewer` (feature `viewer`).
//!
//! ```no_run
//! # fn main() -> Result<(), tracing_otlp::Error> {
//! use tracing_subscriber::prelude::*;
//!
//! let viewer = tracing_otlp::viewer().build()?; // prints the address of the page
//! let (layer, _guard) = tracing_otlp::builder().with_exporter(viewer).build()?;
//! tracing_subscriber::registry().with(layer).init();
//! # Ok(()) }
//! ```
//!
//! It keeps the newest traces in memory, within a bound; the threads that record spans pay nothing
//! for it. The page and its data are for this machine and for who has the token in the address that
//! is printed. Who may look, the bounds and the data as JSON: [docs/viewer.md].
//!
//! [docs/viewer.md]: https://docs.rs/tracing-otlp/latest/tracing_otlp/guide/viewer/index.html

mod body;
mod connections;
mod durations;
mod events;
mod exporter;
mod filter;
mod gate;
mod json;
mod list;
mod load;
mod logs;
mod origin;
mod patience;
mod peer;
mod receiver;
mod record;
mod refusal;
mod routes;
mod same_event;
mod server;
mod store;
mod trace;
mod unpack;

pub use exporter::{ForwardingViewer, ViewerExporter, ViewerPermit};

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::Semaphore;

use self::exporter::Running;
use self::gate::Gate;
use self::receiver::Receiver;
use self::routes::Site;
use self::server::{LISTENERS, Server};
use self::store::Store;
use crate::error::Error;

/// The port of the page where nobody names one.
pub const DEFAULT_PORT: u16 = 4316;

/// Bytes of traces that are kept where nobody says how many.
const MAX_MEMORY: usize = 16 << 20;
/// Less could not hold a trace of ordinary size.
const LEAST_MEMORY: usize = 256 << 10;

/// A trace viewer; [`Viewer::build`] starts it.
pub fn viewer() -> Viewer {
    Viewer {
        address: None,
        max_memory: MAX_MEMORY,
        otlp: Vec::new(),
        files: Vec::new(),
        is_announced: true,
        joins: true,
    }
}

/// The settings of a viewer, from [`viewer()`].
#[derive(Debug, Clone)]
#[must_use = "a viewer starts with `build()`"]
pub struct Viewer {
    address: Option<SocketAddr>,
    max_memory: usize,
    otlp: Vec<SocketAddr>,
    files: Vec<PathBuf>,
    is_announced: bool,
    joins: bool,
}

impl Viewer {
    /// Where the page is served. Default port [`DEFAULT_PORT`] of 127.0.0.1, and where that is taken a
    /// free one; an address given here is used or is an error. Port 0 is a free one.
    ///
    /// An address that is not of the loopback serves other machines too: whoever has the token reads
    /// the traces, and what is sent, the token included, is not encrypted.
    pub fn with_address(mut self, address: SocketAddr) -> Self {
        self.address = Some(address);
        self
    }

    /// [`with_address`](Self::with_address) with this port of 127.0.0.1.
    pub fn with_port(self, port: u16) -> Self {
        self.with_address((Ipv4Addr::LOCALHOST, port).into())
    }

    /// Bytes of traces that are kept. Default 16 MiB; at least 256 KiB.
    pub fn with_max_memory(mut self, bytes: usize) -> Self {
        self.max_memory = bytes;
        self
    }

    /// Also takes spans and log records of other processes here, by OTLP over gRPC and HTTP (protobuf or
    /// JSON). May be called for several addresses. Default none; the program `tracing-otlp-viewer` takes 4317 and 4318 of
    /// the loopback.
    ///
    /// An address that is not of the loopback takes them from other machines, without a token.
    pub fn with_otlp_address(mut self, address: SocketAddr) -> Self {
        self.otlp.push(address);
        self
    }

    /// Shows the spans and log records of a file too, which is read when the viewer is built: OTLP as lines of JSON, as
    /// `OtlpFileExporter` (feature `file`) and the Collector's file exporter write it. May be called for several
    /// files. A line that cannot be read is left out, and a warning names it.
    pub fn with_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.files.push(path.into());
        self
    }

    /// Whether the address of the page is printed on standard error, once. Default true.
    pub fn with_announcement(mut self, is_announced: bool) -> Self {
        self.is_announced = is_announced;
        self
    }

    /// Whether a program `tracing-otlp-viewer` that has [`DEFAULT_PORT`] gets the spans, so that those
    /// of several processes show in one page. Default true, and only where no address is given; needs
    /// the feature `http`.
    pub fn with_join(mut self, joins: bool) -> Self {
        self.joins = joins;
        self
    }

    /// Starts the viewer on a thread of its own and prints its address. It ends when the exporter is
    /// dropped.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`] where an address or a file that was given cannot be used;
    /// [`Error::is_worker`] where the system gives no thread or no random token.
    pub fn build(self) -> Result<ViewerExporter, Error> {
        if self.max_memory < LEAST_MEMORY {
            return Err(Error::config(
                "viewer.max_memory",
                self.max_memory.to_string(),
                "give at least 262144 bytes (256 KiB)",
            ));
        }
        let page = match self.address {
            Some(address) => bind("viewer.address", address)?,
            None => {
                let address = (Ipv4Addr::LOCALHOST, DEFAULT_PORT).into();
                match bind("viewer.address", address) {
                    Ok(listener) => listener,
                    Err(_) if self.joins && self.otlp.is_empty() && self.files.is_empty() => {
                        match self.join(address) {
                            Some(joined) => return Ok(joined),
                            None => bind_free()?,
                        }
                    }
                    Err(_) => bind_free()?,
                }
            }
        };
        self.start(page)
    }

    /// Sends to the viewer at `address`, if it is one.
    fn join(&self, address: SocketAddr) -> Option<ViewerExporter> {
        let exporter = ViewerExporter::joined(peer::find(address)?)?;
        if self.is_announced {
            announce(&format!(
                "spans go to the viewer at http://{address}/ (its own output has the address with the token)"
            ));
        }
        Some(exporter)
    }

    fn start(self, page: TcpListener) -> Result<ViewerExporter, Error> {
        let store = Arc::new(Store::new(self.max_memory));
        for path in &self.files {
            let loaded = load::load(&store, path).map_err(|e| {
                let cure = "give a file of OTLP as lines of JSON";
                Error::config("viewer.file", path.display().to_string(), cure).with_source(e)
            })?;
            if self.is_announced {
                announce(&loaded.told(path));
            }
        }
        let mut receivers = Vec::new();
        let mut otlp = None;
        for address in self.otlp {
            let listener = bind("viewer.otlp_address", address)?;
            let address = local(&listener)?;
            otlp = Some(address);
            let receiver = Receiver::new(Arc::clone(&store), address.ip().is_loopback());
            receivers.push((listener, Arc::new(receiver)));
        }
        let address = local(&page)?;
        let gate = Gate::new(address.port(), address.ip().is_loopback())?;
        let url = format!("http://{address}/?token={}", gate.token());
        let token = gate.token().to_owned();
        let otlp_addresses = receivers
            .iter()
            .filter_map(|(l, _)| l.local_addr().ok())
            .collect();
        let site = Arc::new(Site {
            gate,
            store: Arc::clone(&store),
            otlp: otlp.map(|address| format!("http://{address}")),
            listeners: Arc::new(Semaphore::new(LISTENERS)),
        });
        let server = Server::start(page, site, receivers)?;
        if self.is_announced {
            announce(&format!("traces are at {url}"));
        }
        Ok(ViewerExporter::local(Running {
            store,
            url,
            token,
            address,
            otlp: otlp_addresses,
            _server: server,
        }))
    }
}

fn bind(setting: &'static str, address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).map_err(|e| {
        let cure = "give an address of this machine whose port is free (port 0 is any free one)";
        Error::config(setting, address.to_string(), cure).with_source(e)
    })
}

fn bind_free() -> Result<TcpListener, Error> {
    bind("viewer.address", (Ipv4Addr::LOCALHOST, 0).into())
}

fn local(listener: &TcpListener) -> Result<SocketAddr, Error> {
    listener
        .local_addr()
        .map_err(|e| Error::worker("the viewer's socket has no address").with_source(e))
}

/// A line on standard error; who closed it wants none.
fn announce(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "tracing-otlp: {line}");
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests;
