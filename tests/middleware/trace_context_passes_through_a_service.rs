//! W3C's trace context end to end: requests as raw bytes, with headers doubled, padded and broken, go to a
//! service under the middleware, and what its own calls carry is looked at. The cases are those that
//! W3C's test suite for implementations puts to a service, by the rules of level 2.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use crate::web::{recorded, serve};
use axum::Router;
use axum::routing::any;
use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::Full;
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tower::{ServiceBuilder, ServiceExt as _};
use tracing_otlp::middleware::{ClientLayer, ServerLayer};

const TRACE: &str = "12345678901234567890123456789012";
const PARENT: &str = "1234567890123456";

/// The headers of the calls that the service made.
type Calls = Arc<Mutex<Vec<HeaderMap>>>;

/// A service, and how many calls it makes for a request.
async fn service(times: usize) -> (SocketAddr, Calls) {
    let calls = Calls::default();
    let log = Arc::clone(&calls);
    let far = serve(Router::new().fallback(any(move |headers: HeaderMap| {
        log.lock().unwrap().push(headers);
        std::future::ready("there")
    })))
    .await;
    let client = ServiceBuilder::new()
        .layer(ClientLayer::new())
        .service(HyperClient::builder(TokioExecutor::new()).build_http::<Full<Bytes>>());
    let near = Router::new()
        .fallback(any(move || async move {
            for _ in 0..times {
                let request = Request::get(format!("http://{far}/"));
                let call = request.body(Full::default()).unwrap();
                client.clone().oneshot(call).await.unwrap();
            }
        }))
        .layer(ServerLayer::new());
    (serve(near).await, calls)
}

/// Sends a request with these lines as they are; what the service's calls then carried.
async fn ask(near: SocketAddr, calls: &Calls, lines: &[String]) -> Vec<HeaderMap> {
    let mut stream = TcpStream::connect(near).await.unwrap();
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    let request = format!("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{lines}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{lines} {answer}");
    std::mem::take(&mut *calls.lock().unwrap())
}

/// Trace and span of the one `traceparent` of a call, which is valid.
#[track_caller]
fn parent_of(headers: &HeaderMap) -> (String, String) {
    let all: Vec<_> = headers.get_all("traceparent").iter().collect();
    assert_eq!(all.len(), 1, "{headers:?}");
    let parts: Vec<_> = all[0].to_str().unwrap().split('-').collect();
    let lengths: Vec<_> = parts.iter().map(|part| part.len()).collect();
    assert_eq!((parts[0], &lengths[..]), ("00", &[2, 32, 16, 2][..]));
    let is_hex = |c: char| matches!(c, '0'..='9' | 'a'..='f');
    assert!(parts.iter().all(|part| part.chars().all(is_hex)));
    assert!(parts[1..3].iter().all(|id| id.contains(|c| c != '0')));
    (parts[1].to_owned(), parts[2].to_owned())
}

fn state_of(headers: &HeaderMap) -> String {
    let lines: Vec<_> = headers
        .get_all("tracestate")
        .iter()
        .map(|line| line.to_str().unwrap())
        .collect();
    lines.join(",")
}

/// Asks a service for each list of lines, and looks at the call that it makes.
fn check<T>(cases: Vec<(Vec<String>, T)>, look: impl Fn(&HeaderMap, &T, &str)) {
    let (_, ()) = recorded(|| async {
        let (near, calls) = service(1).await;
        for (lines, expected) in cases {
            let made = ask(near, &calls, &lines).await;
            assert_eq!(made.len(), 1);
            look(&made[0], &expected, &format!("{lines:?}"));
        }
    });
}

#[test]
fn a_valid_parent_is_continued_w3c_1_w3c_2() {
    let valid = format!("00-{TRACE}-{PARENT}-01");
    let mut cases: Vec<String> = ["traceparent", "TraceParent", "TrAcEpArEnT", "TRACEPARENT"]
        .map(|name| format!("{name}: {valid}"))
        .into();
    let padded = [
        ("", ""),
        (" ", ""),
        ("\t", ""),
        ("", " "),
        ("", "\t"),
        ("\t ", " \t"),
    ];
    cases.extend(padded.map(|(before, after)| format!("traceparent:{before}{valid}{after}")));
    // A version of later times may say more, after a dash.
    for later in ["", "-what-the-future-will-be-like"] {
        cases.push(format!("traceparent: cc-{TRACE}-{PARENT}-01{later}"));
    }
    let cases = cases.into_iter().map(|line| (vec![line], ())).collect();
    check(cases, |headers, (), case| {
        let (trace, parent) = parent_of(headers);
        assert_eq!(trace, TRACE, "{case}");
        assert_ne!(parent, PARENT, "{case}");
    });
}

#[test]
fn an_invalid_parent_begins_a_new_trace_w3c_1_w3c_3() {
    let values = [
        format!("00-{TRACE}-{PARENT}-01."),
        format!("00-{TRACE}-{PARENT}-01-what-the-future-will-be-like"),
        format!("cc-{TRACE}-{PARENT}-01.what-the-future-will-be-like"),
        format!("ff-{TRACE}-{PARENT}-01"),
        format!(".0-{TRACE}-{PARENT}-01"),
        format!("0.-{TRACE}-{PARENT}-01"),
        format!("000-{TRACE}-{PARENT}-01"),
        format!("0000-{TRACE}-{PARENT}-01"),
        format!("0-{TRACE}-{PARENT}-01"),
        format!("00-{}-{PARENT}-01", "0".repeat(32)),
        format!("00-.{}-{PARENT}-01", &TRACE[1..]),
        format!("00-{}.-{PARENT}-01", &TRACE[..31]),
        format!("00-{TRACE}3-{PARENT}-01"),
        format!("00-{}-{PARENT}-01", &TRACE[..31]),
        format!("00-{TRACE}-{}-01", "0".repeat(16)),
        format!("00-{TRACE}-.{}-01", &PARENT[1..]),
        format!("00-{TRACE}-{}.-01", &PARENT[..15]),
        format!("00-{TRACE}-{PARENT}7-01"),
        format!("00-{TRACE}-{}-01", &PARENT[..15]),
        format!("00-{TRACE}-{PARENT}-.0"),
        format!("00-{TRACE}-{PARENT}-0."),
        format!("00-{TRACE}-{PARENT}-001"),
        format!("00-{TRACE}-{PARENT}-1"),
    ];
    let line = |value: &String| format!("traceparent: {value}");
    let mut cases: Vec<Vec<String>> = values.iter().map(|value| vec![line(value)]).collect();
    let valid = format!("00-{TRACE}-{PARENT}-01");
    let other = format!("00-{}1-{PARENT}-01", &TRACE[..31]);
    cases.push(vec![]);
    cases.push(vec![line(&other), line(&valid)]);
    cases.push(vec![format!("trace-parent: {valid}")]);
    cases.push(vec![format!("trace.parent: {valid}")]);
    let cases = cases.into_iter().map(|lines| (lines, ())).collect();
    check(cases, |headers, (), case| {
        let (trace, _) = parent_of(headers);
        assert_ne!(&trace[..31], &TRACE[..31], "{case}");
        assert_ne!(&trace[1..], &TRACE[1..], "{case}");
    });
}

/// Lines of `tracestate`, and what is passed on of them.
fn states(cases: &[(&[&str], &str)]) {
    let cases = cases.iter().map(|(lines, expected)| {
        let mut all = vec![format!("traceparent: 00-{TRACE}-{PARENT}-00")];
        all.extend(lines.iter().map(|line| (*line).to_owned()));
        (all, (*expected).to_owned())
    });
    check(cases.collect(), |headers, expected, case| {
        // Whatever becomes of the state, and though nothing is sampled.
        assert_eq!(parent_of(headers).0, TRACE, "{case}");
        assert_eq!(&state_of(headers), expected, "{case}");
    });
}

#[test]
fn a_valid_state_is_passed_on_in_order_w3c_6() {
    let tens = |from: u32, to: u32| {
        let members: Vec<_> = (from..to).map(|i| format!("bar{i:02}={i:02}")).collect();
        members.join(",")
    };
    let all = format!("{},{}", tens(1, 11), tens(11, 33));
    let halves = [tens(1, 11), tens(11, 33)].map(|half| format!("tracestate: {half}"));
    let key: String = ('a'..='z').chain("0123456789_-*/".chars()).collect();
    let value: String = (' '..='~').filter(|c| !matches!(c, ',' | '=')).collect();
    let (plain, tenant) = (
        format!("{key}={value}"),
        format!("{key}@a-z0-9_-*/={value}"),
    );
    let longest = format!("foo=1,{}=1", "z".repeat(256));
    let line = |member: &str| format!("tracestate: {member}");
    states(&[
        (&["tracestate: foo=1,bar=2"], "foo=1,bar=2"),
        (&["TraceState: foo=1"], "foo=1"),
        (&["TRACESTATE: foo=1"], "foo=1"),
        (&["tracestate: "], ""),
        (&["tracestate: foo=1", "tracestate: "], "foo=1"),
        (&["tracestate: ", "tracestate: foo=1"], "foo=1"),
        (
            &[
                "tracestate: foo=1,bar=2",
                "tracestate: rojo=1,congo=2",
                "tracestate: baz=3",
            ],
            "foo=1,bar=2,rojo=1,congo=2,baz=3",
        ),
        (&[&line(&plain)], &plain),
        (&[&line(&tenant)], &tenant),
        (
            &["tracestate: foo=1 \t , \t bar=2, \t baz=3"],
            "foo=1,bar=2,baz=3",
        ),
        (
            &["tracestate: foo=1\t \t,\t \tbar=2,\t \tbaz=3"],
            "foo=1,bar=2,baz=3",
        ),
        (&["tracestate:\tfoo=1"], "foo=1"),
        (&["tracestate: foo=1 "], "foo=1"),
        (&["tracestate:\t foo=1 \t"], "foo=1"),
        (&halves.each_ref().map(String::as_str), &all),
        (&[&line(&longest)], &longest),
        // Of level 1's rules for tenants only the characters are left.
        (&["tracestate: foo@=1,b@@c=2"], "foo@=1,b@@c=2"),
        // A key that is there twice is others' business.
        (&["tracestate: foo=1,foo=2"], "foo=1,foo=2"),
        (&["tracestate: foo=1", "tracestate: foo=1"], "foo=1,foo=1"),
    ]);
}

#[test]
fn an_invalid_state_is_dropped_whole_w3c_6_w3c_7() {
    let many: Vec<_> = (1..=33).map(|i| format!("bar{i:02}={i:02}")).collect();
    let long = format!("tracestate: {}=1", "z".repeat(257));
    states(&[
        (&["trace-state: foo=1"], ""),
        (&["trace.state: foo=1"], ""),
        (&["tracestate: foo =1"], ""),
        (&["tracestate: FOO=1"], ""),
        (&["tracestate: foo.bar=1"], ""),
        (&["tracestate: @foo=1,bar=2"], ""),
        (&[&format!("tracestate: {}", many.join(","))], ""),
        (&["tracestate: foo=1", &long], ""),
        (&["tracestate: foo=bar=baz"], ""),
        (&["tracestate: foo=,bar=3"], ""),
    ]);
}

#[test]
fn a_state_without_a_parent_is_dropped_w3c_5() {
    let cases = ["tracestate: foo=1", "tracestate: foo=1,bar=2"];
    let cases = cases.map(|line| (vec![line.to_owned()], ())).into();
    check(cases, |headers, (), case| {
        parent_of(headers);
        assert_eq!(state_of(headers), "", "{case}");
    });
}

#[test]
fn each_call_of_a_request_has_a_span_of_its_own_w3c_2() {
    let zeros = "0".repeat(32);
    for (trace, continued) in [
        (Some(TRACE), true),
        (None, false),
        (Some(&zeros[..]), false),
    ] {
        let lines = trace.map(|trace| format!("traceparent: 00-{trace}-{PARENT}-01"));
        let lines: Vec<_> = lines.into_iter().collect();
        let (_, made) = recorded(|| async {
            let (near, calls) = service(3).await;
            ask(near, &calls, &lines).await
        });
        let (traces, parents): (HashSet<_>, HashSet<_>) = made.iter().map(parent_of).unzip();
        assert_eq!((traces.len(), parents.len()), (1, 3), "{lines:?}");
        assert_eq!(traces.contains(TRACE), continued, "{lines:?}");
        assert!(!traces.contains(&zeros));
    }
}
