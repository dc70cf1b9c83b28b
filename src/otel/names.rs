//! Texts that live as long as the process, for an API that takes no others.

use std::collections::HashSet;

use crate::sync::{Mutex, lock};

/// Names of events and texts of severities come from code, so they are few; beyond this many, further ones
/// are left out.
const MOST: usize = 4096;
/// Bytes of one.
const LONGEST: usize = 256;

/// The same text for the life of the process; `None` if it is empty, too long, or one too many.
pub(super) fn interned(text: &str) -> Option<&'static str> {
    static KNOWN: Mutex<Option<HashSet<&'static str>>> = Mutex::new(None);
    if text.is_empty() || text.len() > LONGEST {
        return None;
    }
    let mut known = lock(&KNOWN);
    let known = known.get_or_insert_default();
    if let Some(text) = known.get(text) {
        return Some(text);
    }
    if known.len() >= MOST {
        return None;
    }
    let text: &'static str = Box::leak(text.into());
    known.insert(text);
    Some(text)
}
