//! Holds a contender to its own counters: each span it saw must have arrived, or be counted under
//! a reason.

use serde_json::{Value, json};

/// What a contender says became of the spans it saw.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    /// Spans seen, the unsampled ones included.
    pub seen: u64,
    /// Spans that it was told not to send.
    pub unsampled: u64,
    /// Spans that the receiver acknowledged.
    pub delivered: u64,
    /// Spans given up, by reason.
    pub dropped: Vec<(&'static str, u64)>,
    /// How many of `dropped` may have arrived all the same (written, never answered).
    pub unconfirmed: u64,
    /// The contender's own words, kept with the figures.
    pub summary: String,
}

impl Ledger {
    fn dropped_total(&self) -> u64 {
        self.dropped.iter().map(|(_, spans)| spans).sum()
    }

    /// Where the ledger disagrees with `produced` spans made and `received` spans arrived.
    pub(crate) fn faults(&self, produced: u64, received: u64) -> Vec<String> {
        let mut faults = Vec::new();
        if self.seen != produced {
            faults.push(format!("{produced} spans made, {} seen", self.seen));
        }
        let ended = self.unsampled + self.delivered + self.dropped_total();
        if ended != self.seen {
            faults.push(format!("{} spans seen, {ended} accounted for", self.seen));
        }
        let possible = self.delivered..=self.delivered + self.unconfirmed;
        if !possible.contains(&received) {
            faults.push(format!(
                "{received} spans arrived, {} delivered and {} unconfirmed",
                self.delivered, self.unconfirmed
            ));
        }
        faults
    }

    pub(crate) fn to_json(&self, faults: &[String]) -> Value {
        let dropped: serde_json::Map<_, _> = self
            .dropped
            .iter()
            .filter(|(_, spans)| *spans > 0)
            .map(|(reason, spans)| ((*reason).to_owned(), json!(spans)))
            .collect();
        json!({
            "seen": self.seen,
            "unsampled": self.unsampled,
            "delivered": self.delivered,
            "dropped": dropped,
            "dropped_total": self.dropped_total(),
            "unconfirmed": self.unconfirmed,
            "summary": self.summary,
            "faults": faults,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Ledger;

    fn ledger(delivered: u64, dropped: u64, unconfirmed: u64) -> Ledger {
        Ledger {
            seen: 100,
            delivered,
            dropped: vec![("queue_full", dropped), ("unconfirmed", unconfirmed)],
            unconfirmed,
            ..Ledger::default()
        }
    }

    #[test]
    fn a_ledger_that_agrees_has_no_fault() {
        assert!(ledger(100, 0, 0).faults(100, 100).is_empty());
        assert!(ledger(60, 40, 0).faults(100, 60).is_empty());
        assert!(ledger(60, 30, 10).faults(100, 60).is_empty());
        assert!(ledger(60, 30, 10).faults(100, 70).is_empty());
    }

    #[test]
    fn each_disagreement_is_named() {
        assert_eq!(
            ledger(100, 0, 0).faults(101, 100),
            ["101 spans made, 100 seen"]
        );
        assert_eq!(
            ledger(60, 30, 0).faults(100, 60),
            ["100 spans seen, 90 accounted for"]
        );
        assert_eq!(
            ledger(60, 40, 0).faults(100, 61),
            ["61 spans arrived, 60 delivered and 0 unconfirmed"]
        );
        assert_eq!(
            ledger(60, 30, 10).faults(100, 59),
            ["59 spans arrived, 60 delivered and 10 unconfirmed"]
        );
    }
}
