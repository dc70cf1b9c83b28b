//! Which members a client uses, and which of them a request goes to. Pure functions, so that a fleet of clients can
//! be simulated.

use super::rendezvous::score;

/// The positions of the places that the seeds draw: each seed the best of those that are left. Every place has the same
/// chance, and a seed keeps its place while that is there.
pub(super) fn draw<const N: usize>(seeds: [u64; N], places: &[u64]) -> Vec<usize> {
    let mut drawn = Vec::with_capacity(N);
    for seed in seeds {
        let free = (0..places.len()).filter(|position| !drawn.contains(position));
        let best =
            free.max_by_key(|position| places.get(*position).map(|place| score(*place, seed)));
        drawn.extend(best);
    }
    drawn
}

/// Of two random positions below `links`, the one with the lesser load; the first one if there is no second.
pub(super) fn less_loaded(
    links: usize,
    load: impl Fn(usize) -> u64,
    mut random_below: impl FnMut(usize) -> usize,
) -> usize {
    if links < 2 {
        return 0;
    }
    let first = random_below(links);
    let second = (first + 1 + random_below(links - 1)) % links;
    match load(second) < load(first) {
        true => second,
        false => first,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_keeps_its_place_until_that_goes() {
        let places = [11, 22, 33, 44, 55];
        let drawn = draw([1, 2, 3], &places);
        let [a, b, c] = drawn[..] else {
            panic!("{drawn:?}");
        };
        assert!(a != b && b != c && a != c);
        let others = places.iter().copied().filter(|place| *place != places[b]);
        let others: Vec<_> = others.collect();
        let drawn = draw([1, 2, 3], &others).into_iter().map(|n| others[n]);
        let drawn: Vec<_> = drawn.collect();
        assert!(
            drawn.contains(&places[a]) && drawn.contains(&places[c]),
            "{drawn:?}"
        );
    }

    #[test]
    fn fewer_places_than_seeds_are_all_drawn() {
        assert_eq!(draw([1, 2, 3], &[]), [0; 0]);
        assert_eq!(draw([1, 2, 3], &[7]), [0]);
        let mut both = draw([1, 2, 3], &[7, 8]);
        both.sort_unstable();
        assert_eq!(both, [0, 1]);
    }

    #[test]
    fn the_lesser_load_of_two_is_taken() {
        let loads = [5, 1, 3];
        for first in 0..3 {
            for step in 0..2 {
                let mut numbers = [first, step].into_iter();
                let chosen = less_loaded(3, |n| loads[n], |_| numbers.next().unwrap_or(0));
                let second = (first + 1 + step) % 3;
                assert_eq!(loads[chosen], loads[first].min(loads[second]));
            }
        }
        assert_eq!(less_loaded(1, |_| 9, |_| 7), 0);
    }
}
