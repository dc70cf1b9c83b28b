//! The list of traces: one page of it, and figures for each name of a root.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::filter::Filter;
use super::json;
use super::store::{Held, Store};

/// Traces that the figures are made of, at most: the newest that fit.
const FIGURES: usize = 10_000;
/// Names of roots that have figures; the most frequent ones.
const NAMES: usize = 100;

/// The page that the filter asks for, the newest trace first.
///
/// `next` is the `before` of the following page, null on the last one. The store is locked for one
/// trace at a time.
pub(super) fn list(store: &Store, filter: &Filter) -> Json {
    let mut traces = Vec::new();
    let mut names: BTreeMap<(Box<str>, Box<str>), Name> = BTreeMap::new();
    let mut next = Json::Null;
    let mut counted = 0;
    let mut before = filter.before;
    while counted < FIGURES {
        let Some(trace) = store.newest_before(before) else {
            break;
        };
        before = trace.number;
        if !filter.fits(&trace) {
            continue;
        }
        if traces.len() < filter.limit {
            traces.push(json::summary(trace.number, &trace.summary));
            if traces.len() == filter.limit {
                next = trace.number.into();
            }
        }
        let summary = &trace.summary;
        let key = (summary.service.as_ref().into(), summary.name.clone());
        let name = names.entry(key).or_default();
        name.durations.push(summary.nanos());
        name.errors += usize::from(summary.errors > 0);
        counted += 1;
    }
    if counted == traces.len() {
        // Nothing fits beyond this page.
        next = Json::Null;
    }
    let mut names: Vec<_> = names.into_iter().collect();
    names.sort_by_key(|(_, name)| std::cmp::Reverse(name.durations.len()));
    names.truncate(NAMES);
    let names: Vec<Json> = names
        .into_iter()
        .map(|(key, name)| name.json(&key))
        .collect();
    json!({
        "traces": traces,
        "next": next,
        "names": names,
        "held": held(store.held()),
    })
}

pub(super) fn held(held: Held) -> Json {
    json!({
        "traces": held.traces,
        "spans": held.spans,
        "log_records": held.records,
        "log_records_without_trace": held.loose_records,
        "bytes": held.bytes,
        "max_bytes": held.max_bytes,
        "traces_evicted": held.evicted,
        "log_records_evicted": held.loose_evicted,
    })
}

/// Traces whose roots have one name and one service.
#[derive(Default)]
struct Name {
    durations: Vec<u64>,
    errors: usize,
}

impl Name {
    fn json(mut self, (service, name): &(Box<str>, Box<str>)) -> Json {
        self.durations.sort_unstable();
        let rank = |part: usize| {
            // The nearest rank: a duration that was there.
            let rank = (self.durations.len() * part).div_ceil(100);
            self.durations.get(rank.max(1) - 1).copied().unwrap_or(0)
        };
        json!({
            "service": &**service,
            "name": &**name,
            "traces": self.durations.len(),
            "with_errors": self.errors,
            "p50_nanos": rank(50),
            "p95_nanos": rank(95),
            "max_nanos": self.durations.last().copied().unwrap_or(0),
        })
    }
}
