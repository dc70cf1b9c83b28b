//! [`EnteredFilter`]: whether a span is certainly not entered on this thread.

/// Counts of the entered spans by their ids. A count of zero shows that a span is not entered; another
/// count may be that of a span whose id falls on the same place.
///
/// Ids are dense, and there are at least four counts for each entry, so two open spans rarely share one.
#[derive(Debug)]
pub(super) struct EnteredFilter {
    /// Its length is a power of two, or zero.
    counts: Vec<u32>,
}

/// Places of the filter for each entry of a stack.
const PLACES: usize = 4;

const LEAST: usize = 64;

impl EnteredFilter {
    pub(super) const fn new() -> Self {
        Self { counts: Vec::new() }
    }

    /// The registry keeps the number of a span's thread in the high bits of its id.
    #[inline(always)]
    fn place(&mut self, layer: u32, span: u64) -> Option<&mut u32> {
        let last = self.counts.len().wrapping_sub(1);
        let at = span.wrapping_add(span >> 33) ^ u64::from(layer) << 5;
        self.counts.get_mut(at as usize & last)
    }

    /// Adds a span; false if it is certainly not there already.
    #[inline(always)]
    pub(super) fn add(&mut self, layer: u32, span: u64) -> bool {
        let Some(count) = self.place(layer, span) else {
            // The first span of a thread: `enlarge` follows.
            return false;
        };
        *count += 1;
        *count > 1
    }

    #[inline(always)]
    pub(super) fn remove(&mut self, layer: u32, span: u64) {
        if let Some(count) = self.place(layer, span) {
            *count = count.saturating_sub(1);
        }
    }

    /// Whether there are too few places for a stack with this many entries.
    #[inline(always)]
    pub(super) fn is_small_for(&self, entries: usize) -> bool {
        entries * PLACES > self.counts.len()
    }

    /// Makes an empty filter, for this many entries and as many again.
    pub(super) fn enlarge(&mut self, entries: usize) {
        let places = (2 * PLACES * entries).next_power_of_two().max(LEAST);
        self.counts = vec![0; places];
    }
}
