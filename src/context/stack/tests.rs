use super::*;

/// The context of the innermost scope, where no span has one.
fn found() -> TraceContext {
    find_context(|_, _| None).unwrap_or_default()
}

#[test]
fn leaving_out_of_order_leaves_the_others() {
    for span in [1, 2, 3] {
        enter(7, span);
    }
    enter(8, 1);
    assert!(exit(7, 2));
    assert!(!exit(7, 2));
    assert_eq!(innermost(7, |_| true), Innermost::Span(3));
    assert_eq!(innermost(8, |_| true), Innermost::Span(1));
    assert!(exit(7, 3) && exit(7, 1) && exit(8, 1));
    assert_eq!(innermost(7, |_| true), Innermost::Nothing);
}

#[test]
fn a_span_entered_twice_is_left_twice() {
    enter(9, 1);
    enter(9, 2);
    enter(9, 1);
    assert_eq!(innermost(9, |_| true), Innermost::Span(2));
    assert!(exit(9, 1));
    assert_eq!(innermost(9, |_| true), Innermost::Span(2));
    assert!(exit(9, 2) && exit(9, 1));
    assert_eq!(innermost(9, |_| true), Innermost::Nothing);
}

/// Against the definition: the last entry above whose segment has no other of the same span.
#[test]
fn every_stack_agrees_with_a_walk_over_it() {
    let mut entries: Vec<Option<u64>> = Vec::new();
    let mut scopes = Vec::new();
    let mut seed = 7_u64;
    let mut draw = |n: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) % n
    };
    for step in 0..20_000 {
        // A deep stack and a flat one, in turn.
        let depth = if step % 2_000 < 1_000 { 300 } else { 3 };
        let span = draw(200);
        match draw(100) {
            0..3 => {
                scopes.push(open(cx(1)));
                entries.push(None);
            }
            3..6 => {
                if scopes.pop().is_some() {
                    let at = entries.iter().rposition(Option::is_none);
                    at.map(|at| entries.remove(at));
                }
            }
            _ if entries.len() < depth => {
                enter(12, span);
                entries.push(Some(span));
            }
            _ => {
                let at = entries.iter().rposition(|e| *e == Some(span));
                assert_eq!(exit(12, span), at.is_some());
                at.map(|at| entries.remove(at));
                if let Some(Some(span)) = entries.last().copied() {
                    assert!(exit(12, span));
                    entries.pop();
                }
            }
        }
        let mut expected = Innermost::Nothing;
        for (at, entry) in entries.iter().enumerate().rev() {
            let below = entries[..at].iter().rev().take_while(|e| e.is_some());
            match entry {
                None => expected = Innermost::Scope,
                Some(_) if below.into_iter().any(|e| e == entry) => continue,
                Some(span) => expected = Innermost::Span(*span),
            }
            break;
        }
        assert_eq!(innermost(12, |_| true), expected, "step {step}");
    }
    while scopes.pop().is_some() {}
    entries.into_iter().flatten().for_each(|span| {
        exit(12, span);
    });
}

fn cx(id: u8) -> TraceContext {
    use crate::context::{SpanId, TraceFlags, TraceId};
    TraceContext::new(
        TraceId::from_bytes([id; 16]),
        SpanId::from_bytes([id; 8]),
        TraceFlags::SAMPLED,
    )
}

#[test]
fn the_innermost_of_span_and_scope_counts() {
    enter(10, 1);
    {
        let _scope = open(cx(1));
        assert_eq!(
            (innermost(10, |_| true), scope_context()),
            (Innermost::Scope, cx(1))
        );
        assert_eq!(innermost_span(10, |_| true), Some(1));
        enter(10, 2);
        assert_eq!(innermost(10, |_| true), Innermost::Span(2));
        exit(10, 2);
        // The same span, entered again within the scope, is meant.
        enter(10, 1);
        assert_eq!(innermost(10, |_| true), Innermost::Span(1));
        exit(10, 1);
        let _inner = open(cx(2));
        assert_eq!(found(), cx(2));
    }
    assert_eq!(innermost(10, |_| true), Innermost::Span(1));
    exit(10, 1);
    assert_eq!(innermost(10, |_| true), Innermost::Nothing);
}

#[test]
fn a_scope_ends_with_a_panic_and_with_the_one_around_it() {
    let outer = open(cx(3));
    let panicked = std::panic::catch_unwind(|| {
        let _inner = open(cx(4));
        panic!("on purpose");
    });
    assert!(panicked.is_err());
    assert_eq!(found(), cx(3));
    std::mem::forget(open(cx(5)));
    enter(11, 1);
    drop(outer);
    assert_eq!(found(), TraceContext::default());
    assert_eq!(innermost(11, |_| true), Innermost::Span(1));
    exit(11, 1);
}
