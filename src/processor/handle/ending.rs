//! Flush and shutdown of a processor, and of those of its additional exporters.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::thread;
use std::time::Duration;

use super::{Additional, BatchProcessor};
use crate::error::Error;
use crate::processor::flush::{Command, FlushRequest, FlushResult, Resolution};
use crate::processor::plan::place_of;
use crate::processor::shared::Shared;
use crate::stats::DropReason;
use crate::suppress;
use crate::sync::Arc;

impl BatchProcessor {
    /// Sends every span that was pushed before this call, and resolves when each of them is delivered,
    /// rejected or dropped. Begins at once, whether or not the future is polled, and needs no runtime.
    ///
    /// Errors: the `timeout` passed first; or spans were lost, for whatever reason, or left out data for
    /// want of memory, since the last flush that was answered (since the start, for the first flush). In a
    /// fork of the process that started the processor, this call and [`shutdown`](Self::shutdown) return an
    /// error at once: a fork has no worker. After a shutdown the queue is empty: `Ok`. An
    /// [`Exporter`](crate::export::Exporter) that blocks the worker's thread delays the error of a deadline by
    /// two seconds.
    pub fn force_flush(
        &self,
        timeout: Duration,
    ) -> impl Future<Output = Result<(), Error>> + Send + use<> {
        self.begin(Command::Flush, timeout)
    }

    /// [`force_flush`](Self::force_flush) for code that is not async. Also works on a runtime's thread,
    /// which it blocks.
    pub fn force_flush_blocking(&self, timeout: Duration) -> Result<(), Error> {
        self.block(Command::Flush, timeout)
    }

    /// Refuses further spans, sends the queued ones, and ends the worker; at the deadline, spans that are
    /// not sent are counted as lost. Begins at once, whether or not the future is polled.
    ///
    /// The first call decides: later calls wait for it and return the same result.
    pub fn shutdown(
        &self,
        timeout: Duration,
    ) -> impl Future<Output = Result<(), Error>> + Send + use<> {
        self.begin(Command::Shutdown, timeout)
    }

    /// [`shutdown`](Self::shutdown) for code that is not async. Also works on a runtime's thread, which it
    /// blocks.
    pub fn shutdown_blocking(&self, timeout: Duration) -> Result<(), Error> {
        self.block(Command::Shutdown, timeout)
    }

    /// Begins a flush or a shutdown of this processor and of those of the additional exporters. Resolves when
    /// all have ended, with the error of each that has one.
    fn begin(
        &self,
        command: Command,
        timeout: Duration,
    ) -> impl Future<Output = Result<(), Error>> + Send + use<> {
        let answer = |processor: &Self, place| WatchedAnswer {
            resolution: Resolution(processor.submit(command, timeout)),
            unwatched: Some(Arc::clone(&processor.shared)),
            place,
        };
        let of_additional = |a: &Additional| answer(&a.processor, Some(place_of(&a.name)));
        let additional = self.additional.iter().map(of_additional);
        EndOfAll {
            waiting: std::iter::once(answer(self, None))
                .chain(additional)
                .collect(),
            ended: Ok(()),
        }
    }

    pub(super) fn submit(&self, command: Command, timeout: Duration) -> Arc<FlushRequest> {
        match self.shared.forked() {
            Some(forked) => Arc::new(forked.answer(command, timeout)),
            None => {
                let wake = &self.shared.spans.wake;
                self.shared.requests.submit(command, timeout, wake)
            }
        }
    }

    fn block(&self, command: Command, timeout: Duration) -> Result<(), Error> {
        if suppress::is_suppressed() {
            return Err(Error::worker(
                "a blocking flush or shutdown on the worker's own thread would wait for itself; \
                 await the async one there",
            ));
        }
        // All begin at once, and have one deadline.
        let additional = self.additional.iter();
        let additional: Vec<_> = additional
            .map(|a| (a, a.processor.submit(command, timeout)))
            .collect();
        let ended = self.wait_for(&self.submit(command, timeout));
        additional.into_iter().fold(ended, |ended, (a, request)| {
            let end = a.processor.wait_for(&request);
            both(ended, end.map_err(|error| error.of(&place_of(&a.name))))
        })
    }

    /// Waits for the end of a flush or a shutdown of this processor alone.
    fn wait_for(&self, request: &FlushRequest) -> Result<(), Error> {
        let outcome = request.wait();
        let outcome = outcome.unwrap_or_else(|| without_worker(&self.shared, request));
        outcome.map_err(Error::from)
    }
}

/// The end of a request whose deadline has passed while the worker is blocked.
fn without_worker(shared: &Shared, request: &FlushRequest) -> FlushResult {
    let why = || {
        let why = "an exporter holds the worker's thread, or the machine has no time for it";
        Some(why.to_owned())
    };
    if request.command == Command::Shutdown {
        shared.close_queue(DropReason::ShutdownTimeout);
        shared.requests.close(request.timed_out(why()));
        shared.spans.wake.notify();
    }
    request.timed_out(why())
}

/// The answer to one request. The worker keeps its deadline; a thread watches the worker while somebody waits.
struct WatchedAnswer {
    resolution: Resolution,
    /// `None`: it is watched.
    unwatched: Option<Arc<Shared>>,
    /// Whose it is, for errors; `None`: the pipeline's own exporter's.
    place: Option<String>,
}

/// One end of two: both errors count.
fn both(one: Result<(), Error>, other: Result<(), Error>) -> Result<(), Error> {
    match (one, other) {
        (Err(one), Err(other)) => Err(one.and(&other)),
        (one, other) => one.and(other),
    }
}

impl Future for WatchedAnswer {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = Pin::new(&mut self.resolution).poll(cx);
        if answer.is_pending()
            && let Some(shared) = self.unwatched.take()
        {
            watch(shared, &self.resolution.0);
        }
        answer.map_err(|error| match &self.place {
            Some(place) => error.of(place),
            None => error,
        })
    }
}

fn watch(shared: Arc<Shared>, request: &Arc<FlushRequest>) {
    if !shared.watch.add(request) {
        return;
    }
    let theirs = Arc::clone(&shared);
    let watch = move || {
        suppress::mark_thread();
        theirs.watch.run(|request| without_worker(&theirs, request));
    };
    let thread = thread::Builder::new().name("otlp-deadline".to_owned());
    if thread.spawn(watch).is_err() {
        shared.watch.has_none();
    }
}

/// Resolves when all have ended, with the errors of all.
struct EndOfAll {
    waiting: VecDeque<WatchedAnswer>,
    ended: Result<(), Error>,
}

impl Future for EndOfAll {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        while let Some(next) = self.waiting.front_mut() {
            let end = ready!(Pin::new(next).poll(cx));
            self.waiting.pop_front();
            let before = std::mem::replace(&mut self.ended, Ok(()));
            self.ended = both(before, end);
        }
        Poll::Ready(std::mem::replace(&mut self.ended, Ok(())))
    }
}
