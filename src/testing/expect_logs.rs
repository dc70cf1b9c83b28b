//! What a [`Collector`] received as log records.

use super::collector::Collector;
use super::log::ReceivedLog;
use super::wait::plural;
use crate::text;

/// Log records.
impl Collector {
    /// The log records that were accepted, in order of arrival.
    pub fn logs(&self) -> Vec<ReceivedLog> {
        self.store.logs()
    }

    /// How many log records were accepted.
    pub fn log_count(&self) -> usize {
        self.store.log_count()
    }

    /// Waits for `n` log records and returns them.
    ///
    /// # Panics
    ///
    /// If fewer arrive in time, or more have arrived; the message names them.
    #[track_caller]
    pub fn expect_logs(&self, n: usize) -> Vec<ReceivedLog> {
        let _ = self.wait_until(self.patience, |c| c.log_count() >= n);
        let logs = self.logs();
        if logs.len() != n {
            self.fail_logs(&format!("expected {n} {}", plural(n as u64, "log record")));
        }
        logs
    }

    /// Waits for a log record with this message and returns it: the first, if there are several.
    ///
    /// # Panics
    ///
    /// If none arrives in time; the message names those that did.
    #[track_caller]
    pub fn expect_log(&self, message: &str) -> ReceivedLog {
        let mut found = None;
        let _ = self.wait_until(self.patience, |c| {
            found = c.logs().into_iter().find(|log| log.message() == message);
            found.is_some()
        });
        match found {
            Some(log) => log,
            None => self.fail_logs(&format!("expected a log record {message:?}")),
        }
    }

    #[track_caller]
    fn fail_logs(&self, expected: &str) -> ! {
        const MOST: usize = 20;
        let logs = self.logs();
        let shown = logs
            .iter()
            .take(MOST)
            .map(|log| format!("{:?}", log.message()));
        let arrived = text::join(shown, ", ");
        let more = match logs.len().saturating_sub(MOST) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let attempts = self.received_attempts();
        panic!(
            "{expected} within {:?}\n  arrived: {}{arrived}{more}\n  {attempts} {} came, {} could not be read",
            self.patience,
            if logs.is_empty() { "none" } else { "" },
            plural(attempts, "request"),
            self.malformed().len(),
        )
    }
}
