//! [`SpanTable`]: the spans of one bucket by their ids.
//!
//! Nearly always a bucket has one span. The others are in a table with open addressing, so a look-up takes
//! the same time with ten open spans and with a million. The table is never more than three quarters full,
//! and a removal closes its gap, so no search meets what was removed.

use crate::layer::span::OpenSpan;

#[derive(Debug, Default)]
pub(super) struct SpanTable {
    first: Option<OpenEntry>,
    others: OtherSpans,
}

#[derive(Debug, Default)]
struct OtherSpans {
    /// Its length is a power of two, or zero.
    places: Vec<Option<OpenEntry>>,
    len: usize,
}

#[derive(Debug)]
pub(super) struct OpenEntry {
    pub(super) id: u64,
    pub(super) span: Box<OpenSpan>,
}

const LEAST: usize = 4;

/// A larger table is freed when its last span is taken out.
const KEPT: usize = 64;

/// The ids of one bucket have the same low bits, and the other bits are dense: multiplied they are
/// spread (Fibonacci hashing).
#[inline(always)]
fn home(id: u64, places: usize) -> usize {
    (id.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as usize & places.wrapping_sub(1)
}

impl SpanTable {
    #[inline(always)]
    pub(super) fn find(&mut self, id: u64) -> Option<&mut Box<OpenSpan>> {
        match &mut self.first {
            Some(entry) if entry.id == id => Some(&mut entry.span),
            _ if self.others.len == 0 => None,
            _ => self.others.find(id),
        }
    }

    /// Adds a span, and returns an older one with this id.
    #[inline(always)]
    pub(super) fn insert(&mut self, id: u64, span: Box<OpenSpan>) -> Option<Box<OpenSpan>> {
        if self.first.is_none() && self.others.len == 0 {
            self.first = Some(OpenEntry { id, span });
            return None;
        }
        self.insert_beside(id, span)
    }

    #[inline(never)]
    fn insert_beside(&mut self, id: u64, span: Box<OpenSpan>) -> Option<Box<OpenSpan>> {
        if let Some(older) = self.find(id) {
            return Some(std::mem::replace(older, span));
        }
        // The youngest is first: beside spans that live long it is the one that is looked for.
        if let Some(former) = self.first.replace(OpenEntry { id, span }) {
            self.others.add(former);
        }
        None
    }

    #[inline(always)]
    pub(super) fn remove(&mut self, id: u64) -> Option<Box<OpenSpan>> {
        match &self.first {
            Some(entry) if entry.id == id => self.first.take().map(|entry| entry.span),
            _ if self.others.len == 0 => None,
            _ => self.others.remove(id),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &OpenEntry> {
        self.first.iter().chain(self.others.places.iter().flatten())
    }

    /// All spans.
    pub(super) fn into_spans(self) -> impl Iterator<Item = Box<OpenSpan>> {
        let Self { first, others } = self;
        let others = others.places.into_iter().flatten();
        first.into_iter().chain(others).map(|entry| entry.span)
    }
}

impl OtherSpans {
    #[inline(always)]
    fn position(&self, id: u64) -> Option<usize> {
        /// Searches the places after the first.
        #[cold]
        #[inline(never)]
        fn after(places: &[Option<OpenEntry>], mut at: usize, id: u64) -> Option<usize> {
            for _ in places {
                at = (at + 1) & (places.len() - 1);
                if places.get(at)?.as_ref()?.id == id {
                    return Some(at);
                }
            }
            None
        }
        let at = home(id, self.places.len());
        match self.places.get(at)?.as_ref()?.id == id {
            true => Some(at),
            false => after(&self.places, at, id),
        }
    }

    #[inline(never)]
    fn find(&mut self, id: u64) -> Option<&mut Box<OpenSpan>> {
        let at = self.position(id)?;
        let entry = self.places.get_mut(at)?.as_mut()?;
        Some(&mut entry.span)
    }

    /// Adds a span whose id is not there.
    #[inline]
    fn add(&mut self, entry: OpenEntry) {
        if (self.len + 1) * 4 > self.places.len() * 3 {
            self.enlarge();
        }
        self.len += 1;
        self.put(entry);
    }

    /// Puts an entry in the first free place from its home on.
    #[inline(always)]
    fn put(&mut self, entry: OpenEntry) {
        let mut at = home(entry.id, self.places.len());
        while let Some(Some(_)) = self.places.get(at) {
            at = (at + 1) & (self.places.len() - 1);
        }
        if let Some(place) = self.places.get_mut(at) {
            *place = Some(entry);
        }
    }

    #[cold]
    #[inline(never)]
    fn enlarge(&mut self) {
        let places = (self.places.len() * 2).max(LEAST);
        let mut larger = Vec::with_capacity(places);
        larger.resize_with(places, || None);
        for entry in std::mem::replace(&mut self.places, larger)
            .into_iter()
            .flatten()
        {
            self.put(entry);
        }
    }

    #[inline(never)]
    fn remove(&mut self, id: u64) -> Option<Box<OpenSpan>> {
        let at = self.position(id)?;
        let entry = self.places.get_mut(at)?.take()?;
        self.len -= 1;
        let next = (at + 1) & (self.places.len() - 1);
        if self.places.get(next).is_some_and(Option::is_some) {
            self.close_gap(at);
        }
        // Frees the memory of a burst.
        if self.len == 0 && self.places.len() > KEPT {
            self.places = Vec::new();
        }
        Some(entry.span)
    }

    /// Moves entries that were displaced over a place which is free now.
    #[cold]
    #[inline(never)]
    fn close_gap(&mut self, mut gap: usize) {
        let mask = self.places.len() - 1;
        let mut at = gap;
        for _ in 0..mask {
            at = (at + 1) & mask;
            let Some(Some(entry)) = self.places.get(at) else {
                return;
            };
            // Its home is not between the gap and its place, so a search for it would end at the gap.
            let from_home = at.wrapping_sub(home(entry.id, self.places.len())) & mask;
            if from_home >= at.wrapping_sub(gap) & mask {
                self.places.swap(gap, at);
                gap = at;
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail by panicking")]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn span(start: u64) -> Box<OpenSpan> {
        let mut span = OpenSpan::default();
        span.state.start = start;
        Box::new(span)
    }

    /// Ids of one bucket, dense and with the bits of threads and generations.
    #[test]
    fn random_calls_agree_with_a_map() {
        let mut table = SpanTable::default();
        let mut map = HashMap::new();
        let mut seed = 3_u64;
        for step in 0..200_000_u64 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let limit = if step % 20_000 < 10_000 { 800 } else { 6 };
            let id = ((seed >> 33) % limit) << 10 | (seed >> 20 & 1) << 38 | 7;
            if seed >> 60 < 9 && map.len() < limit as usize {
                let older = table.insert(id, span(step)).map(|span| span.state.start);
                assert_eq!(older, map.insert(id, step));
            } else {
                assert_eq!(table.remove(id).map(|s| s.state.start), map.remove(&id));
            }
            let found = table.find(id).map(|span| span.state.start);
            assert_eq!(found, map.get(&id).copied());
            let first = usize::from(table.first.is_some());
            assert_eq!(table.others.len + first, map.len());
        }
        let mut all: Vec<_> = table.iter().map(|e| (e.id, e.span.state.start)).collect();
        let mut expected: Vec<_> = map.into_iter().collect();
        all.sort_unstable();
        expected.sort_unstable();
        assert_eq!(all, expected);
        assert_eq!(table.into_spans().count(), expected.len());
    }

    /// No place is far from its home, whatever the number of spans.
    #[test]
    fn a_search_is_short_with_very_many_spans() {
        let mut table = SpanTable::default();
        for n in 0..3_000_u64 {
            table.insert(n << 10 | 5, span(n));
        }
        let places = table.others.places.len();
        let far = |(at, place): (usize, &Option<OpenEntry>)| {
            let id = place.as_ref()?.id;
            Some(at.wrapping_sub(home(id, places)) & (places - 1))
        };
        let far: Vec<_> = table
            .others
            .places
            .iter()
            .enumerate()
            .filter_map(far)
            .collect();
        assert!(far.iter().sum::<usize>() < 3 * far.len());
        (0..3_000).for_each(|n| drop(table.remove(n << 10 | 5).unwrap()));
        assert_eq!(
            table.others.places.capacity(),
            0,
            "the burst's memory is freed"
        );
    }
}
