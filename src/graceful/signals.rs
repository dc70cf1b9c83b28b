//! [`Signals`]: Ctrl-C and SIGTERM, handled while a server runs, with their default action afterwards.
//!
//! An installed handler is permanent: the system does not show whether another part of the process
//! relies on it, so neither tokio nor `signal-hook` removes one, and the signal's default action is
//! lost. So one thread of the process waits for signals for good. While a server runs, it passes them
//! on; otherwise it performs the default action itself, unless other code of the process has a handler.

use std::hash::{Hash, Hasher};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use once_cell::race::OnceBox;
use signal_hook::SigId;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals as IncomingSignals;
use signal_hook::low_level::{emulate_default_handler, unregister};
use tokio::sync::watch;

const SIGNALS: [i32; 2] = [SIGINT, SIGTERM];

/// A signal this soon after another is the same key press, which reaches the process twice: from the
/// terminal, and from its parent process.
const ONE_PRESS: Duration = Duration::from_millis(500);

/// Receives Ctrl-C and SIGTERM until it is dropped.
pub(super) struct Signals {
    listener: Option<Listener>,
}

struct Listener {
    shared: &'static SignalState,
    pressed: watch::Receiver<u64>,
    seen: u64,
}

/// What the servers of a process and the thread of the signals share.
struct SignalState {
    /// The number of signals passed on. The thread writes, the servers read.
    pressed: watch::Sender<u64>,
    /// The number of servers that run. The servers write; at zero the thread performs the default action.
    serving: AtomicUsize,
}

impl Signals {
    /// If the handlers cannot be installed, `report` gets the reason, and [`next`](Self::next) never
    /// resolves.
    pub(super) fn listen(report: fn(&io::Error)) -> Self {
        let listener = match shared() {
            Ok(shared) => {
                shared.serving.fetch_add(1, Ordering::SeqCst);
                let pressed = shared.pressed.subscribe();
                let seen = *pressed.borrow();
                Some(Listener {
                    shared,
                    pressed,
                    seen,
                })
            }
            Err(error) => {
                report(&error);
                None
            }
        };
        Self { listener }
    }

    /// Resolves at the next signal. Cancel safe.
    pub(super) async fn next(&mut self) {
        if let Some(listener) = &mut self.listener {
            let seen = listener.seen;
            if listener.pressed.wait_for(|n| *n > seen).await.is_ok() {
                listener.seen += 1;
                return;
            }
        }
        std::future::pending().await
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.shared.serving.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Starts the thread with the first server. After a failure the next server tries again.
fn shared() -> io::Result<&'static SignalState> {
    static SHARED: OnceBox<SignalState> = OnceBox::new();
    static IS_LISTENING: AtomicBool = AtomicBool::new(false);
    let shared = SHARED.get_or_init(|| {
        Box::new(SignalState {
            pressed: watch::Sender::new(0),
            serving: AtomicUsize::new(0),
        })
    });
    if !IS_LISTENING.swap(true, Ordering::SeqCst) {
        let started = start(shared);
        if let Err(error) = started {
            IS_LISTENING.store(false, Ordering::SeqCst);
            return Err(error);
        }
    }
    Ok(shared)
}

fn start(shared: &'static SignalState) -> io::Result<()> {
    // Before our handler is installed, which replaces the default action.
    let default = SIGNALS.map(has_default_action);
    let signals = IncomingSignals::new(SIGNALS)?;
    let mut others = Others::new();
    let closer = signals.handle();
    let started = thread::Builder::new()
        .name("otlp-signals".to_owned())
        .spawn(move || listen(shared, signals, default, &mut others));
    if started.is_err() {
        closer.close();
    }
    started.map(drop)
}

fn listen(
    shared: &'static SignalState,
    mut signals: IncomingSignals,
    default: [bool; SIGNALS.len()],
    others: &mut Others,
) {
    let mut passed_on: Option<Instant> = None;
    for signal in signals.forever() {
        let is_same_press = passed_on.is_some_and(|at| at.elapsed() < ONE_PRESS);
        if shared.serving.load(Ordering::SeqCst) > 0 {
            passed_on = Some(Instant::now());
            shared.pressed.send_modify(|n| *n += 1);
            continue;
        }
        let had_default = SIGNALS.iter().zip(default).any(|s| s == (&signal, true));
        if had_default && !is_same_press && !others.listen() {
            // Ends the process by this signal.
            let _ = emulate_default_handler(signal);
        }
    }
}

/// Detects handlers that other code of the process registered since, for example by `tokio::signal`.
///
/// `signal-hook` has no list of handlers. But it numbers all registrations of the process in sequence,
/// so a gap between two of ours is another handler. A handler for another signal makes a gap too: then
/// the signal has no effect. That is the smaller fault, because a process with a handler of its own must
/// not be ended.
struct Others {
    /// The number of our last registration.
    last: Option<u128>,
    is_known: bool,
}

impl Others {
    fn new() -> Self {
        let last = register();
        Self {
            last,
            is_known: last.is_none(),
        }
    }

    fn listen(&mut self) -> bool {
        let now = register();
        let expected = self.last.and_then(|last| last.checked_add(1));
        self.is_known |= now.is_none() || now != expected;
        self.last = now;
        self.is_known
    }
}

/// Registers an empty handler, removes it, and returns its number.
fn register() -> Option<u128> {
    let id = signal_hook::flag::register(SIGTERM, Arc::default()).ok()?;
    unregister(id);
    number(&id)
}

/// The number of a registration: `SigId` exposes it only to a `Hasher`.
fn number(id: &SigId) -> Option<u128> {
    #[derive(Default)]
    struct Found(Option<u128>);
    impl Hasher for Found {
        fn write(&mut self, _: &[u8]) {}

        fn write_u128(&mut self, number: u128) {
            self.0 = Some(number);
        }

        fn finish(&self) -> u64 {
            0
        }
    }
    let mut found = Found::default();
    id.hash(&mut found);
    found.0
}

/// Whether a signal is neither caught nor ignored; true if the system does not show it, which is
/// nearly always right.
fn has_default_action(signal: i32) -> bool {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else {
        return true;
    };
    let bit = 1u64.checked_shl(signal.unsigned_abs().wrapping_sub(1));
    let is_set = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let mask = line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        mask.unwrap_or(0) & bit.unwrap_or(0) != 0
    };
    !is_set("SigCgt:") && !is_set("SigIgn:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registration_of_somebody_else_is_noticed() {
        let mut others = Others::new();
        assert!(others.last.is_some(), "ids have numbers");
        let theirs = signal_hook::flag::register(signal_hook::consts::SIGUSR2, Arc::default());
        assert!(others.listen());
        assert!(others.listen(), "and stays known");
        assert!(unregister(theirs.unwrap_or_else(|e| panic!("{e}"))));
    }

    #[test]
    fn an_action_that_is_not_the_default_is_noticed() {
        // Rust's runtime ignores it.
        assert!(!has_default_action(signal_hook::consts::SIGPIPE));
        assert!(has_default_action(signal_hook::consts::SIGUSR1));
    }
}
