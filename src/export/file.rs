//! [`OtlpFileExporter`]: OTLP as JSON lines, in a file or on standard output (LOG-70 to LOG-75).

mod rotate;

use std::fmt;
use std::future::Future;
use std::io::{self, Write};
use std::path::PathBuf;

use self::rotate::Rotating;
use super::{Batch, Exporter, Outcome};
use crate::error::Error;
use crate::signal::Signal;
use crate::stats::DropReason;
use crate::sync::{Arc, AtomicBool, Mutex, Ordering, lock};
use crate::wire::json;

/// The default size of a file, in bytes, before it is rotated.
const MAX_SIZE: u64 = 64 << 20;
/// The default number of files, with the current one.
const MAX_FILES: usize = 5;

/// Writes each batch as one line: an `ExportTraceServiceRequest` in OTLP's JSON encoding (feature `file`), or
/// an `ExportLogsServiceRequest` for the log records of a pipeline with
/// [logs](crate::OtlpBuilder::with_logs).
///
/// `tracing-otlp-viewer trace.jsonl` and the Collector's receiver `otlpjsonfile` read such a file. Lines on
/// standard output (`OTEL_TRACES_EXPORTER=otlp/stdout`) are for an agent that collects the logs of
/// containers.
///
/// ```no_run
/// # fn main() -> Result<(), tracing_otlp::Error> {
/// use tracing_otlp::export::OtlpFileExporter;
///
/// let exporter = OtlpFileExporter::file("traces/shop.jsonl")
///     .with_max_size(16 << 20)
///     .with_max_files(3)
///     .open()?;
/// let (layer, guard) = tracing_otlp::builder().with_exporter(exporter).build()?;
/// # let _ = (layer, guard); Ok(()) }
/// ```
///
/// The exporter writes from the worker's thread, each line with one `write`. Spans that cannot be written
/// are counted as [`DropReason::Internal`](crate::DropReason::Internal). An incomplete line (the disk is
/// full) is removed from a file, or ended by a line break, so that the next line can be read. A flush returns
/// when the lines are written, and does not wait for the disk.
pub struct OtlpFileExporter {
    out: Arc<Mutex<Output>>,
    closed: AtomicBool,
}

/// The settings of a file, from [`OtlpFileExporter::file`].
#[derive(Debug, Clone)]
#[must_use = "a file is opened by `open()`"]
pub struct OtlpFile {
    path: PathBuf,
    max_size: u64,
    max_files: usize,
}

enum Output {
    File(Rotating),
    /// The writer, and whether its last line is incomplete.
    Stream(Box<dyn Write + Send>, bool),
}

impl OtlpFileExporter {
    /// Lines on standard output.
    pub fn stdout() -> Self {
        Self::with_writer(io::stdout())
    }

    /// Lines to any writer: standard error, a socket, a buffer.
    pub fn with_writer(out: impl Write + Send + 'static) -> Self {
        Self::of(Output::Stream(Box::new(out), false))
    }

    /// Lines appended to a file; its directory must exist. `.jsonl` is the usual extension.
    ///
    /// A full file `shop.jsonl` is renamed to `shop.1.jsonl`, that one to `shop.2.jsonl`, and so on; the
    /// oldest is deleted. Only one process may write to a file: two processes that rotate it lose lines. A file
    /// that was moved or removed meanwhile is begun anew.
    pub fn file(path: impl Into<PathBuf>) -> OtlpFile {
        OtlpFile {
            path: path.into(),
            max_size: MAX_SIZE,
            max_files: MAX_FILES,
        }
    }

    fn of(out: Output) -> Self {
        Self {
            out: Arc::new(Mutex::new(out)),
            closed: AtomicBool::new(false),
        }
    }
}

impl OtlpFile {
    /// The size of a file, in bytes, before it is rotated; a single longer line is still written whole.
    /// Default: 64 MiB.
    pub fn with_max_size(mut self, bytes: u64) -> Self {
        self.max_size = bytes;
        self
    }

    /// The number of files, with the current one. Default: 5. With 1, a full file is emptied.
    pub fn with_max_files(mut self, count: usize) -> Self {
        self.max_files = count.max(1);
        self
    }

    /// Opens or creates the file.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`] if the file cannot be written.
    pub fn open(self) -> Result<OtlpFileExporter, Error> {
        let path = self.path.display().to_string();
        // The file is opened again later, when the process may have another working directory.
        let open = std::path::absolute(self.path)
            .and_then(|path| Rotating::open(path, self.max_size, self.max_files));
        let file = open.map_err(|e| {
            let cure = "give a file in a folder that is there, and that this process may write to";
            Error::config("file.path", path, cure).with_source(e)
        })?;
        Ok(OtlpFileExporter::of(Output::File(file)))
    }
}

impl Output {
    fn put(&mut self, line: &[u8]) -> io::Result<()> {
        match self {
            Self::File(file) => file.put(line),
            Self::Stream(out, is_broken) => {
                if *is_broken {
                    out.write_all(b"\n")?;
                }
                *is_broken = true;
                out.write_all(line)?;
                *is_broken = false;
                out.flush()
            }
        }
    }
}

impl Exporter for OtlpFileExporter {
    type Permit = ();

    async fn ready(&self) {}

    fn send(&self, (): (), batch: Batch) -> impl Future<Output = Outcome> + Send + 'static {
        let is_closed = self.closed.load(Ordering::Relaxed);
        let out = Arc::clone(&self.out);
        async move {
            let spans = batch.item_count() as u64;
            if is_closed {
                return Outcome::dropped(DropReason::AlreadyShutdown, spans, "file: shut down");
            }
            let mut line = String::with_capacity(2 * batch.encoded_len());
            let resource = batch.resource();
            let items = batch.items().map(|item| (item.scope, item.message));
            let unreadable = match batch.signal() {
                Signal::Traces => json::put_request(&mut line, resource, items),
                Signal::Logs => json::put_logs_request(&mut line, resource, items),
            };
            line.push('\n');
            let written = spans.saturating_sub(unreadable);
            let outcome = match lock(&out).put(line.as_bytes()) {
                Ok(()) => Outcome::delivered(written),
                Err(e) => Outcome::dropped(DropReason::Internal, written, format!("file: {e}")),
            };
            match unreadable {
                0 => outcome,
                _ => outcome.merge(Outcome::dropped(
                    DropReason::Internal,
                    unreadable,
                    format!("file: some {} cannot be read", batch.signal().items()),
                )),
            }
        }
    }

    fn supports(&self, _: Signal) -> bool {
        true
    }

    fn shutdown(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }
}

impl fmt::Debug for OtlpFileExporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtlpFileExporter").finish_non_exhaustive()
    }
}
