//! [`SizeLimit`]: the endpoint's limit of the request size, learned from its answers.

use std::time::{Duration, Instant};

use crate::sync::{Mutex, lock};

/// A limit is forgotten after this long: the endpoint's settings may change. To learn it again costs a few
/// requests.
const REMEMBERED: Duration = Duration::from_secs(600);

/// The sizes refused as too large, and the sizes taken, in bytes before compression.
#[derive(Debug, Default)]
pub(super) struct SizeLimit(Mutex<Option<Learned>>);

/// The statement of a refusal about the size of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    /// No statement: the refusal may be about a rate.
    Nothing,
    TooLarge,
    /// The refusal names the limit.
    Limit(usize),
}

impl Said {
    /// The statement in the text of a refusal of `size` bytes.
    pub(super) fn of(words: &str, size: usize) -> Self {
        match (is_about_size(words), limit_named(words, size)) {
            (true, Some(limit)) => Self::Limit(limit),
            (true, None) => Self::TooLarge,
            (false, _) => Self::Nothing,
        }
    }

    /// The status alone says so.
    pub(super) fn at_least_too_large(self) -> Self {
        match self {
            Self::Nothing => Self::TooLarge,
            said => said,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Learned {
    /// The smallest that was refused.
    refused: usize,
    /// The largest below it that was taken since.
    taken: usize,
    since: Instant,
}

impl SizeLimit {
    /// The largest request worth sending; `None`: nothing is known.
    ///
    /// If the limit itself is unknown, this is a quarter below the refused size, so that requests of about
    /// that size are not tried one by one.
    pub(super) fn most(&self, now: Instant) -> Option<usize> {
        let mut learned = lock(&self.0);
        let is_old = |l: &Learned| now.saturating_duration_since(l.since) >= REMEMBERED;
        if learned.as_ref().is_some_and(is_old) {
            *learned = None;
        }
        learned.map(|l| l.taken.max(l.refused - l.refused / 4).min(l.refused - 1))
    }

    /// Notes a refusal of `size`.
    pub(super) fn refused(&self, size: usize, said: Said, now: Instant) {
        // Nothing can be below nothing.
        let size = size.max(2);
        let limit = match said {
            Said::Nothing => return,
            Said::TooLarge => None,
            Said::Limit(limit) => Some(limit).filter(|limit| (1..size).contains(limit)),
        };
        let refused = limit.map_or(size, |limit| limit + 1);
        let mut learned = lock(&self.0);
        let before = learned.take();
        let refused = before.map_or(refused, |l| l.refused.min(refused));
        let taken = limit.or(before.map(|l| l.taken)).unwrap_or_default();
        *learned = Some(Learned {
            refused,
            taken: if taken < refused { taken } else { 0 },
            since: now,
        });
    }

    /// Notes a success of `size`.
    pub(super) fn taken(&self, size: usize) {
        if let Some(learned) = &mut *lock(&self.0) {
            if size >= learned.refused {
                // The endpoint's limit has grown.
                learned.refused = size + 1;
            }
            learned.taken = learned.taken.max(size);
        }
    }

    /// Forgets the limit: the refusals were not about size.
    pub(super) fn forget(&self) {
        *lock(&self.0) = None;
    }
}

/// The limit that a refusal of `size` bytes names, such as 4194304 in `received message larger than
/// max (5242880 vs. 4194304)`: the largest number that may be one.
fn limit_named(message: &str, size: usize) -> Option<usize> {
    const SMALLEST: usize = 1024;
    message
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .filter(|number| (SMALLEST..size).contains(number))
        .max()
}

/// Whether the text of a refusal is about the size of the request.
fn is_about_size(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    [
        "too large",
        "larger than",
        "too big",
        "exceeds maximum size",
    ]
    .iter()
    .any(|words| message.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_narrows_grows_and_is_forgotten() {
        let limit = SizeLimit::default();
        let now = Instant::now();
        assert_eq!(limit.most(now), None);
        limit.taken(5000);
        assert_eq!(limit.most(now), None);
        limit.refused(1000, Said::TooLarge, now);
        assert_eq!(limit.most(now), Some(750));
        limit.taken(900);
        assert_eq!(limit.most(now), Some(900));
        limit.refused(800, Said::TooLarge, now);
        assert_eq!(limit.most(now), Some(600));
        limit.taken(2000);
        assert_eq!(limit.most(now), Some(2000));
        assert_eq!(limit.most(now + REMEMBERED), None);
        limit.refused(1, Said::TooLarge, now);
        assert_eq!(limit.most(now), Some(1));
        limit.forget();
        assert_eq!(limit.most(now), None);
    }

    #[test]
    fn a_limit_that_is_named_is_used_as_it_is() {
        let limit = SizeLimit::default();
        let now = Instant::now();
        for message in [
            "grpc: received message larger than max (5242880 vs. 4194304)",
            "Error, decoded message length too large: found 5242880 bytes, the limit is: 4194304 bytes",
            "gRPC message exceeds maximum size 4194304: 5242880",
        ] {
            let said = Said::of(message, 5_242_880);
            assert_eq!(said, Said::Limit(4_194_304), "{message}");
            limit.refused(5_242_880, said, now);
            assert_eq!(limit.most(now), Some(4_194_304));
        }
        let said = Said::of("http: request body too large", 500_000);
        assert_eq!(said, Said::TooLarge);
        let said = Said::of("quota of 5000 spans a second", 500_000);
        assert_eq!(said, Said::Nothing);
        assert_eq!(said.at_least_too_large(), Said::TooLarge);
    }
}
