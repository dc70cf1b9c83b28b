//! [`Watch`]: answers in the worker's place, for tasks that wait for one whose thread is blocked.
//!
//! A task has no timer of its own. While one waits, a thread looks at the deadlines; it ends when nobody has
//! waited for a while, so that one flush after another starts no thread each.

use std::time::{Duration, Instant};

use super::flush::{FlushRequest, FlushResult};
use crate::sync::{Arc, Mutex, lock};

/// The time between two looks.
const EVERY: Duration = Duration::from_millis(250);
/// The thread ends after so many looks at nothing.
const IDLE: u32 = 20;
/// A request is answered this long after its deadline. Longer than the worker needs on a machine that has no time
/// for it: the worker's answer says what stood in the way.
const LATE: Duration = Duration::from_millis(1750);

#[derive(Debug, Default)]
pub(crate) struct Watch(Mutex<Watched>);

#[derive(Debug, Default)]
struct Watched {
    requests: Vec<Arc<FlushRequest>>,
    has_thread: bool,
}

impl Watch {
    /// Watches a request. True: the caller has to start a thread that [runs](Self::run), or say that there is
    /// [none](Self::has_none).
    #[must_use]
    pub(super) fn add(&self, request: &Arc<FlushRequest>) -> bool {
        if request.deadline.is_none() {
            return false;
        }
        let mut watched = lock(&self.0);
        watched.requests.push(Arc::clone(request));
        !std::mem::replace(&mut watched.has_thread, true)
    }

    /// The system starts no thread: the worker alone keeps the deadlines.
    pub(super) fn has_none(&self) {
        *lock(&self.0) = Watched::default();
    }

    /// Resolves overdue requests by `end`, until there was none for a while.
    pub(super) fn run(&self, end: impl Fn(&FlushRequest) -> FlushResult) {
        let mut idle = 0;
        while !self.is_over(idle) {
            std::thread::sleep(EVERY);
            let requests = std::mem::take(&mut lock(&self.0).requests);
            let mut waiting = requests;
            waiting.retain(|request| !request.is_resolved());
            let now = Instant::now();
            let is_late = |request: &Arc<FlushRequest>| {
                let deadline = request.deadline.and_then(|at| at.checked_add(LATE));
                deadline.is_some_and(|at| at <= now)
            };
            let (late, waiting): (Vec<_>, Vec<_>) = waiting.into_iter().partition(is_late);
            idle = match waiting.is_empty() && late.is_empty() {
                true => idle + 1,
                false => 0,
            };
            lock(&self.0).requests.extend(waiting);
            for request in late {
                let outcome = end(&request);
                request.resolve(outcome);
            }
        }
    }

    /// Whether the thread ends; the next request starts another one.
    fn is_over(&self, idle: u32) -> bool {
        let mut watched = lock(&self.0);
        if idle < IDLE || !watched.requests.is_empty() {
            return false;
        }
        watched.has_thread = false;
        true
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail by panicking")]
mod tests {
    use super::super::flush::{Command, FlushError, RequestQueue};
    use super::super::wake::Wake;
    use super::*;

    fn request(timeout: Duration) -> Arc<FlushRequest> {
        RequestQueue::default().submit(Command::Flush, timeout, &Wake::new())
    }

    #[test]
    fn one_thread_watches_all_and_ends_when_nobody_waits() {
        let watch = Watch::default();
        assert!(!watch.add(&request(Duration::MAX)), "it never is late");
        let (soon, answered) = (request(Duration::ZERO), request(Duration::from_secs(3600)));
        assert!(watch.add(&soon));
        assert!(!watch.add(&answered), "the thread is there");
        answered.resolve(Ok(()));
        let blocked = || Err(FlushError::Worker("blocked"));
        watch.run(|_| blocked());
        assert_eq!(soon.wait(), Some(blocked()));
        assert_eq!(answered.wait(), Some(Ok(())));
        assert!(watch.add(&soon), "and another one begins");
        watch.has_none();
        assert!(watch.add(&soon), "none could be started");
    }
}
