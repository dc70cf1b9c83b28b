//! The README's first command, used as a person uses it: started, asked for pages, ended by Ctrl-C.
#![cfg(unix)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use tracing_otlp::testing::Collector;

/// The longest that anything may take; a machine under load needs some of it.
const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn each_request_is_shown_as_it_comes_and_ctrl_c_ends_it_well() {
    let mut quickstart = Quickstart::start(&[]);
    let address = quickstart.address();
    // What is printed last is what a person sees.
    let drawn = quickstart.seen.lines().filter(|l| l.starts_with("trace "));
    assert_eq!(drawn.count(), 4, "{}", quickstart.seen);
    let viewer = quickstart.viewer();
    let shown = viewer.wait_for("/api/logs", "the shop is open");
    assert!(shown.contains("log_records_without_trace"), "{shown}");
    viewer.wait_for("/api/traces?attr=order.id%3D4711", r#""log_records":1,"#);
    for (path, shown) in [
        ("/orders/5", "url.path=/orders/5"),
        ("/pay/26", "the bank refused order 26"),
        ("/stock", "harbour"),
    ] {
        get(&address, path);
        quickstart.wait_for_line(shown);
    }
    let (status, output) = quickstart.interrupt();
    assert!(status.success(), "{status}:\n{output}");
    assert!(output.contains("rejected 0, dropped 0"), "{output}");
    assert!(!output.contains("Not every span"), "{output}");
    assert!(
        output.contains("log record  INFO  the shop is open"),
        "{output}"
    );
    assert!(output.contains("; logs: emitted "), "{output}");
    assert!(
        !output.contains('\u{1b}'),
        "no terminal, no colours:\n{output}"
    );
    for line in output
        .lines()
        .filter(|l| l.contains('▕') || l.contains('│'))
    {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

#[test]
fn an_endpoint_of_ones_own_gets_the_spans() {
    let collector = Collector::start();
    let mut quickstart = Quickstart::start(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.grpc_endpoint()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
    ]);
    let address = quickstart.address();
    get(&address, "/orders/5");
    let (status, output) = quickstart.interrupt();
    assert!(status.success(), "{status}:\n{output}");
    assert!(output.contains("rejected 0, dropped 0"), "{output}");
    let orders = collector.spans();
    let orders = orders.iter().filter(|s| s.name == "GET /orders/{id}");
    assert_eq!(orders.count(), 2);
}

#[test]
fn a_dead_endpoint_is_named_and_does_not_hold_up_ctrl_c() {
    let dead = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let mut quickstart = Quickstart::start(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &dead)]);
    let address = quickstart.address();
    get(&address, "/orders/5");
    let (status, output) = quickstart.interrupt();
    assert!(status.success(), "{status}:\n{output}");
    assert!(output.contains("Not every span was delivered"), "{output}");
    assert!(
        output.contains(dead.trim_start_matches("http://")),
        "{output}"
    );
    assert!(
        !output.contains('\u{1b}'),
        "no terminal, no colours:\n{output}"
    );
}

/// The example as a process; killed if a test ends before it.
struct Quickstart {
    child: Child,
    lines: Receiver<String>,
    seen: String,
}

impl Quickstart {
    fn start(variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(build());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("OTEL_")) {
            command.env_remove(name);
        }
        let mut child = command
            .env_remove("COLUMNS")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (send, lines) = channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        let err = BufReader::new(child.stderr.take().unwrap());
        let send_err = send.clone();
        std::thread::spawn(move || {
            let mut lines = out.lines().map_while(Result::ok);
            lines.try_for_each(|line| send.send(line))
        });
        std::thread::spawn(move || {
            let mut lines = err.lines().map_while(Result::ok);
            lines.try_for_each(|line| send_err.send(line))
        });
        Self {
            child,
            lines,
            seen: String::new(),
        }
    }

    /// Waits for the routes that are printed when the demonstration is over.
    fn address(&mut self) -> String {
        let line = self.wait_for_line("curl http://127.0.0.1:");
        self.wait_for_line("/pay/13");
        let url = line.split("http://").nth(1).unwrap();
        url.split('/').next().unwrap().to_owned()
    }

    /// The page whose address is printed first.
    fn viewer(&mut self) -> Page {
        let seen = self.seen.lines().find(|l| l.contains("?token="));
        let line = match seen.map(str::to_owned) {
            Some(line) => line,
            None => self.wait_for_line("?token="),
        };
        let url = line.split("http://").nth(1).unwrap();
        let (address, token) = url.split_once("/?token=").unwrap();
        Page {
            address: address.to_owned(),
            token: token.trim().to_owned(),
        }
    }

    #[track_caller]
    fn wait_for_line(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    self.note(&line);
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(_) => panic!("no line with {text:?}:\n{}", self.seen),
            }
        }
    }

    /// Ctrl-C, and how it ended.
    fn interrupt(mut self) -> (ExitStatus, String) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", "INT", &id]).status();
        assert!(sent.unwrap().success());
        let deadline = Instant::now() + PATIENCE;
        // The pipes close when the process ends.
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => self.note(&line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("it does not end:\n{}", self.seen),
            }
        }
        (self.child.wait().unwrap(), std::mem::take(&mut self.seen))
    }

    fn note(&mut self, line: &str) {
        self.seen.push_str(line);
        self.seen.push('\n');
    }
}

impl Drop for Quickstart {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Builds the example where this test was built, and says where it is.
fn build() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    // target/debug/deps/this
    let profile = test.parent().unwrap().parent().unwrap();
    let mut build = Command::new(env!("CARGO"));
    build.args([
        "build",
        "--quiet",
        "--all-features",
        "--example",
        "quickstart",
    ]);
    build.arg("--target-dir").arg(profile.parent().unwrap());
    if profile.ends_with("release") {
        build.arg("--release");
    }
    // Variables that speak of this package would make cargo take its dependencies for changed.
    for (name, _) in std::env::vars() {
        if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_"]
            .iter()
            .any(|p| name.starts_with(p))
        {
            build.env_remove(name);
        }
    }
    let built = build.current_dir(env!("CARGO_MANIFEST_DIR")).status();
    assert!(built.unwrap().success());
    profile.join("examples").join("quickstart")
}

/// The viewer's page, as a script asks for it.
struct Page {
    address: String,
    token: String,
}

impl Page {
    #[track_caller]
    fn wait_for(&self, path: &str, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        let authorization = format!("authorization: Bearer {}\r\n", self.token);
        loop {
            let answer = ask(&self.address, path, &authorization);
            if answer.contains(text) {
                return answer;
            }
            assert!(Instant::now() < deadline, "no {text:?}: {answer}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// A page, as `curl` asks for it.
fn get(address: &str, path: &str) -> String {
    ask(address, path, "")
}

fn ask(address: &str, path: &str, headers: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n{headers}connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
