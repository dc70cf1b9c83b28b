//! [`Quantiles`]: the usual durations of local roots by name, in bounded memory.

use std::collections::HashMap;

use crate::pool::Budget;
use crate::sync::{Arc, AtomicUsize, Mutex, Ordering, lock};

/// The most names with a histogram of their own.
pub(super) const NAMES: usize = 256;

/// A longer name uses the shared histogram.
const LONGEST_NAME: usize = 256;

/// Shards, so that roots of different names rarely wait for each other.
const SHARDS: usize = 16;

/// The cost of a name beside its bytes: its histogram, and its entry in a half-full table.
const COST: usize = size_of::<Histogram>() + 2 * size_of::<(Box<str>, Box<Histogram>)>() + 32;

/// The histograms of all names.
#[derive(Debug)]
pub(super) struct Quantiles {
    target: QuantileTarget,
    by_name: [Mutex<HashMap<Box<str>, Box<Histogram>>>; SHARDS],
    names: AtomicUsize,
    /// Shared by all names without a histogram of their own.
    others: Mutex<Histogram>,
    budget: Arc<Budget>,
    /// Bytes taken of the budget.
    charged: AtomicUsize,
}

impl Quantiles {
    pub(super) fn new(quantile: f64, budget: Arc<Budget>) -> Self {
        Self {
            target: QuantileTarget::new(quantile),
            by_name: std::array::from_fn(|_| Mutex::default()),
            names: AtomicUsize::new(0),
            others: Mutex::default(),
            budget,
            charged: AtomicUsize::new(0),
        }
    }

    /// Counts a root that lasted `nanos`. Returns the quantile of the roots of its name before it, or
    /// `None` before the warm-up ends.
    pub(super) fn observe(&self, name: &str, nanos: u64) -> Option<u64> {
        let bytes = name
            .bytes()
            .fold(0, |sum, b| sum * 31 % 8191 + usize::from(b));
        let shard = self.by_name.get(bytes % SHARDS)?;
        if let Some(histogram) = lock(shard).get_mut(name) {
            return histogram.observe(nanos, &self.target);
        }
        if self.admits(name) {
            // Allocates outside of the lock; another thread may insert the name first.
            let (key, new) = (Box::from(name), Box::<Histogram>::default());
            let mut shard = lock(shard);
            return shard.entry(key).or_insert(new).observe(nanos, &self.target);
        }
        lock(&self.others).observe(nanos, &self.target)
    }

    /// Whether another name fits. A name that two threads insert at once is counted twice.
    #[cold]
    fn admits(&self, name: &str) -> bool {
        if name.len() > LONGEST_NAME || self.names.load(Ordering::Relaxed) >= NAMES {
            return false;
        }
        let cost = COST + name.len();
        if !self.budget.reserve(cost) {
            return false;
        }
        if self.names.fetch_add(1, Ordering::Relaxed) >= NAMES {
            self.budget.release(cost);
            return false;
        }
        self.charged.fetch_add(cost, Ordering::Relaxed);
        true
    }
}

impl Drop for Quantiles {
    fn drop(&mut self) {
        self.budget.release(self.charged.load(Ordering::Relaxed));
    }
}

/// The quantile, and the number of roots that it is computed from.
#[derive(Debug)]
struct QuantileTarget {
    quantile: f64,
    /// The number of roots before the first result.
    warm_up: u32,
    /// At this many roots all counts are halved, so that the histogram follows the latest.
    window: u32,
}

impl QuantileTarget {
    fn new(quantile: f64) -> Self {
        let rare = 1.0 / (1.0 - quantile);
        Self {
            quantile,
            warm_up: ((4.0 * rare).ceil() as u32).clamp(64, 1 << 26),
            window: ((16.0 * rare).ceil() as u32).clamp(1024, 1 << 28),
        }
    }
}

/// Sixteen buckets to a doubling, from a microsecond to an hour.
const SUB_BITS: u32 = 4;
const LEAST_BITS: u32 = 10;
const MOST_BITS: u32 = 42;
const BUCKETS: usize = ((MOST_BITS - LEAST_BITS) << SUB_BITS) as usize;

/// The counts of recent durations, and the bucket of the quantile.
#[derive(Debug)]
struct Histogram {
    counts: [u32; BUCKETS],
    total: u32,
    /// The bucket of the quantile.
    at: usize,
    /// The sum of the counts below that bucket; kept up to date so that [`find`](Self::find) needs no
    /// sum over all buckets.
    below: u32,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: [0; BUCKETS],
            total: 0,
            at: 0,
            below: 0,
        }
    }
}

impl Histogram {
    fn observe(&mut self, nanos: u64, target: &QuantileTarget) -> Option<u64> {
        let limit = (self.total >= target.warm_up).then(|| upper_edge(self.at));
        if self.total >= target.window {
            self.age();
        }
        let bucket = bucket_of(nanos);
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
            self.total += 1;
            self.below += u32::from(bucket < self.at);
        }
        self.find(target.quantile);
        limit
    }

    /// Moves to the quantile's new bucket, usually by one step at most.
    fn find(&mut self, quantile: f64) {
        let rank = quantile * f64::from(self.total);
        while self.at > 0 && f64::from(self.below) >= rank {
            self.at -= 1;
            self.below -= self.count(self.at);
        }
        while self.at + 1 < BUCKETS && f64::from(self.below + self.count(self.at)) < rank {
            self.below += self.count(self.at);
            self.at += 1;
        }
    }

    #[cold]
    fn age(&mut self) {
        // The remainder of a half goes to the next bucket, so that rare durations do not vanish first.
        let mut rest = 0;
        for count in &mut self.counts {
            let sum = *count + rest;
            (*count, rest) = (sum / 2, sum % 2);
        }
        self.total = self.counts.iter().sum();
        self.below = self.counts.iter().take(self.at).sum();
    }

    fn count(&self, bucket: usize) -> u32 {
        self.counts.get(bucket).copied().unwrap_or(0)
    }
}

fn bucket_of(nanos: u64) -> usize {
    let nanos = nanos.clamp(1 << LEAST_BITS, (1 << MOST_BITS) - 1);
    let octave = nanos.ilog2();
    let sub = (nanos >> (octave - SUB_BITS)) & ((1 << SUB_BITS) - 1);
    (((octave - LEAST_BITS) << SUB_BITS) as u64 + sub) as usize
}

/// The longest duration of a bucket.
fn upper_edge(bucket: usize) -> u64 {
    if bucket + 1 >= BUCKETS {
        return u64::MAX;
    }
    let (octave, sub) = (bucket >> SUB_BITS, bucket & ((1 << SUB_BITS) - 1));
    let next = (1 << SUB_BITS) + sub as u64 + 1;
    (next << (octave as u32 + LEAST_BITS - SUB_BITS)) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers that repeat from run to run, spread evenly between 0 and 1.
    fn uniform() -> impl FnMut() -> f64 {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1u64 << 53) as f64
        }
    }

    fn quantiles(quantile: f64) -> Quantiles {
        Quantiles::new(quantile, Budget::new(1 << 20))
    }

    #[test]
    fn buckets_follow_each_other_without_a_gap() {
        assert_eq!(bucket_of(0), 0);
        for bucket in 0..BUCKETS - 1 {
            let edge = upper_edge(bucket);
            assert_eq!((bucket_of(edge), bucket_of(edge + 1)), (bucket, bucket + 1));
            let width = upper_edge(bucket + 1).saturating_sub(edge);
            assert!(bucket + 2 == BUCKETS || width * 16 <= edge + 1, "{bucket}");
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
        assert_eq!(upper_edge(BUCKETS - 1), u64::MAX);
    }

    /// Against what the distributions have exactly: not below but for the sample's noise, not above
    /// by more than a bucket and that.
    #[test]
    fn the_quantile_of_known_distributions_is_found() {
        type Distribution = (&'static str, fn(f64) -> f64);
        // By the inverse of their distribution function, in nanoseconds.
        let distributions: [Distribution; 3] = [
            ("uniform", |p| 1e6 + 9e6 * p),
            ("exponential", |p| -5e6 * (1.0 - p).ln() + 2e3),
            ("heavy tail", |p| 1e5 / (1.0 - p).powf(0.5)),
        ];
        for (name, inverse) in distributions {
            for quantile in [0.5, 0.9, 0.95, 0.99] {
                let (quantiles, mut next) = (quantiles(quantile), uniform());
                let exact = inverse(quantile);
                let (mut last, mut exceeded, mut asked, mut far) = (None, 0, 0, 0);
                for _ in 0..40_000 {
                    let nanos = inverse(next()) as u64;
                    last = quantiles.observe("root", nanos);
                    asked += u32::from(last.is_some());
                    far += u32::from(last.is_some() && nanos as f64 > 1.12 * exact);
                    exceeded += u32::from(last.is_some_and(|limit| nanos > limit));
                }
                let ratio = last.map_or(0.0, |limit| limit as f64 / exact);
                assert!((0.85..1.25).contains(&ratio), "{name} p{quantile}: {ratio}");
                // The promise: about so many are kept, rather fewer, and all that stand out.
                let most = 1.15 * (1.0 - quantile) * f64::from(asked);
                let exceeded = f64::from(exceeded);
                assert!(exceeded < most, "{name} p{quantile}: {exceeded} of {asked}");
                assert!(
                    exceeded > 0.9 * f64::from(far),
                    "{name} p{quantile}: {exceeded}"
                );
            }
        }
    }

    #[test]
    fn the_incremental_place_is_the_one_that_counting_anew_finds() {
        let target = QuantileTarget::new(0.9);
        let (mut histogram, mut next) = (Histogram::default(), uniform());
        for i in 0..20_000u32 {
            let scale = if i % 5000 < 2500 { 1e5 } else { 1e8 };
            histogram.observe((scale * next()) as u64, &target);
            let rank = 0.9 * f64::from(histogram.total);
            let mut sum = 0;
            let place = histogram.counts.iter().position(|count| {
                sum += count;
                f64::from(sum) >= rank
            });
            assert_eq!(place, Some(histogram.at), "after {i}");
        }
    }

    #[test]
    fn nothing_is_said_before_enough_were_seen() {
        let quantiles = quantiles(0.99);
        for seen in 0..500 {
            let limit = quantiles.observe("root", 5_000_000);
            assert_eq!(limit.is_some(), seen >= 400, "after {seen}");
        }
        assert_eq!(quantiles.observe("other", 1), None);
    }

    #[test]
    fn what_lasts_always_the_same_is_never_slow_and_the_figures_move() {
        let quantiles = quantiles(0.9);
        for _ in 0..10_000 {
            let limit = quantiles.observe("root", 1_000_000);
            assert!(limit.is_none_or(|limit| limit >= 1_000_000));
        }
        for _ in 0..10_000 {
            quantiles.observe("root", 8_000_000);
        }
        assert!(quantiles.observe("root", 8_000_000) >= Some(8_000_000));
        for _ in 0..10_000 {
            quantiles.observe("root", 1_000_000);
        }
        assert!(quantiles.observe("root", 1_000_000) < Some(1_200_000));
    }

    #[test]
    fn names_are_bounded_and_pay_for_themselves() {
        let budget = Budget::new(1 << 20);
        let quantiles = Quantiles::new(0.5, Arc::clone(&budget));
        for _ in 0..2 {
            for name in 0..2 * NAMES {
                quantiles.observe(&name.to_string(), 1_000);
            }
        }
        let names: usize = quantiles.by_name.iter().map(|n| lock(n).len()).sum();
        assert_eq!(names, NAMES);
        // Those beyond share one.
        assert_eq!(lock(&quantiles.others).total, 2 * NAMES as u32);
        assert!(budget.used() >= NAMES * size_of::<Histogram>());
        drop(quantiles);
        assert_eq!(budget.used(), 0);

        let poor = Quantiles::new(0.5, Budget::new(100));
        for name in 0..100 {
            poor.observe(&name.to_string(), 1_000);
        }
        assert_eq!(lock(&poor.others).total, 100);
    }
}
