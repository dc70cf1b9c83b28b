//! [`GracefulShutdown`]: ends a server, then its pipeline, within one deadline (feature `tower`).
//!
//! You need this module if your program is a server that stops by a signal: it waits for the requests in
//! flight before it flushes their spans. Without a server use
//! [`ShutdownGuard::shutdown`](crate::ShutdownGuard::shutdown).

#[cfg_attr(not(unix), path = "graceful/ctrl_c.rs")]
mod signals;

use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use self::signals::Signals;
use crate::error::Error;
use crate::guard::ShutdownGuard;
use crate::middleware::InFlight;

impl ShutdownGuard {
    /// Ends a server together with the pipeline, all within `timeout` of the signal: see
    /// [`GracefulShutdown`].
    pub fn graceful(&self, timeout: Duration) -> GracefulShutdown<'_> {
        GracefulShutdown {
            guard: self,
            timeout,
            in_flight: InFlight::new(),
            stop: CancellationToken::new(),
        }
    }
}

/// Runs a server until Ctrl-C or SIGTERM (or [`stop`](StopHandle::stop)), lets the requests in flight
/// end, and then shuts the pipeline down: from [`ShutdownGuard::graceful`].
///
/// From the signal on, the server has three quarters of the timeout to finish its requests; a second
/// signal ends this wait. The pipeline has the rest of the timeout. [`Ended`] reports the requests and
/// spans that did not finish.
///
/// Spans that are still open when the server has ended, or its time is up, end then, marked as
/// [unfinished](ShutdownGuard::end_open_spans).
///
/// While the pipeline ends, and afterwards, a signal has the same effect as before `serve`: if that was
/// the default action, it ends the process. A signal within half a second of the last counts as the
/// same key press. If the application handles signals itself, by `tokio::signal` or otherwise, before
/// `serve`, during it or after it, then only its handler acts.
///
/// ```no_run
/// # use std::time::Duration;
/// # async fn main_() -> Result<(), Box<dyn std::error::Error>> {
/// # let app = axum::Router::new();
/// use tracing_otlp::middleware::ServerLayer;
///
/// let guard = tracing_otlp::init()?;
/// let graceful = guard.graceful(Duration::from_secs(10));
/// let app = app.layer(ServerLayer::new().with_in_flight(graceful.in_flight()));
///
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
/// let ended = graceful
///     .serve(|stop| axum::serve(listener, app).with_graceful_shutdown(stop))
///     .await;
/// // Lost telemetry is worth a line, and no reason to fail.
/// if let Err(error) = ended.pipeline {
///     tracing::warn!(%error, "not every span was delivered");
/// }
/// # Ok(()) }
/// ```
#[must_use = "it does nothing until `serve` is called and awaited"]
pub struct GracefulShutdown<'a> {
    guard: &'a ShutdownGuard,
    timeout: Duration,
    in_flight: InFlight,
    stop: CancellationToken,
}

/// Stops the server of a [`GracefulShutdown`] from anywhere, as a signal does.
#[derive(Clone)]
pub struct StopHandle(CancellationToken);

/// How a server and its pipeline ended.
#[derive(Debug)]
#[non_exhaustive]
pub struct Ended<T> {
    /// The server's output; `None` if it had not ended when its time was up.
    pub server: Option<T>,
    /// Requests that had not ended when the server's time was up.
    pub in_flight: usize,
    /// The result of [`ShutdownGuard::shutdown`]: an error if not every span was delivered.
    pub pipeline: Result<(), Error>,
}

impl GracefulShutdown<'_> {
    /// The counter for [`ServerLayer::with_in_flight`](crate::middleware::ServerLayer::with_in_flight) of
    /// one or several layers: the shutdown waits until it is at zero.
    pub fn in_flight(&self) -> InFlight {
        self.in_flight.clone()
    }

    /// A handle that stops the server as a signal does.
    pub fn stop_handle(&self) -> StopHandle {
        StopHandle(self.stop.clone())
    }

    /// Resolves when the server has to stop, for a second server of the same process.
    pub fn stop_signal(&self) -> StopSignal {
        StopSignal {
            stop: self.stop.clone().cancelled_owned(),
        }
    }

    /// Runs the future of `server` until it ends, or until a signal and the time after it; then shuts the
    /// pipeline down.
    ///
    /// Needs a tokio runtime with I/O and time. If the signal handler cannot be installed, which an event
    /// of level ERROR reports, only [`stop`](StopHandle::stop) stops the server.
    pub async fn serve<S>(self, server: impl FnOnce(StopSignal) -> S) -> Ended<S::Output>
    where
        S: IntoFuture,
    {
        let mut server = pin!(server(self.stop_signal()).into_future());
        let mut signals = Signals::listen(report_missing_signals);
        let stopped = async {
            tokio::select! {
                () = signals.next() => self.stop.cancel(),
                () = self.stop.cancelled() => {}
            }
        };
        let mut output = tokio::select! {
            output = &mut server => Some(output),
            () = stopped => None,
        };
        let now = Instant::now();
        // The server may have ended by itself: other holders of a stop signal stop too.
        self.stop.cancel();
        let patience = self.timeout - self.timeout / 4;
        let rest = async {
            if output.is_none() {
                output = Some(server.await);
            }
            self.in_flight.wait().await;
        };
        let too_long = async {
            match now.checked_add(patience) {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = rest => {}
            () = too_long => {}
            () = signals.next() => {}
        }
        // From here on Ctrl-C has its default action again, so that another one ends the process.
        drop(signals);
        let in_flight = self.in_flight.len();
        // The flush exports only ended spans.
        self.guard.end_open_spans();
        let left = self.timeout.saturating_sub(now.elapsed());
        Ended {
            server: output,
            in_flight,
            pipeline: self.guard.shutdown(left).await,
        }
    }
}

impl StopHandle {
    /// Stops the server. A second call does nothing.
    pub fn stop(&self) {
        self.0.cancel();
    }
}

pin_project! {
    /// Resolves when a server has to stop; for `axum::serve(…).with_graceful_shutdown` and similar.
    #[must_use = "a future does nothing unless it is polled"]
    pub struct StopSignal {
        #[pin]
        stop: WaitForCancellationFutureOwned,
    }
}

impl Future for StopSignal {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.project().stop.poll(cx)
    }
}

fn report_missing_signals(error: &std::io::Error) {
    tracing::error!(target: "tracing_otlp", %error, "a signal cannot be listened to");
}

impl fmt::Debug for GracefulShutdown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GracefulShutdown")
            .field("timeout", &self.timeout)
            .field("in_flight", &self.in_flight)
            .field("is_stopped", &self.stop.is_cancelled())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for StopHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_stopped = self.0.is_cancelled();
        f.debug_tuple("StopHandle").field(&is_stopped).finish()
    }
}

impl fmt::Debug for StopSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StopSignal").finish_non_exhaustive()
    }
}

const _: fn() = || {
    fn promised<T: Send + Sync + 'static>() {}
    promised::<StopHandle>();
    promised::<StopSignal>();
    promised::<GracefulShutdown<'static>>();
};
