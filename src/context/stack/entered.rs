//! [`EnteredFilter`]: whether a span is certainly entered only once on this thread.

/// Counts of the entered spans by their ids. A count may be that of several spans whose ids fall on the same
/// place, so only a count of one shows that a span is there once.
///
/// Ids are dense, and there are at least four counts for each entry, so two open spans rarely share one.
#[derive(Debug)]
pub(super) struct EnteredFilter {
    /// Its length is a power of two, or zero.
    counts: Vec<u32>,
}

/// Places of the filter for each entry of a stack.
const PLACES: usize = 4;

impl EnteredFilter {
    pub(super) const fn new() -> Self {
        Self { counts: Vec::new() }
    }

    /// The registry keeps the number of a span's thread in the high bits of its id.
    #[inline]
    fn place(&self, layer: u32, span: u64) -> usize {
        let last = self.counts.len().wrapping_sub(1);
        let at = span.wrapping_add(span >> 33) ^ u64::from(layer) << 5;
        at as usize & last
    }

    pub(super) fn count(&self, layer: u32, span: u64) -> u32 {
        let count = self.counts.get(self.place(layer, span));
        count.copied().unwrap_or(u32::MAX)
    }

    pub(super) fn add(&mut self, layer: u32, span: u64) {
        let at = self.place(layer, span);
        if let Some(count) = self.counts.get_mut(at) {
            *count = count.saturating_add(1);
        }
    }

    pub(super) fn remove(&mut self, layer: u32, span: u64) {
        let at = self.place(layer, span);
        if let Some(count) = self.counts.get_mut(at) {
            *count = count.saturating_sub(1);
        }
    }

    /// Whether there are too few places for a stack with this many entries.
    pub(super) fn is_small_for(&self, entries: usize) -> bool {
        entries * PLACES > self.counts.len()
    }

    /// Makes an empty filter, for this many entries and as many again.
    pub(super) fn enlarge(&mut self, entries: usize) {
        let places = (2 * PLACES * entries).next_power_of_two();
        self.counts = vec![0; places];
    }
}
