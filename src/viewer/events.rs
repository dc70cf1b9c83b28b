//! What changed, as server-sent events.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value as Json, json};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::filter::Filter;
use super::store::Store;
use super::{json, list};

/// Changes within this time make one event.
const TOGETHER: Duration = Duration::from_millis(40);
/// So that a connection that is gone is noticed.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);
/// Traces of one event; of more than that the newest, and the list has to be asked for.
const MOST: usize = 200;

/// Tells of each trace that changes from now on and fits the filter, until nobody listens.
pub(super) fn subscribe(
    store: Arc<Store>,
    filter: Filter,
    permit: OwnedSemaphorePermit,
) -> mpsc::Receiver<Bytes> {
    // A listener that is slow gets fewer events with more in each.
    let (send, events) = mpsc::channel(1);
    tokio::spawn(async move {
        let _permit = permit;
        let mut changes = store.changes();
        let mut told = *changes.borrow_and_update();
        let mut told_record = store.newest_record();
        let mut event = text("hello", &json!({ "held": list::held(store.held()) }));
        event.insert_str(0, "retry: 1000\n");
        while send.send(event.into()).await.is_ok() {
            event = loop {
                let changed = tokio::select! {
                    changed = changes.changed() => changed.map(|()| true),
                    () = tokio::time::sleep(SIGN_OF_LIFE) => Ok(false),
                    () = send.closed() => return,
                };
                match changed {
                    Err(_) => return,
                    Ok(false) => break ": still here\n\n".to_owned(),
                    Ok(true) => {}
                }
                tokio::time::sleep(TOGETHER).await;
                changes.borrow_and_update();
                let (snapshots, last) = store.changed_after(told, MOST);
                let is_more = snapshots.len() == MOST;
                told = last;
                let fitting = snapshots.iter().filter(|trace| filter.fits(trace));
                let traces: Vec<Json> = fitting
                    .map(|t| json::summary(t.number, &t.summary))
                    .collect();
                let newest_record = store.newest_record();
                let has_records = newest_record > told_record;
                told_record = newest_record;
                if !traces.is_empty() || is_more || has_records {
                    let held = list::held(store.held());
                    break text(
                        "traces",
                        &json!({ "traces": traces, "more": is_more, "logs": has_records, "held": held }),
                    );
                }
            };
        }
    });
    events
}

/// JSON has no line breaks, so an event is one line of data.
fn text(name: &str, data: &Json) -> String {
    format!("event: {name}\ndata: {data}\n\n")
}
