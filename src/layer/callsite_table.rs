//! The process' prepared callsites, by the address of their metadata: unlike `Identifier`, it distinguishes
//! metadata made by hand that share one callsite.
//!
//! A table with open addressing in segments, each four times as large as the one before. A place is filled
//! once and never emptied, so a look-up takes no lock and writes nothing, and it works in a fork, whatever
//! other threads did at that moment. All threads share it: a copy for each thread would cost memory for each,
//! and a limit of its own.

use once_cell::race::OnceBox;
use tracing_core::Metadata;

use super::callsite::Callsite;

type CallsiteSlot = OnceBox<Callsite>;

/// Places of the first segment.
const FIRST: usize = 1024;

/// Places of a segment in which a callsite may lie: beyond these it lies in the next segment.
const REACH: usize = 8;

/// A segment beyond the first.
struct TableSegment {
    /// A power of two of them.
    places: Box<[CallsiteSlot]>,
    next: OnceBox<TableSegment>,
}

static PLACES: [CallsiteSlot; FIRST] = [const { OnceBox::new() }; FIRST];
static NEXT: OnceBox<TableSegment> = OnceBox::new();

/// The prepared callsite of `metadata`.
#[inline]
pub(crate) fn of(metadata: &'static Metadata<'static>) -> &'static Callsite {
    let at = hash_of(metadata) >> (64 - FIRST.ilog2());
    match PLACES.get(at as usize).and_then(OnceBox::get) {
        Some(first) if std::ptr::eq(first.metadata, metadata) => first,
        _ => search(metadata),
    }
}

/// Fibonacci hashing: the high bits of the product depend on all bits of the address.
#[inline(always)]
fn hash_of(metadata: &'static Metadata<'static>) -> u64 {
    let address = std::ptr::from_ref(metadata) as u64;
    address.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Searches the other places, and prepares a callsite that is new.
#[inline(never)]
fn search(metadata: &'static Metadata<'static>) -> &'static Callsite {
    let hash = hash_of(metadata);
    let (mut places, mut next) = (&PLACES[..], &NEXT);
    let mut new = None;
    loop {
        if let Some(found) = find_or_put(places, hash, metadata, &mut new) {
            return found;
        }
        let segment = next.get_or_init(|| Box::new(TableSegment::after(places.len())));
        (places, next) = (&segment.places, &segment.next);
    }
}

/// The callsite in a segment, put there if a place in its reach is free. `None`: other callsites have them
/// all.
fn find_or_put(
    places: &'static [CallsiteSlot],
    hash: u64,
    metadata: &'static Metadata<'static>,
    new: &mut Option<Box<Callsite>>,
) -> Option<&'static Callsite> {
    let mask = places.len() - 1;
    let first = hash >> (64 - places.len().ilog2());
    for offset in 0..REACH {
        let place = places.get((first as usize + offset) & mask)?;
        let found = match place.get() {
            Some(found) => found,
            // Each search takes the same way and no place is emptied, so a callsite of which two threads
            // made one each comes to the same place, and the second thread finds the first one's.
            None => {
                let made = new.take();
                let made = made.unwrap_or_else(|| Box::new(Callsite::new(metadata)));
                *new = place.set(made).err();
                place.get()?
            }
        };
        if std::ptr::eq(found.metadata, metadata) {
            return Some(found);
        }
    }
    None
}

impl TableSegment {
    #[cold]
    fn after(places: usize) -> Self {
        Self {
            places: (0..4 * places).map(|_| OnceBox::new()).collect(),
            next: OnceBox::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use tracing_core::callsite::{DefaultCallsite, Identifier};
    use tracing_core::field::FieldSet;
    use tracing_core::{Kind, Level};

    use super::*;

    fn metadata() -> &'static Metadata<'static> {
        static CALLSITE: DefaultCallsite = DefaultCallsite::new(&META);
        static META: Metadata<'static> = made();
        const fn made() -> Metadata<'static> {
            let fields = FieldSet::new(&[], Identifier(&CALLSITE));
            let (file, module) = (None, None);
            Metadata::new(
                "made",
                "t",
                Level::INFO,
                file,
                None,
                module,
                fields,
                Kind::SPAN,
            )
        }
        Box::leak(Box::new(made()))
    }

    /// More than the first segment has places for, from several threads at once.
    #[test]
    fn every_thread_finds_the_one_callsite_of_its_metadata() {
        let all: Vec<_> = (0..3 * FIRST).map(|_| metadata()).collect();
        let found = std::thread::scope(|s| {
            let look_up = || all.iter().map(|metadata| of(metadata)).collect::<Vec<_>>();
            let threads: Vec<_> = (0..4).map(|_| s.spawn(look_up)).collect();
            let joined = threads.into_iter().map(|thread| thread.join());
            joined.filter_map(Result::ok).collect::<Vec<_>>()
        });
        assert_eq!(found.len(), 4);
        for callsites in &found {
            for ((metadata, callsite), first) in all.iter().zip(callsites).zip(&found[0]) {
                assert!(std::ptr::eq(callsite.metadata, *metadata));
                assert!(std::ptr::eq(*callsite, *first));
            }
        }
    }
}
