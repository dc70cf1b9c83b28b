//! [`Signals`]: Ctrl-C and SIGTERM, listened to while a server runs and given back afterwards.
//!
//! A handler that was installed once stays: the system tells nobody whether another part of the
//! process relies on it, so neither tokio nor `signal-hook` takes one away, and from then on the
//! signal's default action is gone. So one thread of the process goes on listening. While a server
//! runs it passes signals on; when none does, it does itself what the system would have done, unless
//! somebody else listens.

use std::hash::{Hash, Hasher};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use once_cell::race::OnceBox;
use signal_hook::SigId;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals as Iterator;
use signal_hook::low_level::{emulate_default_handler, unregister};
use tokio::sync::watch;

const SIGNALS: [i32; 2] = [SIGINT, SIGTERM];

/// What comes so soon after a signal that was passed on is the same key press, which reached the
/// process on two ways: from the terminal, and from a program above it.
const ONE_PRESS: Duration = Duration::from_millis(500);

/// Ctrl-C and SIGTERM, until this is dropped.
pub(super) struct Signals {
    listener: Option<Listener>,
}

struct Listener {
    shared: &'static Shared,
    pressed: watch::Receiver<u64>,
    seen: u64,
}

/// What the servers of a process share with the thread that listens.
struct Shared {
    /// How many signals were passed on.
    pressed: watch::Sender<u64>,
    /// How many servers listen.
    serving: AtomicUsize,
}

impl Signals {
    /// Where signals cannot be listened to, `tell` is told why, and none comes.
    pub(super) fn listen(tell: fn(&io::Error)) -> Self {
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
                tell(&error);
                None
            }
        };
        Self { listener }
    }

    /// The next one; never where none is listened to. Cancel safe.
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

/// Starts the thread with the first server. A failure is not kept: the next server tries again.
fn shared() -> io::Result<&'static Shared> {
    static SHARED: OnceBox<Shared> = OnceBox::new();
    static IS_LISTENING: AtomicBool = AtomicBool::new(false);
    let shared = SHARED.get_or_init(|| {
        Box::new(Shared {
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

fn start(shared: &'static Shared) -> io::Result<()> {
    // Asked before there is a handler of ours.
    let default = SIGNALS.map(has_default_action);
    let signals = Iterator::new(SIGNALS)?;
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
    shared: &'static Shared,
    mut signals: Iterator,
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
            // Ends the process by this very signal.
            let _ = emulate_default_handler(signal);
        }
    }
}

/// Whether anybody else in the process has registered a handler since, as an application does that
/// listens by `tokio::signal`.
///
/// There is no list of handlers to be read. But each registration gets the number after the last
/// one's, whoever made it, so a gap between two of our own is somebody else's. A handler for another
/// signal makes a gap too, and then nothing is done: the signal has no effect, as if we had left
/// only our handler behind. That is the lesser evil, for a process that listens must not be ended.
struct Others {
    /// The number of our own last registration.
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

/// Registers a handler that does nothing, takes it away again, and tells its number.
fn register() -> Option<u128> {
    let id = signal_hook::flag::register(SIGTERM, Arc::default()).ok()?;
    unregister(id);
    number(&id)
}

/// The number in an id, which shows it to hashers only.
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

/// Whether a signal is neither caught nor ignored; where the system does not tell, it is taken for
/// granted, as nearly always it is true.
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
