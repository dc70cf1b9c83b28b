//! Asks the receiver (`sink/`) what has arrived. Plain HTTP/1.1 by hand: a client library here
//! would be one more thing that contenders are measured with.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

pub(crate) struct Receiver<'a> {
    address: &'a str,
}

impl<'a> Receiver<'a> {
    pub(crate) fn at(address: &'a str) -> Self {
        Self { address }
    }

    /// Sets all counts to zero.
    pub(crate) fn reset(&self) {
        self.ask("POST", "/reset");
    }

    /// The counts, once two readings in a row agree.
    pub(crate) fn settled(&self) -> Value {
        let mut last = self.ask("GET", "/counts");
        loop {
            sleep(Duration::from_millis(200));
            let now = self.ask("GET", "/counts");
            if now == last {
                return serde_json::from_str(&now).expect("the receiver answers with JSON");
            }
            last = now;
        }
    }

    fn ask(&self, method: &str, path: &str) -> String {
        let mut stream = TcpStream::connect(self.address)
            .unwrap_or_else(|error| panic!("no receiver at {}: {error}", self.address));
        let patience = Some(Duration::from_secs(30));
        stream.set_read_timeout(patience).expect("a valid time-out");
        let request =
            format!("{method} {path} HTTP/1.1\r\nhost: sink\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a whole answer");
        assert!(head.starts_with("HTTP/1.1 200"), "{method} {path}: {head}");
        body.to_owned()
    }
}
