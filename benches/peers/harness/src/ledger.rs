//! Holds a contender to its own counters: each span and each log record it saw must have arrived, or be
//! counted under a reason.

use serde_json::{Value, json};

/// What a contender says became of what it saw.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    /// Of spans.
    pub spans: Account,
    /// Of log records, if its events are ones.
    pub records: Option<Account>,
}

impl Ledger {
    /// Where it disagrees with what was made and what arrived, of spans and of log records.
    pub(crate) fn faults(&self, spans: (u64, u64), records: (u64, u64)) -> Vec<String> {
        let mut faults = self.spans.faults("spans", spans.0, spans.1);
        if let Some(account) = &self.records {
            faults.extend(account.faults("records", records.0, records.1));
        }
        faults
    }

    pub(crate) fn to_json(&self, faults: &[String]) -> Value {
        let mut json = self.spans.to_json();
        if let Some(account) = &self.records {
            json["records"] = account.to_json();
        }
        json["faults"] = json!(faults);
        json
    }
}

/// What a contender says became of its spans, or of its log records.
#[derive(Debug, Clone, Default)]
pub struct Account {
    /// Those seen, the unsampled ones included.
    pub seen: u64,
    /// Those that it was told not to send.
    pub unsampled: u64,
    /// Those that have not ended.
    pub open: u64,
    /// Those that the receiver acknowledged.
    pub delivered: u64,
    /// Those given up, by reason.
    pub dropped: Vec<(&'static str, u64)>,
    /// How many of `dropped` may have arrived all the same (written, never answered).
    pub unconfirmed: u64,
    /// The contender's own words, kept with the figures.
    pub summary: String,
}

impl Account {
    fn dropped_total(&self) -> u64 {
        self.dropped.iter().map(|(_, count)| count).sum()
    }

    /// Where the account disagrees with `produced` made and `received` arrived.
    fn faults(&self, what: &str, produced: u64, received: u64) -> Vec<String> {
        let mut faults = Vec::new();
        if self.seen != produced {
            faults.push(format!("{produced} {what} made, {} seen", self.seen));
        }
        let known = self.unsampled + self.open + self.delivered + self.dropped_total();
        if known != self.seen {
            faults.push(format!("{} {what} seen, {known} accounted for", self.seen));
        }
        let possible = self.delivered..=self.delivered + self.unconfirmed;
        if !possible.contains(&received) {
            faults.push(format!(
                "{received} {what} arrived, {} delivered and {} unconfirmed",
                self.delivered, self.unconfirmed
            ));
        }
        faults
    }

    fn to_json(&self) -> Value {
        let dropped: serde_json::Map<_, _> = self
            .dropped
            .iter()
            .filter(|(_, count)| *count > 0)
            .map(|(reason, count)| ((*reason).to_owned(), json!(count)))
            .collect();
        json!({
            "seen": self.seen,
            "unsampled": self.unsampled,
            "open": self.open,
            "delivered": self.delivered,
            "dropped": dropped,
            "dropped_total": self.dropped_total(),
            "unconfirmed": self.unconfirmed,
            "summary": self.summary,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Account, Ledger};

    fn account(delivered: u64, dropped: u64, unconfirmed: u64) -> Account {
        Account {
            seen: 100,
            delivered,
            dropped: vec![("queue_full", dropped), ("unconfirmed", unconfirmed)],
            unconfirmed,
            ..Account::default()
        }
    }

    fn faults(account: Account, made: u64, arrived: u64) -> Vec<String> {
        account.faults("spans", made, arrived)
    }

    #[test]
    fn records_have_an_account_of_their_own() {
        let ledger = Ledger {
            spans: account(100, 0, 0),
            records: Some(account(60, 40, 0)),
        };
        assert!(ledger.faults((100, 100), (100, 60)).is_empty());
        let faults = ledger.faults((100, 100), (101, 60));
        assert_eq!(faults, ["101 records made, 100 seen"]);
    }

    #[test]
    fn a_ledger_that_agrees_has_no_fault() {
        assert!(faults(account(100, 0, 0), 100, 100).is_empty());
        assert!(faults(account(60, 40, 0), 100, 60).is_empty());
        assert!(faults(account(60, 30, 10), 100, 60).is_empty());
        assert!(faults(account(60, 30, 10), 100, 70).is_empty());
    }

    #[test]
    fn each_disagreement_is_named() {
        assert_eq!(
            faults(account(100, 0, 0), 101, 100),
            ["101 spans made, 100 seen"]
        );
        assert_eq!(
            faults(account(60, 30, 0), 100, 60),
            ["100 spans seen, 90 accounted for"]
        );
        assert_eq!(
            faults(account(60, 40, 0), 100, 61),
            ["61 spans arrived, 60 delivered and 0 unconfirmed"]
        );
        assert_eq!(
            faults(account(60, 30, 10), 100, 59),
            ["59 spans arrived, 60 delivered and 10 unconfirmed"]
        );
    }
}
