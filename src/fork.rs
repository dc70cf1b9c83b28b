//! [`Home`]: the process that made a value, distinguished from its forks.
//!
//! After a fork the child has a copy of all memory and one thread: no worker, locks of threads that do
//! not exist, and the same state of the id generator as its siblings. So each owner of such things
//! checks first whether this process made them. `getpid` takes from 50 ns to a microsecond, too long
//! for each span; a counter that a fork increments is one load. A handler that runs in the child
//! (`pthread_atfork`) increments it, and does nothing else.

use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use forkguard::Guard;

use crate::error::Error;

/// The process that made the value that contains this.
#[derive(Debug, Clone)]
pub(crate) struct Home {
    guard: Guard,
    pid: u32,
}

impl Home {
    /// This process. Fails if the system has no memory for the handler.
    pub(crate) fn here() -> Result<Self, Error> {
        static HANDLER: ForkHandler = ForkHandler(AtomicU32::new(ForkHandler::ABSENT));
        let guard = HANDLER.guard()?;
        Ok(Self {
            guard,
            pid: process::id(),
        })
    }

    /// Whether this process is a fork of the one that made the value.
    #[inline(always)]
    pub(crate) fn is_left(&self) -> bool {
        // `detected_fork` takes `&mut self`, so a copy is asked; the compiler removes it.
        self.guard.clone().detected_fork()
    }

    /// The same with a system call: also finds a fork whose handlers did not run, as after a bare
    /// `clone`.
    pub(crate) fn is_surely_left(&self) -> bool {
        self.is_left() || process::id() != self.pid
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }
}

/// The state of the handler's registration: [`ABSENT`](Self::ABSENT), [`REGISTERED`](Self::REGISTERED), or
/// the id of the process that registers it now. `forkguard` waits for the registering thread, which in
/// a fork may not exist; so one thread registers, and others use it afterwards.
struct ForkHandler(AtomicU32);

impl ForkHandler {
    const ABSENT: u32 = 0;
    const REGISTERED: u32 = u32::MAX;

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
                Err(Self::REGISTERED) => return Guard::try_new().map_err(|e| refused(&e)),
                Ok(_) => {
                    let guard = Guard::try_new();
                    let state = if guard.is_ok() {
                        Self::REGISTERED
                    } else {
                        Self::ABSENT
                    };
                    self.0.store(state, Ordering::Release);
                    return guard.map_err(|e| refused(&e));
                }
                // Another thread of this process registers, which takes microseconds.
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
        let handler = ForkHandler(AtomicU32::new(other));
        assert!(handler.guard().unwrap_err().to_string().contains("forked"));
        let handler = ForkHandler(AtomicU32::new(ForkHandler::ABSENT));
        handler.guard().unwrap();
        handler.guard().unwrap();
        assert!(!Home::here().unwrap().is_surely_left());
    }

    /// Values that are made once (the recorder of a fork, the processor's home, a callsite's attributes)
    /// may be half made at a fork.
    #[test]
    fn no_thread_waits_for_another_that_makes_a_value_once() {
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
