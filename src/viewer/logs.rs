//! The list of log records that belong to no trace.

use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::filter::Filter;
use super::json::{self, Origins};
use super::list;
use super::record::StoredRecord;
use super::store::Store;

/// Records that are looked at for one page, at most: the newest ones.
const LOOKED_AT: usize = 100_000;

/// The page that the filter asks for, the newest record first.
///
/// `next` is the `before` of the following page, null on the last one. The store is locked for one record at
/// a time.
pub(super) fn list(store: &Store, filter: &Filter) -> Json {
    let (mut records, mut origins) = (Vec::new(), Origins::default());
    let mut before = filter.before;
    let mut next = Json::Null;
    let mut kept: Vec<(u64, Arc<StoredRecord>)> = Vec::new();
    for _ in 0..LOOKED_AT {
        let Some((number, record)) = store.newest_record_before(before) else {
            break;
        };
        before = number;
        if !filter.fits_record(&record) {
            continue;
        }
        if kept.len() == filter.limit {
            next = kept.last().map_or(Json::Null, |(last, _)| (*last).into());
            break;
        }
        kept.push((number, record));
    }
    for (number, record) in &kept {
        let mut row = json::record(record, None, origins.position(&record.origin));
        row["number"] = (*number).into();
        records.push(row);
    }
    json!({
        "logs": records,
        "origins": origins.json(),
        "next": next,
        "held": list::held(store.held()),
    })
}
