//! [`Home`]: the process in which something was made, told from its forks.
//!
//! After a fork the child has a copy of everything but the threads: no worker, locks that nobody will
//! let go of, and a generator that makes the same ids as its siblings'. So whoever has such things
//! asks first whether the process is still the one that made them. Asking the system for the id of
//! the process takes from 50 ns to a microsecond, too long for each span; a counter that only a fork
//! moves is one load. It is moved by a handler that runs in the child (`pthread_atfork`), adds one,
//! and does nothing else.

use std::process;

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
        let guard = Guard::try_new()
            .map_err(|e| Error::worker(format!("forks of this process cannot be noticed: {e}")))?;
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
