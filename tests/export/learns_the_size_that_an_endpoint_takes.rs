//! A refusal that comes before the body was read is heard, whatever happens to the connection, and the
//! size that an endpoint refuses is not sent again and again (OTLP-12, PAIN 28).

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use crate::support::pipeline::{BOTH, Pipeline, balanced, builder, distinct, last_error, told};
use tracing_otlp::testing::Collector;
use tracing_otlp::{DropReason, Protocol};

const LIMIT: usize = 100_000;

/// What a server does with a request whose head announces too much.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Manner {
    /// Answers 413 and closes: what is unread resets the connection.
    AnswerAndReset,
    /// Reads some of it first.
    ReadAnswerAndReset,
    /// Answers 400, as Go's servers do, and goes on.
    BadRequest,
    /// Says nothing, and resets the connection.
    Reset,
}

/// A server of HTTP/1.1; the sizes that it refused.
fn server(manner: Manner) -> (String, Arc<Mutex<Vec<usize>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let refused = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&refused);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let log = Arc::clone(&log);
            std::thread::spawn(move || serve(stream, manner, &log));
        }
    });
    (endpoint, refused)
}

fn serve(stream: TcpStream, manner: Manner, refused: &Mutex<Vec<usize>>) -> Option<()> {
    let mut reader = BufReader::with_capacity(1 << 10, stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
            let line = line.to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        if length > LIMIT {
            refused.lock().unwrap().push(length);
            if manner == Manner::ReadAnswerAndReset {
                reader.read_exact(&mut vec![0; LIMIT / 2]).ok()?;
            }
            match manner {
                Manner::Reset => return None,
                Manner::BadRequest => {
                    answer = "HTTP/1.1 400 Bad Request\r\ncontent-length: 28\r\n\r\n\
                              http: request body too large";
                }
                _ => {
                    let answer = "HTTP/1.1 413 Payload Too Large\r\nconnection: close\r\n\
                                  content-length: 0\r\n\r\n";
                    reader.get_mut().write_all(answer.as_bytes()).ok()?;
                    return None;
                }
            }
        }
        reader.read_exact(&mut vec![0; length]).ok()?;
        reader.get_mut().write_all(answer.as_bytes()).ok()?;
    }
}

#[test]
fn an_early_answer_is_heard_though_the_connection_is_reset() {
    for manner in [
        Manner::AnswerAndReset,
        Manner::ReadAnswerAndReset,
        Manner::BadRequest,
    ] {
        let (endpoint, refused) = server(manner);
        let builder = builder(Protocol::HttpProtobuf, &endpoint).with_max_concurrent_exports(1);
        let pipeline = Pipeline::start(builder);
        for _ in 0..5 {
            pipeline.spans(500, 2000);
            pipeline.flush().unwrap();
        }
        let stats = pipeline.settle(2500);
        assert_eq!(stats.delivered, 2500, "{manner:?}: {}", told(&stats));
        assert_eq!((stats.retries, stats.possible_duplicates), (0, 0));
        let mut refused = refused.lock().unwrap().clone();
        // About 1.1 MB, 550 kB, 275 kB and 140 kB, once each.
        assert!((1..=5).contains(&refused.len()), "{manner:?}: {refused:?}");
        refused.dedup();
        assert!(refused.is_sorted_by(|a, b| a > b), "{refused:?}");
    }
}

/// It may have arrived, so all of it counts as possibly doubled; still it is not sent five times.
#[test]
fn a_large_body_that_is_cut_off_again_and_again_is_cut_up() {
    let (endpoint, refused) = server(Manner::Reset);
    let builder = builder(Protocol::HttpProtobuf, &endpoint).with_max_concurrent_exports(1);
    let pipeline = Pipeline::start(builder);
    for _ in 0..3 {
        pipeline.spans(500, 2000);
        pipeline.flush().unwrap();
    }
    let stats = pipeline.settle(1500);
    assert_eq!(stats.delivered, 1500, "{}", told(&stats));
    assert!(
        (400..=1000).contains(&stats.possible_duplicates),
        "{stats:?}"
    );
    let refused = refused.lock().unwrap().clone();
    assert!(refused.len() <= 12, "{refused:?}");
}

#[test]
fn the_size_that_is_refused_is_remembered() {
    for protocol in BOTH {
        let collector = Collector::builder()
            .max_message_size(LIMIT)
            .start()
            .unwrap();
        let pipeline = Pipeline::of(protocol, &collector);
        for _ in 0..20 {
            pipeline.spans(300, 1000);
            pipeline.flush().unwrap();
        }
        let (asked, taken) = (collector.received_attempts(), collector.requests());
        let wasted = asked - taken.iter().filter(|r| r.accepted).count() as u64;
        assert!(
            (1..=4).contains(&wasted),
            "{protocol:?}: {wasted} of {asked}"
        );
        let stats = pipeline.settle(distinct(&collector));
        assert_eq!(stats.delivered, 6000, "{}", told(&stats));
        assert_eq!(stats.possible_duplicates, 0);
    }
}

/// What is refused for its size alone says what helps.
#[test]
fn a_span_that_is_refused_alone_is_named_with_the_cure() {
    for protocol in BOTH {
        let collector = Collector::builder()
            .max_message_size(LIMIT)
            .start()
            .unwrap();
        let pipeline = Pipeline::of(protocol, &collector);
        pipeline.spans(1, 2 * LIMIT);
        let error = pipeline.flush().unwrap_err().to_string();
        assert!(
            error.contains("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT"),
            "{error}"
        );
        // Others are not made smaller than they need be.
        pipeline.spans(60, 1000);
        pipeline.flush().unwrap();
        assert_eq!(collector.received_attempts(), 2, "{protocol:?}");
        let stats = pipeline.stats();
        assert_eq!(stats.dropped(DropReason::TooLarge), 1, "{}", told(&stats));
        assert!(last_error(&stats).contains("\"work\""), "{}", told(&stats));
        let _ = pipeline.guard.shutdown_blocking(crate::support::DEADLINE);
        balanced(&pipeline.stats(), distinct(&collector));
    }
}
