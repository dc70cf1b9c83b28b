//! What the collector has received, and the answers that a test has set: shared by its thread and the tests.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;
use http::HeaderMap;
use tokio::sync::watch;

use super::answer::Answer;
use super::log::ReceivedLog;
use super::received::ReceivedSpan;
use super::received_request::ReceivedRequest;
use crate::config::Protocol;
use crate::sync::{Condvar, Mutex, lock, wait_timeout};

/// A request that reached the collector and could not be read: it was answered with
/// `INVALID_ARGUMENT` or 400, unless the script said otherwise.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Malformed {
    /// Which attempt it was: 1 for the first that reached the collector.
    pub attempt: u64,
    /// gRPC or HTTP.
    pub protocol: Protocol,
    /// Headers, or gRPC metadata.
    pub headers: HeaderMap,
    /// The body as it came, framing included.
    pub body: Bytes,
    /// What is wrong with it.
    pub error: String,
}

#[derive(Debug)]
pub(super) struct RequestStore {
    state: Mutex<StoreState>,
    /// Wakes those who wait in a thread.
    changed: Condvar,
    /// Wakes those who wait in a task; carries [`StoreState::version`].
    version: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct StoreState {
    /// Grows with every change, so that no waiter misses one.
    version: u64,
    /// Grows with `clear`: what began before it is forgotten also when it ends after it.
    epoch: u64,
    script: VecDeque<Answer>,
    always: Answer,
    attempts: u64,
    connections: u64,
    requests: Vec<ReceivedRequest>,
    spans: Vec<ReceivedSpan>,
    /// May exceed what `spans` holds, if the collector only counts.
    span_count: usize,
    logs: Vec<ReceivedLog>,
    /// As `span_count`.
    log_count: usize,
    malformed: Vec<Malformed>,
}

/// Finds a recorded request again, to accept it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Recorded {
    epoch: u64,
    index: usize,
}

impl RequestStore {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::new(StoreState::default()),
            changed: Condvar::new(),
            version: watch::Sender::new(0),
        }
    }

    /// Changes the state and wakes all who wait.
    fn change<T>(&self, f: impl FnOnce(&mut StoreState) -> T) -> T {
        let mut state = lock(&self.state);
        let out = f(&mut state);
        state.version += 1;
        self.version.send_replace(state.version);
        self.changed.notify_all();
        out
    }

    // The collector's side.

    pub(super) fn add_connection(&self) -> u64 {
        self.change(|s| {
            s.connections += 1;
            s.connections
        })
    }

    pub(super) fn add_attempt(&self) -> u64 {
        self.change(|s| {
            s.attempts += 1;
            s.attempts
        })
    }

    pub(super) fn next_answer(&self) -> Answer {
        self.change(|s| match s.script.pop_front() {
            Some(answer) => answer,
            None => s.always.clone(),
        })
    }

    pub(super) fn add_malformed(&self, malformed: Malformed) {
        self.change(|s| s.malformed.push(malformed));
    }

    pub(super) fn add_request(&self, request: ReceivedRequest) -> Recorded {
        self.change(|s| {
            s.requests.push(request);
            Recorded {
                epoch: s.epoch,
                index: s.requests.len() - 1,
            }
        })
    }

    pub(super) fn accept(&self, at: Recorded) {
        self.change(|s| {
            if at.epoch == s.epoch
                && let Some(request) = s.requests.get_mut(at.index)
            {
                request.accepted = true;
                s.span_count += request.span_count;
                s.spans.extend(request.spans.iter().cloned());
                s.log_count += request.log_count;
                s.logs.extend(request.logs.iter().cloned());
            }
        });
    }

    // The test's side.

    pub(super) fn set_script(&self, script: VecDeque<Answer>) {
        self.change(|s| s.script = script);
    }

    pub(super) fn set_always(&self, answer: Answer) {
        self.change(|s| s.always = answer);
    }

    pub(super) fn script_left(&self) -> usize {
        lock(&self.state).script.len()
    }

    pub(super) fn clear(&self) {
        self.change(|s| {
            s.epoch += 1;
            s.attempts = 0;
            s.requests.clear();
            s.spans.clear();
            s.span_count = 0;
            s.logs.clear();
            s.log_count = 0;
            s.malformed.clear();
        });
    }

    pub(super) fn spans(&self) -> Vec<ReceivedSpan> {
        lock(&self.state).spans.clone()
    }

    pub(super) fn span_count(&self) -> usize {
        lock(&self.state).span_count
    }

    pub(super) fn logs(&self) -> Vec<ReceivedLog> {
        lock(&self.state).logs.clone()
    }

    pub(super) fn log_count(&self) -> usize {
        lock(&self.state).log_count
    }

    pub(super) fn requests(&self) -> Vec<ReceivedRequest> {
        lock(&self.state).requests.clone()
    }

    pub(super) fn malformed(&self) -> Vec<Malformed> {
        lock(&self.state).malformed.clone()
    }

    pub(super) fn attempts(&self) -> u64 {
        lock(&self.state).attempts
    }

    pub(super) fn connections(&self) -> u64 {
        lock(&self.state).connections
    }

    /// The version to compare with, read before a condition is asked.
    pub(super) fn version(&self) -> u64 {
        lock(&self.state).version
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// Waits until something changed since `version`; false if `deadline` came first.
    pub(super) fn wait_for_change(&self, version: u64, deadline: Instant) -> bool {
        let mut state = lock(&self.state);
        while state.version == version {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = wait_timeout(&self.changed, state, left);
        }
        true
    }
}
