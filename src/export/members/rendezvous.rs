//! Rendezvous hashing: each pair of a key and a member has a score, and the member with the highest score
//! has the key.
//!
//! All processes that see the same members choose the same one for a key. Where a member goes, only its
//! keys move, to all others in equal parts; a new member takes an equal part from each of the others.

/// The place of a member in the scores: the same in every process.
pub(super) fn place_of(host: &str, port: u16) -> u64 {
    // FNV-1a.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let port = port.to_be_bytes();
    let host = host.bytes().map(|byte| byte.to_ascii_lowercase());
    for byte in host.chain(port) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    mix(hash)
}

/// The key of a trace. An id that is no trace's has one too.
pub(in crate::export) fn key_of(trace_id: &[u8]) -> u64 {
    let chunks = trace_id.chunks(8).take(2);
    chunks.fold(0, |key, chunk| {
        let mut bytes = [0; 8];
        bytes[..chunk.len()].copy_from_slice(chunk);
        mix(key ^ u64::from_be_bytes(bytes))
    })
}

/// The score of a member for a key.
pub(super) fn score(place: u64, key: u64) -> u64 {
    mix(place ^ key)
}

/// The finaliser of splitmix64: every bit of the input changes half of the output's.
pub(in crate::export) fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(places: &[u64], key: u64) -> Option<u64> {
        places.iter().copied().max_by_key(|p| score(*p, key))
    }

    fn places(members: u16) -> Vec<u64> {
        (0..members).map(|n| place_of("10.0.0.1", n)).collect()
    }

    /// Trace ids as they are made: random, or with a time in front, or with random bits at the end alone.
    fn keys() -> Vec<u64> {
        let random = (0..10_000_u64).map(|n| (mix(n), mix(!n)));
        let timed = (0..10_000_u64).map(|n| (0x6745_2301_0000_0000 | n, mix(n) >> 8));
        let short = (0..10_000_u64).map(|n| (0, mix(n)));
        let ids = random.chain(timed).chain(short);
        ids.map(|(a, b)| key_of(&(u128::from(a) << 64 | u128::from(b)).to_be_bytes()))
            .collect()
    }

    #[test]
    fn traces_spread_evenly() {
        let (keys, places) = (keys(), places(10));
        for place in &places {
            let share = keys.iter().filter(|k| owner(&places, **k) == Some(*place));
            let share = share.count() as f64 / keys.len() as f64;
            assert!((0.09..0.11).contains(&share), "{share}");
        }
    }

    #[test]
    fn only_the_traces_of_a_lost_member_move() {
        let (keys, all) = (keys(), places(10));
        let fewer = &all[1..];
        for key in keys {
            let before = owner(&all, key);
            if before != all.first().copied() {
                assert_eq!(owner(fewer, key), before);
            }
        }
    }

    #[test]
    fn a_host_has_one_place_however_it_is_written() {
        assert_eq!(place_of("Gate.TEST", 1), place_of("gate.test", 1));
        assert_ne!(place_of("a", 1), place_of("a", 2));
        assert_ne!(key_of(&[0; 16]), key_of(&[1; 16]));
        assert_eq!(key_of(&[]), 0);
    }
}
