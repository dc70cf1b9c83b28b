//! Made-up traces of a shop of four services, sent as OTLP.
#![allow(dead_code, unreachable_pub, reason = "a module of a test")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message as _;

/// Numbers that look random and are the same each time.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

pub fn pair(key: &str, value: &str) -> KeyValue {
    let value = match value.parse() {
        Ok(number) => any_value::Value::IntValue(number),
        Err(_) => any_value::Value::StringValue(value.to_owned()),
    };
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..Default::default()
    }
}

/// A trace as it is put together: each span with its service.
pub struct Draft {
    pub id: u128,
    start: u64,
    spans: Vec<(&'static str, Span)>,
}

const US: u64 = 1_000;

impl Draft {
    pub fn new(id: u128, start_unix_nanos: u64) -> Self {
        Self {
            id,
            start: start_unix_nanos,
            spans: Vec::new(),
        }
    }

    /// A span from and to so many microseconds after the trace's start; its number is what children
    /// name as their parent (0: none).
    #[allow(clippy::too_many_arguments, reason = "a line of a table")]
    pub fn span(
        &mut self,
        service: &'static str,
        parent: u64,
        name: &str,
        kind: i32,
        from: u64,
        to: u64,
        attributes: &[(&str, &str)],
    ) -> u64 {
        let number = self.spans.len() as u64 + 1;
        let id = |n: u64| (self.id as u64 ^ n << 40 | n).to_be_bytes().to_vec();
        self.spans.push((
            service,
            Span {
                trace_id: self.id.to_be_bytes().to_vec(),
                span_id: id(number),
                parent_span_id: if parent == 0 { Vec::new() } else { id(parent) },
                name: name.to_owned(),
                kind,
                start_time_unix_nano: self.start + from * US,
                end_time_unix_nano: self.start + to * US,
                attributes: attributes.iter().map(|(k, v)| pair(k, v)).collect(),
                ..Default::default()
            },
        ));
        number
    }

    pub fn event(&mut self, span: u64, name: &str, at: u64, attributes: &[(&str, &str)]) {
        let time_unix_nano = self.start + at * US;
        let attributes = attributes.iter().map(|(k, v)| pair(k, v)).collect();
        self.spans[span as usize - 1].1.events.push(Event {
            time_unix_nano,
            name: name.to_owned(),
            attributes,
            ..Default::default()
        });
    }

    pub fn fail(&mut self, span: u64, message: &str) {
        self.spans[span as usize - 1].1.status = Some(Status {
            code: 2,
            message: message.to_owned(),
        });
    }

    pub fn link(&mut self, span: u64, trace: u128) {
        self.spans[span as usize - 1].1.links.push(Link {
            trace_id: trace.to_be_bytes().to_vec(),
            span_id: vec![1; 8],
            ..Default::default()
        });
    }
}

/// A checkout through four services; slower and failing as the dice fall.
pub fn checkout(id: u128, at: u64, dice: &mut Dice, fails: bool) -> Draft {
    let mut t = Draft::new(id, at);
    let x = 70 + dice.below(70) * if dice.below(18) == 0 { 6 } else { 1 };
    let user = (4_000 + dice.below(900)).to_string();
    let root = t.span(
        "web",
        0,
        "POST /checkout",
        2,
        0,
        620 * x,
        &[
            ("http.request.method", "POST"),
            ("http.route", "/checkout"),
            ("url.path", "/checkout"),
            (
                "http.response.status_code",
                if fails { "502" } else { "200" },
            ),
            ("server.address", "shop.example"),
        ],
    );
    t.span(
        "web",
        root,
        "authenticate",
        1,
        6 * x,
        52 * x,
        &[("user.id", &user)],
    );
    let cart = t.span(
        "web",
        root,
        "load_cart",
        1,
        55 * x,
        170 * x,
        &[("cart.items", "3")],
    );
    t.span(
        "web",
        cart,
        "GET cart:{id}",
        3,
        60 * x,
        84 * x,
        &[("db.system.name", "redis"), ("db.operation.name", "GET")],
    );
    t.event(cart, "cache miss", 85 * x, &[("key", "cart:4711")]);
    t.span(
        "web",
        cart,
        "SELECT carts",
        3,
        88 * x,
        164 * x,
        &[
            ("db.system.name", "postgresql"),
            ("db.query.text", "SELECT * FROM carts WHERE id = $1"),
            ("db.response.returned_rows", "3"),
        ],
    );
    let stock = t.span(
        "web",
        root,
        "POST /reserve",
        3,
        176 * x,
        372 * x,
        &[("http.request.method", "POST"), ("server.address", "stock")],
    );
    let reserve = t.span(
        "stock",
        stock,
        "POST /reserve",
        2,
        188 * x,
        360 * x,
        &[
            ("http.route", "/reserve"),
            ("http.response.status_code", "200"),
        ],
    );
    for (i, depot) in ["north", "south", "harbour"].iter().enumerate() {
        let i = i as u64;
        let count = t.span(
            "stock",
            reserve,
            "count",
            1,
            (196 + 3 * i) * x,
            (262 + 38 * i) * x,
            &[("depot", depot)],
        );
        t.span(
            "stock",
            count,
            "SELECT items",
            3,
            (204 + 3 * i) * x,
            (250 + 36 * i) * x,
            &[("db.system.name", "postgresql")],
        );
    }
    t.event(reserve, "reserved", 352 * x, &[("items", "3")]);
    let pay = t.span(
        "web",
        root,
        "shop.Payments/Charge",
        3,
        380 * x,
        585 * x,
        &[("rpc.system", "grpc"), ("rpc.method", "Charge")],
    );
    let charge = t.span(
        "payments",
        pay,
        "shop.Payments/Charge",
        2,
        392 * x,
        574 * x,
        &[
            ("rpc.system", "grpc"),
            ("rpc.grpc.status_code", if fails { "14" } else { "0" }),
        ],
    );
    t.span(
        "payments",
        charge,
        "fraud_check",
        1,
        398 * x,
        440 * x,
        &[("score", "12")],
    );
    let bank = t.span(
        "payments",
        charge,
        "POST bank.example",
        3,
        444 * x,
        566 * x,
        &[
            ("http.request.method", "POST"),
            ("server.address", "bank.example"),
            ("http.request.resend_count", "1"),
        ],
    );
    if fails {
        t.event(
            bank,
            "exception",
            560 * x,
            &[
                ("exception.type", "BankError"),
                ("exception.message", "the bank refused order 4711"),
            ],
        );
        for span in [bank, charge, pay, root] {
            t.fail(span, "the bank refused order 4711");
        }
    } else {
        let mail = t.span(
            "web",
            root,
            "publish receipts",
            4,
            590 * x,
            612 * x,
            &[("messaging.system", "kafka")],
        );
        t.span(
            "mail",
            mail,
            "send receipt",
            5,
            604 * x,
            700 * x,
            &[("messaging.system", "kafka"), ("mail.template", "receipt")],
        );
    }
    t
}

/// A request that needs one service.
pub fn small(id: u128, at: u64, dice: &mut Dice) -> Draft {
    let mut t = Draft::new(id, at);
    let (service, name, route, base) = [
        ("web", "GET /products/{id}", "/products/{id}", 9_000),
        ("web", "GET /", "/", 2_500),
        ("stock", "GET /stock", "/stock", 5_000),
        ("mail", "poll", "", 700),
    ][dice.below(4) as usize];
    let long = base + dice.below(base) + if dice.below(25) == 0 { base * 7 } else { 0 };
    let root = t.span(
        service,
        0,
        name,
        if route.is_empty() { 1 } else { 2 },
        0,
        long,
        &[("http.route", route), ("http.response.status_code", "200")],
    );
    if service != "mail" {
        t.span(
            service,
            root,
            "SELECT products",
            3,
            long / 5,
            long * 4 / 5,
            &[("db.system.name", "postgresql")],
        );
    }
    t
}

/// Sends them over HTTP.
pub fn send(to: SocketAddr, drafts: Vec<Draft>) {
    let mut resource_spans: Vec<ResourceSpans> = Vec::new();
    for (service, span) in drafts.into_iter().flat_map(|d| d.spans) {
        let known = resource_spans.iter().position(|r| {
            let name = &r.resource.as_ref().unwrap().attributes[0];
            *name == pair("service.name", service)
        });
        let at = known.unwrap_or_else(|| {
            let attributes = vec![
                pair("service.name", service),
                pair("service.version", "1.4.0"),
                pair("host.name", "depot-7"),
                pair("telemetry.sdk.language", "rust"),
            ];
            let scope = InstrumentationScope {
                name: service.to_owned(),
                version: "1.4.0".to_owned(),
                ..Default::default()
            };
            resource_spans.push(ResourceSpans {
                resource: Some(Resource {
                    attributes,
                    ..Default::default()
                }),
                scope_spans: vec![ScopeSpans {
                    scope: Some(scope),
                    ..Default::default()
                }],
                ..Default::default()
            });
            resource_spans.len() - 1
        });
        resource_spans[at].scope_spans[0].spans.push(span);
    }
    let body = ExportTraceServiceRequest { resource_spans }.encode_to_vec();
    let answer = post(to, &[("Content-Type", "application/x-protobuf")], &body);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

pub fn post(to: SocketAddr, headers: &[(&str, &str)], body: &[u8]) -> String {
    let mut stream = TcpStream::connect(to).unwrap();
    let mut request = format!(
        "POST /v1/traces HTTP/1.1\r\nHost: {to}\r\nContent-Length: {}\r\nConnection: close\r\n",
        body.len()
    );
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    stream
        .write_all(format!("{request}\r\n").as_bytes())
        .unwrap();
    let _ = stream.write_all(body);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}
