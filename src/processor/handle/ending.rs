//! Flush and shutdown of a processor, and of those of its additional exporters.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::BatchProcessor;
use crate::error::Error;
use crate::processor::flush::{Command, FlushRequest, Resolution};
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
    /// error at once: a fork has no worker. After a shutdown the queue is empty: `Ok`. The worker watches
    /// the deadline, so an [`Exporter`](crate::export::Exporter) that blocks the worker's thread delays the answer; the blocking
    /// calls watch it themselves.
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
    /// all have ended, with the first error.
    fn begin(
        &self,
        command: Command,
        timeout: Duration,
    ) -> impl Future<Output = Result<(), Error>> + Send + use<> {
        let additional = self.additional.iter().map(|a| &a.processor);
        let all = std::iter::once(self).chain(additional);
        EndOfAll {
            waiting: all
                .map(|p| Resolution(p.submit(command, timeout)))
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
        let ended = self.wait_for(command, &self.submit(command, timeout));
        additional.into_iter().fold(ended, |ended, (a, request)| {
            ended.and(a.processor.wait_for(command, &request))
        })
    }

    /// Waits for the end of a flush or a shutdown of this processor alone.
    fn wait_for(&self, command: Command, request: &FlushRequest) -> Result<(), Error> {
        if let Some(outcome) = request.wait() {
            return outcome.map_err(Error::from);
        }
        // The worker is blocked: the deadline is kept here.
        let why = || {
            let why = "an exporter holds the worker's thread, or the machine has no time for it";
            Some(why.to_owned())
        };
        if command == Command::Shutdown {
            self.shared.close_queue(DropReason::ShutdownTimeout);
            self.shared.requests.close(request.timed_out(why()));
            self.shared.spans.wake.notify();
        }
        request.timed_out(why()).map_err(Error::from)
    }
}

/// Resolves when all have ended, with the first error.
struct EndOfAll {
    waiting: VecDeque<Resolution>,
    ended: Result<(), Error>,
}

impl Future for EndOfAll {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        while let Some(next) = self.waiting.front_mut() {
            let ended = ready!(Pin::new(next).poll(cx));
            self.waiting.pop_front();
            if self.ended.is_ok() {
                self.ended = ended;
            }
        }
        Poll::Ready(std::mem::replace(&mut self.ended, Ok(())))
    }
}
