//! Runs a test's dangerous half in a process of its own: one with a global subscriber, or one that
//! ends in an unusual way.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test binary uses its part, and a test may panic"
)]

use std::io::Read;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const ROLE: &str = "TRACING_OTLP_TEST_ROLE";

/// The longest that a child may live; one that passes never comes near.
const LIFE: Duration = Duration::from_secs(600);

/// How a child ended.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub output: String,
}

/// What this process is to do; `None` in the parent.
pub fn role() -> Option<String> {
    std::env::var(ROLE).ok()
}

/// Runs `test` of this binary again, in a child that has a [`role`]. A child that does not end is
/// killed, and the test fails.
#[track_caller]
pub fn run(test: &str, role: &str) -> Ended {
    run_with(test, role, &[])
}

/// The same, with these variables too.
#[track_caller]
pub fn run_with(test: &str, role: &str, variables: &[(&str, &str)]) -> Ended {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(ROLE, role)
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let out = read_all(child.stdout.take().unwrap());
    let err = read_all(child.stderr.take().unwrap());
    let deadline = Instant::now() + LIFE;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break Some(status);
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            child.wait().unwrap();
            break None;
        }
        thread::sleep(Duration::from_millis(5));
    };
    let output = out.join().unwrap() + &err.join().unwrap();
    match status {
        Some(status) => Ended { status, output },
        None => panic!("{test} as {role:?} did not end within {LIFE:?}:\n{output}"),
    }
}

impl Ended {
    /// Fails with all that the child said unless it ran its one test and that passed.
    #[track_caller]
    pub fn well(self) -> String {
        assert!(self.status.success(), "{}:\n{}", self.status, self.output);
        assert!(self.output.contains("1 passed"), "{}", self.output);
        self.output
    }
}

/// In a thread: a child that fills one pipe while the other is read would stand still.
fn read_all(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
