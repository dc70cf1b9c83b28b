use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::time::Instant;

use super::*;
use crate::viewer::store::Store;

const HEAD: &str = "POST /v1/traces HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-protobuf\r\nContent-Length: 4\r\n\r\n";
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

fn connect() -> DuplexStream {
    let receiver = Arc::new(Receiver::new(Arc::new(Store::new(1 << 20)), true));
    let place = Arc::new(Connections::new(CLIENTS)).admit().unwrap();
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    tokio::spawn(receive(ours, place, receiver));
    theirs
}

/// How long a peer that begins so is waited for, and what it is told.
async fn silence(beginning: &[u8]) -> (Duration, String) {
    let mut stream = connect();
    let begin = Instant::now();
    stream.write_all(beginning).await.unwrap();
    let mut told = Vec::new();
    let _ = stream.read_to_end(&mut told).await;
    let told = String::from_utf8_lossy(&told).into_owned();
    (begin.elapsed(), told)
}

#[tokio::test(start_paused = true)]
async fn whoever_begins_and_says_no_more_is_hung_up_on() {
    for beginning in [&b""[..], b"P", b"POST /v1", PREFACE] {
        let (passed, _) = silence(beginning).await;
        let longest = HEAD_TIME + GOODBYE;
        assert!(
            (HEAD_TIME..=longest).contains(&passed),
            "{beginning:?}: {passed:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stands_still_is_refused() {
    let (_, told) = silence(format!("{HEAD}ab").as_bytes()).await;
    assert!(told.starts_with("HTTP/1.1 408 "), "{told}");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_trickles_is_refused() {
    let mut stream = connect();
    let begin = Instant::now();
    let head = HEAD.replace("Length: 4", "Length: 9");
    stream.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..8 {
        tokio::time::sleep(Duration::from_secs(7)).await;
        if stream.write_all(b"x").await.is_err() {
            break;
        }
    }
    let mut told = [0; 13];
    stream.read_exact(&mut told).await.unwrap();
    assert_eq!(&told, b"HTTP/1.1 408 ");
    assert!(begin.elapsed() < Duration::from_secs(120));
}

#[tokio::test(start_paused = true)]
async fn a_client_keeps_its_connection_from_one_export_to_the_next() {
    let mut stream = connect();
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_secs(9)).await;
        let post = HEAD.replace("Length: 4", "Length: 0");
        stream.write_all(post.as_bytes()).await.unwrap();
        let mut answer = vec![0; 1024];
        let n = stream.read(&mut answer).await.unwrap();
        assert!(answer[..n].starts_with(b"HTTP/1.1 200 "));
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
}
