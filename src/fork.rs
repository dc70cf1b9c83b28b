//! [`Home`]: the process in which something was made, told from its forks.
//!
//! After a fork the child has a copy of everything but the threads: no worker, locks that nobody will
//! let go of, and a generator that makes the same ids as its siblings'. So whoever has such things
//! asks first whether the process is still the one that made them. Asking the system for the id of
//! the process takes from 50 ns to a microsecond, too long for each span; a counter that only a fork
//! moves is one load. It is moved by a handler that runs in the child (`pthread_atfork`), adds one,
//! and does nothing else.

use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use forkguard::Guard;

use crate::error::Error;

/// The process that made the value that has it.
#[derive(Debug, Clone)]
pub(crate) struct Home {
    guard: Guard,
    pid: u32,
}

impl Home {
    /// This process. Fails where the system has no memory for the handler.
    pub(crate) fn here() -> Result<Self, Error> {
        static HANDLER: Handler = Handler(AtomicU32::new(Handler::ABSENT));
        let guard = HANDLER.guard()?;
        Ok(Self {
            guard,
            pid: process::id(),
        })
    }

    /// Whether this process is a fork of the one that made the value.
    #[inline(always)]
    pub(crate) fn is_left(&self) -> bool {
        // Only a copy may be asked by reference; it is gone when it is compiled.
        self.guard.clone().detected_fork()
    }

    /// The same, at the price of a system call: it also finds a fork whose handlers did not run, as
    /// after a bare `clone`.
    pub(crate) fn is_surely_left(&self) -> bool {
        self.is_left() || process::id() != self.pid
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }
}

/// How far the handler is that notices forks: [`ABSENT`](Self::ABSENT), [`THERE`](Self::THERE), or the id
/// of the process that is at it. `forkguard` waits for the thread that registers it, also in a fork that
/// this thread is not in; so nobody asks it before that is done.
struct Handler(AtomicU32);

impl Handler {
    const ABSENT: u32 = 0;
    const THERE: u32 = u32::MAX;

    fn guard(&self) -> Result<Guard, Error> {
        let refused = |why: &dyn std::fmt::Display| {
            Error::worker(format!("forks of this process cannot be noticed: {why}"))
        };
        let own = process::id();
        let take = || {
            self.0
                .compare_exchange(Self::ABSENT, own, Ordering::Acquire, Ordering::Acquire)
        };
        loop {
            match take() {
                Err(Self::THERE) => return Guard::try_new().map_err(|e| refused(&e)),
                Ok(_) => {
                    let guard = Guard::try_new();
                    let state = if guard.is_ok() {
                        Self::THERE
                    } else {
                        Self::ABSENT
                    };
                    self.0.store(state, Ordering::Release);
                    return guard.map_err(|e| refused(&e));
                }
                // Another thread, and it is done in a moment.
                Err(other) if other == own => std::thread::yield_now(),
                Err(_) => {
                    return Err(refused(&"it was forked while that was prepared"));
                }
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use once_cell::race::OnceBox;

    use super::*;

    #[test]
    fn a_fork_does_not_wait_for_the_thread_that_registers_the_handler() {
        let other = process::id() - 1;
        let handler = Handler(AtomicU32::new(other));
        assert!(handler.guard().unwrap_err().to_string().contains("forked"));
        let handler = Handler(AtomicU32::new(Handler::ABSENT));
        handler.guard().unwrap();
        handler.guard().unwrap();
        assert!(!Home::here().unwrap().is_surely_left());
    }

    /// What is made once in a fork, or may be there half made: see the layer's heir, the processor's
    /// place, the attributes of a callsite.
    #[test]
    fn nobody_waits_for_a_thread_that_makes_what_is_made_once() {
        static PLACE: OnceBox<u32> = OnceBox::new();
        let (go, may_go) = mpsc::channel::<()>();
        let (begun, has_begun) = mpsc::channel();
        let slow = thread::spawn(move || {
            *PLACE.get_or_init(|| {
                begun.send(()).unwrap();
                // For ever, in a fork.
                may_go.recv().unwrap();
                Box::new(1)
            })
        });
        has_begun.recv().unwrap();
        assert_eq!(*PLACE.get_or_init(|| Box::new(2)), 2);
        go.send(()).unwrap();
        assert_eq!(slow.join().unwrap(), 2, "both have the same");
    }
}
