//! Waiting for what arrives: always with a deadline, in a thread or in a task.

use std::fmt;
use std::time::{Duration, Instant};

use super::collector::Collector;
use super::received::ReceivedSpan;

impl Collector {
    /// Waits until `condition` holds for the accepted spans, and returns these. Blocks the thread;
    /// in a task see [`wait_for_async`](Self::wait_for_async).
    ///
    /// # Errors
    ///
    /// [`Timeout`], if it does not hold within `deadline`.
    pub fn wait_for(
        &self,
        deadline: Duration,
        mut condition: impl FnMut(&[ReceivedSpan]) -> bool,
    ) -> Result<Vec<ReceivedSpan>, Timeout> {
        let mut spans = Vec::new();
        self.wait_until(deadline, |collector| {
            spans = collector.spans();
            condition(&spans)
        })?;
        Ok(spans)
    }

    /// Waits until `n` spans, or more, were accepted, and returns them. Blocks the thread; in a
    /// task see [`wait_for_spans_async`](Self::wait_for_spans_async).
    ///
    /// # Errors
    ///
    /// [`Timeout`], if fewer arrive within `deadline`.
    pub fn wait_for_spans(
        &self,
        n: usize,
        deadline: Duration,
    ) -> Result<Vec<ReceivedSpan>, Timeout> {
        self.wait_until(deadline, |collector| collector.span_count() >= n)?;
        Ok(self.spans())
    }

    /// Waits until `condition` holds for the collector, such as
    /// `|c| c.received_attempts() == 3`. It is asked at once and after every change. Blocks the
    /// thread.
    ///
    /// # Errors
    ///
    /// [`Timeout`], if it does not hold within `deadline`.
    pub fn wait_until(
        &self,
        deadline: Duration,
        mut condition: impl FnMut(&Self) -> bool,
    ) -> Result<(), Timeout> {
        let until = Instant::now() + deadline;
        loop {
            // Read first: a change while the condition is asked has it asked again.
            let version = self.store.version();
            if condition(self) {
                return Ok(());
            }
            if !self.store.wait_for_change(version, until) {
                return Err(self.timeout(deadline));
            }
        }
    }

    /// Waits as [`wait_for`](Self::wait_for) does, as a future for any runtime, or none: the
    /// deadline is kept by the collector's own clock, also where tokio's is paused.
    ///
    /// # Errors
    ///
    /// [`Timeout`], if the condition does not hold within `deadline`.
    pub async fn wait_for_async(
        &self,
        deadline: Duration,
        mut condition: impl FnMut(&[ReceivedSpan]) -> bool,
    ) -> Result<Vec<ReceivedSpan>, Timeout> {
        let mut spans = Vec::new();
        self.wait_until_async(deadline, |collector| {
            spans = collector.spans();
            condition(&spans)
        })
        .await?;
        Ok(spans)
    }

    /// Waits as [`wait_for_spans`](Self::wait_for_spans) does, as a future.
    ///
    /// # Errors
    ///
    /// [`Timeout`], if fewer arrive within `deadline`.
    pub async fn wait_for_spans_async(
        &self,
        n: usize,
        deadline: Duration,
    ) -> Result<Vec<ReceivedSpan>, Timeout> {
        self.wait_until_async(deadline, |collector| collector.span_count() >= n)
            .await?;
        Ok(self.spans())
    }

    /// Waits as [`wait_until`](Self::wait_until) does, as a future.
    ///
    /// # Errors
    ///
    /// [`Timeout`], if the condition does not hold within `deadline`.
    pub async fn wait_until_async(
        &self,
        deadline: Duration,
        mut condition: impl FnMut(&Self) -> bool,
    ) -> Result<(), Timeout> {
        let too_late = {
            let _collectors_clock = self.runtime.enter();
            tokio::time::sleep(deadline)
        };
        tokio::pin!(too_late);
        // Subscribed first: a change while the condition is asked has it asked again.
        let mut changes = self.store.subscribe();
        while !condition(self) {
            tokio::select! {
                biased;
                changed = changes.changed() => {
                    if changed.is_err() {
                        return Err(self.timeout(deadline));
                    }
                }
                () = &mut too_late => return Err(self.timeout(deadline)),
            }
        }
        Ok(())
    }

    fn timeout(&self, waited: Duration) -> Timeout {
        Timeout {
            waited,
            attempts: self.received_attempts(),
            malformed: self.malformed().len(),
            spans: self.spans(),
        }
    }
}

/// What was waited for did not come; says what did.
#[derive(Clone)]
#[non_exhaustive]
pub struct Timeout {
    /// How long it was waited for.
    pub waited: Duration,
    /// Requests that had arrived, whatever became of them.
    pub attempts: u64,
    /// How many of them could not be read.
    pub malformed: usize,
    /// The spans that had been accepted.
    pub spans: Vec<ReceivedSpan>,
}

impl fmt::Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (n, attempts) = (self.spans.len(), self.attempts);
        write!(
            f,
            "waited {:?} in vain; {n} {} arrived in {attempts} {}",
            self.waited,
            plural(n as u64, "span"),
            plural(attempts, "request"),
        )?;
        if self.malformed > 0 {
            write!(f, " ({} malformed)", self.malformed)?;
        }
        write!(f, ": {}", Names(&self.spans))
    }
}

impl fmt::Debug for Timeout {
    /// As `Display`, so that `unwrap` says it readably.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Timeout {}

pub(super) fn plural(n: u64, one: &str) -> String {
    format!("{one}{}", if n == 1 { "" } else { "s" })
}

/// The names of spans in order of first arrival, with how often each came.
pub(super) struct Names<'a>(pub(super) &'a [ReceivedSpan]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        let mut counts: Vec<(&str, usize)> = Vec::new();
        let mut others = 0;
        for span in self.0 {
            match counts.iter().position(|(name, _)| *name == span.name) {
                Some(i) => counts[i].1 += 1,
                None if counts.len() < MOST_NAMES => counts.push((&span.name, 1)),
                None => others += 1,
            }
        }
        for (i, (name, n)) in counts.iter().enumerate() {
            write!(f, "{}{name:?}", if i == 0 { "" } else { ", " })?;
            if *n > 1 {
                write!(f, " ×{n}")?;
            }
        }
        if others > 0 {
            write!(f, " and {others} of other names")?;
        }
        Ok(())
    }
}

const MOST_NAMES: usize = 20;
