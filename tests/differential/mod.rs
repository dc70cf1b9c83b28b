//! Random calls of `tracing` and of this crate, on several threads, beside a model of what must arrive.

pub mod model;
pub mod round;
pub mod threads;

/// A number generator of 64 bits of state: the same calls for the same seed, on any machine.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// A text that is sometimes cut by the limit, also within characters of several bytes.
    pub fn text(&mut self) -> String {
        let len = self.below(2 * model::CHARACTERS);
        let letters = ['a', 'ä', '€', '𝄞', ' '];
        (0..len)
            .map(|_| letters[self.below(letters.len())])
            .collect()
    }
}
