//! What the measured application does. Each contender says it in its own API; those that are a
//! layer of `tracing-subscriber` share [`Traced`](crate::Traced).
//!
//! - `request`: 5 spans, 4 events. A server span with 8 attributes, one of them known only at the
//!   end; below it `authenticate`, `load_user` with `db_query` inside, `render`, each with a
//!   literal, an integer, a displayed value, and one event of a message and 2 fields.
//! - `tiny`: 2 spans, one inside the other, nothing else.
//! - `logs`: the spans of `request` and 8 events of a message and 3 fields, 5 of them in a span each and 3
//!   outside of any. `quiet` is `logs` without its events: the difference is what the records cost.
//! - `async`: `request` in futures. Each of the four inner spans yields twice, so a leaf is
//!   entered 3 times, `load_user` 5 times and the root 9 times.
//! - `deep`: 1 span and 1 event, as in `request`, inside 100 entered spans.
//! - `wide`: the same while 100,000 other spans are open, none of them entered.
//! - `fields`: a span with 8 attributes, integers whose keys its callsite declares.
//! - `dynamic`, `many`: a span on which 16, or 128, attributes are set whose keys are no field's.
//! - `list`: a span on which 128 such attributes are set by one call.
//! - `callsites`: 256 empty spans of 256 callsites, one after the other.
//!
//! `--size` gives `deep`, `wide`, `fields`, `dynamic` and `many` another number.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::sync::LazyLock;

pub use tokio::task::yield_now;

const MISSING: &str = "this contender has no such workload";

/// One contender's form of the workloads.
pub trait Workload: 'static {
    /// One request, in the calling thread.
    fn request(input: &'static Input);

    /// Two empty spans, in the calling thread.
    fn tiny();

    /// One request whose spans have no events.
    fn quiet(_input: &'static Input) {
        unimplemented!("{MISSING}")
    }

    /// `quiet` with 8 events, 3 of them outside of its spans.
    fn logs(_input: &'static Input) {
        unimplemented!("{MISSING}")
    }

    /// One request as a future that may move between threads.
    fn request_async(input: &'static Input) -> impl Future<Output = ()> + Send + 'static;

    /// One of the inner spans of a request with its event, in the calling thread.
    fn step(_input: &'static Input) {
        unimplemented!("{MISSING}")
    }

    /// The same as a root span.
    fn root_step(input: &'static Input) {
        Self::step(input);
    }

    /// Calls `f` inside so many entered spans.
    fn inside(_levels: u64, _f: &mut dyn FnMut()) {
        unimplemented!("{MISSING}")
    }

    /// An open span.
    type Open;

    /// Opens a span without a parent, and does not enter it.
    fn open(_number: u64) -> Self::Open {
        unimplemented!("{MISSING}")
    }

    /// A span with the first of [`FIELDS`] as attributes, so many.
    fn fields(_count: usize, _value: i64) {
        unimplemented!("{MISSING}")
    }

    /// A span on which so many attributes are set, one by one.
    fn late_attributes(_keys: &'static [String]) {
        unimplemented!("{MISSING}")
    }

    /// A span on which all of [`KEYS`] are set by one call, where the contender has one.
    fn list_of_attributes() {
        unimplemented!("{MISSING}")
    }

    /// [`CALLSITES`] spans of a callsite each.
    fn callsites() {
        unimplemented!("{MISSING}")
    }
}

/// Keys that no callsite declares.
pub static KEYS: LazyLock<Vec<String>> =
    LazyLock::new(|| (0..128).map(|n| format!("app.attribute.{n}")).collect());

/// Keys of the attributes of `fields`, as many as a callsite of `tracing` may have.
pub const FIELDS: [&str; 32] = [
    "f0", "f1", "f2", "f3", "f4", "f5", "f6", "f7", "f8", "f9", "f10", "f11", "f12", "f13", "f14",
    "f15", "f16", "f17", "f18", "f19", "f20", "f21", "f22", "f23", "f24", "f25", "f26", "f27",
    "f28", "f29", "f30", "f31",
];

/// Spans of a unit of `callsites`.
pub const CALLSITES: usize = 256;

/// Which workload is run.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Work {
    Request,
    Tiny,
    Async,
    Deep,
    Wide,
    Fields,
    Dynamic,
    Many,
    List,
    Callsites,
    Quiet,
    Logs,
}

impl Work {
    const ALL: [Self; 12] = [
        Self::Request,
        Self::Tiny,
        Self::Async,
        Self::Deep,
        Self::Wide,
        Self::Fields,
        Self::Dynamic,
        Self::Many,
        Self::List,
        Self::Callsites,
        Self::Quiet,
        Self::Logs,
    ];

    /// Spans in one unit of this work.
    pub(crate) fn spans(self) -> u64 {
        match self {
            Self::Request | Self::Async | Self::Quiet | Self::Logs => 5,
            Self::Tiny => 2,
            Self::Deep | Self::Wide => 1,
            Self::Fields | Self::Dynamic | Self::Many | Self::List => 1,
            Self::Callsites => CALLSITES as u64,
        }
    }

    /// Levels, open spans or attributes, where nobody says how many.
    pub(crate) fn default_size(self) -> u64 {
        match self {
            Self::Deep => 100,
            Self::Wide => 100_000,
            Self::Fields => 8,
            Self::Dynamic => 16,
            Self::Many => 128,
            _ => 0,
        }
    }

    /// Spans that are never closed: to send a million of them would take longer than all else.
    pub(crate) fn left_open(self, size: u64) -> u64 {
        const MOST_TO_CLOSE: u64 = 100_000;
        match self {
            Self::Wide if size > MOST_TO_CLOSE => size,
            _ => 0,
        }
    }

    /// Whether its size is that of spans that are open around all of its units.
    pub(crate) fn is_surrounded(self) -> bool {
        matches!(self, Self::Deep | Self::Wide)
    }

    /// Log records in one unit of this work, where the contender makes its events ones.
    pub(crate) fn records(self) -> u64 {
        match self {
            Self::Logs => 8,
            _ => 0,
        }
    }

    /// Units of this work that any contender's default queues hold.
    pub(crate) fn units_in(self, items: u64) -> u64 {
        items / self.spans().max(self.records())
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Tiny => "tiny",
            Self::Async => "async",
            Self::Deep => "deep",
            Self::Wide => "wide",
            Self::Fields => "fields",
            Self::Dynamic => "dynamic",
            Self::Many => "many",
            Self::List => "list",
            Self::Callsites => "callsites",
            Self::Quiet => "quiet",
            Self::Logs => "logs",
        }
    }
}

impl FromStr for Work {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Self::ALL
            .into_iter()
            .find(|work| work.name() == name)
            .ok_or(())
    }
}

/// The values that spans and events carry. Made at run time, so that no compiler folds them in.
#[derive(Debug)]
pub struct Input {
    /// A method, from a fixed set.
    pub method: &'static str,
    /// The route that matched.
    pub route: &'static str,
    /// The path asked for.
    pub path: String,
    /// The scheme.
    pub scheme: &'static str,
    /// The host asked for.
    pub host: String,
    /// A browser's name for itself.
    pub user_agent: String,
    /// Who asks: a value with a costly `Display`.
    pub client: SocketAddr,
    /// The status, known at the end.
    pub status: i64,
    /// A value with a cheap `Display`.
    pub user: String,
    /// A number.
    pub rows: i64,
}

impl Input {
    pub(crate) fn leaked() -> &'static Self {
        Box::leak(Box::new(Self {
            method: "GET",
            route: "/api/v1/users/{id}/orders",
            path: "/api/v1/users/2718/orders".to_owned(),
            scheme: "https",
            host: "shop.example.org".to_owned(),
            user_agent: "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
                .to_owned(),
            client: SocketAddr::from((Ipv4Addr::new(198, 51, 100, 4), 50_123)),
            status: 200,
            user: "user-2718".to_owned(),
            rows: 12,
        }))
    }
}
