//! An application with `panic = "abort"` (profile `abort`): its panic hook exports the open spans of all
//! threads before the process ends, also when the panic is not on the main thread.

use std::env;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::Duration;

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

const ENDPOINT: &str = "ABORTING_ENDPOINT";
/// Longer than anything here takes that does not hang.
const LONG: Duration = Duration::from_secs(60);

fn main() {
    assert!(cfg!(panic = "abort"), "run it with `--profile abort`");
    match env::var(ENDPOINT) {
        Ok(endpoint) => crash(&endpoint),
        Err(_) => watch(),
    }
}

/// The application: a span on each of two threads, and a panic on the second.
fn crash(endpoint: &str) {
    let (layer, guard) = tracing_otlp::builder()
        .without_env()
        .with_endpoint(endpoint)
        .with_schedule_delay(Duration::from_secs(3600))
        .build()
        .expect("valid settings");
    tracing_subscriber::registry().with(layer).init();
    guard.panic_hook().install();
    let _elsewhere = tracing::info_span!("elsewhere").entered();
    let crashing = thread::spawn(|| {
        let _work = tracing::info_span!("crashing work").entered();
        panic!("no way out");
    });
    let _ = crashing.join();
    unreachable!("it outlived an abort");
}

/// Its endpoint, and who looks at how it ended.
fn watch() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    let program = env::current_exe().expect("this program");
    let mut child = Command::new(program)
        .env(ENDPOINT, endpoint)
        .spawn()
        .expect("a child");
    let received = thread::spawn(move || request(listener.accept().expect("a connection").0));
    let status = child.wait().expect("an end");
    #[cfg(unix)]
    {
        use std::os::unix::process::ExitStatusExt as _;
        assert_eq!(status.signal(), Some(6), "{status}");
    }
    assert!(!status.success());
    let received = received.join().expect("a request");
    for text in [
        "crashing work",
        "elsewhere",
        "no way out",
        "tracing_otlp.unfinished",
    ] {
        assert!(received.contains(text), "no {text:?} in {received}");
    }
}

/// The body of one request over HTTP/1.1, whose spans are not compressed.
fn request(mut stream: TcpStream) -> String {
    stream.set_read_timeout(Some(LONG)).expect("a timeout");
    let (mut bytes, mut part) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&bytes).to_lowercase();
        let head = text.find("\r\n\r\n");
        let length = text.split("content-length: ").nth(1);
        let length = length.and_then(|rest| rest.lines().next()?.trim().parse::<usize>().ok());
        let raw_head = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        if let (Some(_), Some(length), Some(at)) = (head, length, raw_head)
            && bytes.len() >= at + 4 + length
        {
            break;
        }
        match stream.read(&mut part).expect("a whole request") {
            0 => panic!("it hung up after {} bytes", bytes.len()),
            read => bytes.extend_from_slice(&part[..read]),
        }
    }
    let answer =
        "HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
    stream.write_all(answer.as_bytes()).expect("an answer");
    String::from_utf8_lossy(&bytes).into_owned()
}
