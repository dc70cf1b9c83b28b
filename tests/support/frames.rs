//! A server of HTTP/2 that sends the frames of a test, whatever the protocol says.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// What follows when a request has been read whole.
pub enum Reply {
    Send(Vec<u8>),
    /// The connection is closed afterwards.
    Last(Vec<u8>),
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut out = len[1..].to_vec();
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
    out
}

pub fn settings(pairs: &[(u16, u32)]) -> Vec<u8> {
    let pairs = pairs.iter();
    let payload = pairs.flat_map(|(key, value)| {
        let mut pair = key.to_be_bytes().to_vec();
        pair.extend_from_slice(&value.to_be_bytes());
        pair
    });
    frame(SETTINGS, 0, 0, &payload.collect::<Vec<_>>())
}

pub fn go_away(last: u32, code: u32) -> Vec<u8> {
    let payload = [last.to_be_bytes(), code.to_be_bytes()].concat();
    frame(7, 0, 0, &payload)
}

/// Headers or trailers; literals without compression, in as many frames as they need.
pub fn headers(stream: u32, is_last: bool, list: &[(&str, &str)]) -> Vec<u8> {
    const LONGEST: usize = 16_384;
    let mut block = Vec::new();
    for (name, value) in list {
        block.push(0);
        for text in [name, value] {
            length(text.len(), &mut block);
            block.extend_from_slice(text.as_bytes());
        }
    }
    let mut parts = block.chunks(LONGEST).enumerate().peekable();
    let mut out = Vec::new();
    while let Some((n, part)) = parts.next() {
        let ends_block = 4 * u8::from(parts.peek().is_none());
        out.extend(match n {
            0 => frame(HEADERS, ends_block | u8::from(is_last), stream, part),
            _ => frame(CONTINUATION, ends_block, stream, part),
        });
    }
    out
}

/// An integer with a prefix of seven bits.
fn length(mut n: usize, out: &mut Vec<u8>) {
    if n < 127 {
        return out.push(n as u8);
    }
    out.push(127);
    n -= 127;
    while n >= 128 {
        out.push(n as u8 | 128);
        n >>= 7;
    }
    out.push(n as u8);
}

pub fn data(stream: u32, is_last: bool, bytes: &[u8]) -> Vec<u8> {
    frame(DATA, u8::from(is_last), stream, bytes)
}

pub const HEAD: [(&str, &str); 2] = [(":status", "200"), ("content-type", "application/grpc")];
/// A message of no bytes in its frame.
pub const EMPTY: [u8; 5] = [0; 5];

/// A success of gRPC.
pub fn ok(stream: u32) -> Vec<u8> {
    let status = [("grpc-status", "0")];
    [
        headers(stream, false, &HEAD),
        data(stream, false, &EMPTY),
        headers(stream, true, &status),
    ]
    .concat()
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;

/// The URL of a server that begins each connection with `first`, and replies to a request on connection `n` and
/// stream `s` by `reply(n, s)`.
pub fn serve(
    first: Vec<u8>,
    reply: impl Fn(usize, u32) -> Reply + Send + Sync + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let reply = Arc::new(reply);
    std::thread::spawn(move || {
        for (n, stream) in listener.incoming().map_while(Result::ok).enumerate() {
            let (first, reply) = (first.clone(), Arc::clone(&reply));
            std::thread::spawn(move || talk(stream, &first, |stream| reply(n, stream)));
        }
    });
    url
}

fn talk(mut peer: TcpStream, first: &[u8], reply: impl Fn(u32) -> Reply) -> io::Result<()> {
    peer.read_exact(&mut [0; 24])?;
    peer.write_all(first)?;
    loop {
        let mut head = [0; 9];
        peer.read_exact(&mut head)?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        peer.read_exact(&mut payload)?;
        match (kind, flags & 1 == 1) {
            (SETTINGS, false) => peer.write_all(&frame(SETTINGS, 1, 0, &[]))?,
            (PING, false) => peer.write_all(&frame(PING, 1, 0, &payload))?,
            (DATA | HEADERS, true) => match reply(u32::from_be_bytes(stream)) {
                Reply::Send(bytes) => peer.write_all(&bytes)?,
                Reply::Last(bytes) => {
                    peer.write_all(&bytes)?;
                    peer.shutdown(Shutdown::Write)?;
                    // Closed with bytes unread, it would be reset, and the last ones might be lost.
                    peer.set_read_timeout(Some(Duration::from_secs(1)))?;
                    let _ = peer.read_to_end(&mut Vec::new());
                    return Ok(());
                }
            },
            _ => {}
        }
    }
}
