//! [`KnownNames`]: names chosen by a caller that may become a label or a span's name.
//!
//! A backend keeps a series for each value of a label, and OpenTelemetry's SDK merges all series beyond
//! 2,000. So a caller must not be able to create labels without a bound.

use std::collections::HashSet;
use std::fmt;

use arc_swap::ArcSwap;

use crate::sync::Arc;

/// The most names that are learnt, and their greatest length in bytes: enough for a large service, too
/// little to fill a backend.
const MOST: usize = 512;
const LONGEST: usize = 256;

type NameSet = HashSet<Arc<str>>;

/// Names that are listed, and a bounded number that is learnt. Clones share the learnt names.
#[derive(Clone, Default)]
pub(super) struct KnownNames {
    listed: Arc<NameSet>,
    learnt: Arc<ArcSwap<NameSet>>,
}

impl KnownNames {
    /// Lists these names.
    pub(super) fn listing<N: Into<String>>(names: impl IntoIterator<Item = N>) -> Self {
        let names = names.into_iter().map(|name| Arc::from(name.into()));
        Self {
            listed: Arc::new(names.collect()),
            learnt: Arc::default(),
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.learnt.load().contains(name) || self.listed.contains(name)
    }

    /// Learns a name; `false` if it is too long or the bound is reached.
    pub(super) fn learn(&self, name: &str) -> bool {
        if self.has(name) {
            return true;
        }
        if name.len() > LONGEST || self.learnt.load().len() >= MOST {
            return false;
        }
        self.learn_new(name);
        self.has(name)
    }

    /// Copies the whole set for each new name: names are few, and readers never wait.
    #[cold]
    fn learn_new(&self, name: &str) {
        let name: Arc<str> = name.into();
        self.learnt.rcu(|known| {
            let mut known = NameSet::clone(known);
            if known.len() < MOST {
                known.insert(Arc::clone(&name));
            }
            known
        });
    }
}

impl fmt::Debug for KnownNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KnownNames")
            .field("listed", &self.listed.len())
            .field("learnt", &self.learnt.load().len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_known_once_it_was_listed_or_learnt() {
        let known = KnownNames::listing(["a.B/C"]);
        let other = known.clone();
        assert!(known.has("a.B/C") && !known.has("a.B/D"));
        assert!(known.learn("a.B/D"));
        assert!(other.has("a.B/D"), "clones share it");
        assert!(!KnownNames::default().has("a.B/C"));
    }

    #[test]
    fn no_more_is_learnt_than_a_backend_can_bear() {
        let known = KnownNames::default();
        assert!(!known.learn(&"x".repeat(LONGEST + 1)));
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let known = &known;
                scope.spawn(move || {
                    for i in 0..MOST {
                        known.learn(&format!("{thread}/{i}"));
                    }
                });
            }
        });
        assert_eq!(known.learnt.load().len(), MOST);
        assert!(!known.learn("one more"));
        let kept = known.learnt.load().iter().next().cloned();
        assert!(kept.is_some_and(|name| known.learn(&name)));
    }
}
