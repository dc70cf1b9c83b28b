//! Trace-affine routing: each span goes to the member that has its trace, by rendezvous hashing.
//!
//! The worker divides the spans of a batch here: the thread that records a span pays nothing.

use std::collections::HashMap;

use super::batch::Batch;
use super::members::{Owners, key_of};
use crate::wire::decode::bytes_of;

/// The parts of a batch by the number of the member that has their traces. `anywhere`: a random key, for records
/// without a trace, which may go to any of them.
pub(super) fn split(batch: Batch, owners: &Owners, anywhere: u64) -> Vec<(Option<u64>, Batch)> {
    if let Some(only) = owners.only() {
        return vec![(Some(only), batch)];
    }
    let field = batch.trace_id_field();
    let mut last = (Vec::new(), None);
    let mut chosen = HashMap::<u64, usize>::new();
    let parts = batch.partition(|item| {
        let trace_id = bytes_of(item, field).filter(|id| !id.is_empty());
        let owner = match trace_id {
            None => owners.of(anywhere),
            // Neighbours often are of one trace.
            Some(id) if id == last.0 => last.1,
            Some(id) => {
                let owner = owners.of(key_of(id));
                last = (id.to_vec(), owner);
                owner
            }
        };
        let next = chosen.len();
        *chosen.entry(owner.unwrap_or_default()).or_insert(next)
    });
    let mut numbers: Vec<_> = chosen.into_iter().collect();
    numbers.sort_unstable_by_key(|(_, index)| *index);
    let numbers = numbers.into_iter().map(|(number, _)| Some(number));
    numbers.zip(parts).collect()
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use super::*;
    use crate::export::members::tests::{batch, span};

    #[test]
    fn a_batch_is_divided_by_traces_and_nothing_is_lost() {
        let owners = Owners::new([1, 2, 3]);
        let spans: Vec<_> = (0..300).map(|n| span(n % 50, n)).collect();
        let parts = split(batch(spans.clone()), &owners, 0);
        assert_eq!(parts.len(), 3);
        let mut all = Vec::new();
        for (owner, part) in &parts {
            assert_eq!(part.items().count(), part.item_count());
            assert_eq!(
                part.frames().iter().map(|f| f.len()).sum::<usize>(),
                part.encoded_len()
            );
            for item in part.items() {
                let span = item.message;
                let id = bytes_of(span, part.trace_id_field()).unwrap_or_default();
                assert_eq!(owners.of(key_of(id)), *owner);
                all.push(span.to_vec());
            }
        }
        all.sort_unstable();
        let mut expected: Vec<_> = spans.iter().map(|s| s.to_vec()).collect();
        expected.sort_unstable();
        assert_eq!(all, expected);
    }

    #[test]
    fn each_trace_is_a_part_whatever_the_order_of_its_spans() {
        let spans: Vec<_> = (0..300).map(|n| span(n % 50, n)).collect();
        let parts = batch(spans.clone()).by_trace();
        assert_eq!(parts.len(), 50);
        for (n, (trace, part)) in parts.iter().enumerate() {
            assert_eq!(part.item_count(), 6);
            let expected = bytes_of(&spans[n], part.trace_id_field());
            assert_eq!(Some(&trace.to_bytes()[..]), expected);
            for item in part.items() {
                let span = item.message;
                assert_eq!(bytes_of(span, part.trace_id_field()), expected);
            }
        }
    }

    #[test]
    fn spans_without_a_trace_and_bytes_that_are_no_span_go_somewhere() {
        let owners = Owners::new([1, 2]);
        let odd = [&b""[..], b"\x0a\x00", b"\xff\xff", b"\x2a\x03run"];
        let parts = split(batch(odd.map(bytes::Bytes::from_static)), &owners, 0);
        assert_eq!(parts.iter().map(|(_, p)| p.item_count()).sum::<usize>(), 4);
    }
}
