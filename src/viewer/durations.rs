//! [`Durations`]: how long the roots of a name lasted of late, to know a slow one.

use std::collections::HashMap;

/// Names that are watched; more make the table start anew.
const NAMES: usize = 256;
/// A longer name is not watched.
const LONGEST_NAME: usize = 256;
/// The last so many roots of a name are remembered.
const LAST: usize = 32;

/// The last durations of each name.
#[derive(Debug, Default)]
pub(super) struct Durations {
    by_name: HashMap<Box<str>, Recent>,
}

#[derive(Debug, Default)]
struct Recent {
    nanos: [u64; LAST],
    seen: usize,
}

impl Durations {
    /// Takes note of a root; true if it lasted longer than all but one of the last 32 of its name, and
    /// half as long again as their median. A name that is new has no slow ones.
    pub(super) fn is_slow(&mut self, name: &str, nanos: u64) -> bool {
        if name.len() > LONGEST_NAME {
            return false;
        }
        if self.by_name.len() >= NAMES && !self.by_name.contains_key(name) {
            self.by_name.clear();
        }
        if !self.by_name.contains_key(name) {
            self.by_name.insert(name.into(), Recent::default());
        }
        self.by_name
            .get_mut(name)
            .is_some_and(|recent| recent.note(nanos))
    }
}

impl Recent {
    fn note(&mut self, nanos: u64) -> bool {
        let mut sorted = self.nanos;
        sorted.sort_unstable();
        let [.., second, _] = sorted;
        let median = sorted[LAST / 2];
        let usual = median.saturating_add(median / 2);
        let is_slow = self.seen >= LAST && nanos >= second && nanos > usual;
        self.nanos[self.seen % LAST] = nanos;
        self.seen += 1;
        is_slow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_may_have_any_length() {
        let mut durations = Durations::default();
        for _ in 0..=LAST {
            assert!(!durations.is_slow("GET /a", u64::MAX));
        }
    }

    #[test]
    fn a_root_is_slow_by_its_own_name_s_measure() {
        let mut durations = Durations::default();
        for i in 0..32 {
            assert!(!durations.is_slow("GET /a", 1_000 + i), "too few to say");
        }
        assert!(!durations.is_slow("GET /a", 1_020));
        assert!(!durations.is_slow("GET /b", 90_000), "a name of its own");
        assert!(durations.is_slow("GET /a", 90_000));
        // What is usual is not slow.
        for _ in 0..32 {
            durations.is_slow("GET /a", 90_000);
        }
        assert!(!durations.is_slow("GET /a", 90_000));
    }

    #[test]
    fn names_without_end_take_no_memory_without_end() {
        let mut durations = Durations::default();
        for i in 0..10_000 {
            durations.is_slow(&format!("GET /{i}"), 1);
        }
        assert!(durations.by_name.len() <= NAMES);
        durations.is_slow(&"x".repeat(LONGEST_NAME + 1), 1);
        assert!(
            durations
                .by_name
                .keys()
                .all(|name| name.len() <= LONGEST_NAME)
        );
    }
}
