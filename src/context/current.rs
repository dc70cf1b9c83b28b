//! What is current on a thread: a stack of the spans entered on it.
//!
//! The stack is shared by all layers of the process; an entry names its layer, because ids of two
//! registries may be equal. An exit out of order takes its own entry from wherever it is, so that
//! guards dropped in the wrong order, or held across an await, mend themselves (PAIN 18).

use std::cell::RefCell;

/// A span entered on this thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    layer: u32,
    span: u64,
}

thread_local! {
    static STACK: RefCell<Vec<Entry>> = const { RefCell::new(Vec::new()) };
}

/// Notes that `layer`'s span was entered on this thread.
#[inline]
pub(crate) fn enter(layer: u32, span: u64) {
    // Nothing can be entered once the thread's locals are gone; nothing foreign runs in here.
    let _ = STACK.try_with(|s| s.borrow_mut().push(Entry { layer, span }));
}

/// Notes that `layer`'s span was left on this thread; says whether it had been entered on it.
#[inline]
pub(crate) fn exit(layer: u32, span: u64) -> bool {
    let entry = Entry { layer, span };
    STACK
        .try_with(|s| {
            let mut stack = s.borrow_mut();
            if stack.last() == Some(&entry) {
                stack.pop();
                return true;
            }
            match stack.iter().rposition(|e| *e == entry) {
                Some(at) => {
                    stack.remove(at);
                    true
                }
                None => false,
            }
        })
        .unwrap_or(false)
}

/// The span of `layer` that is current on this thread: the last entered that was not left. One that
/// was entered again while it was entered already does not become current by that, as the registry
/// has it too.
#[inline]
pub(crate) fn innermost(layer: u32) -> Option<u64> {
    STACK
        .try_with(|s| {
            let mut stack = &s.borrow()[..];
            while let Some((last, below)) = stack.split_last() {
                if last.layer == layer && !below.contains(last) {
                    return Some(last.span);
                }
                stack = below;
            }
            None
        })
        .ok()
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaving_out_of_order_leaves_the_others() {
        for span in [1, 2, 3] {
            enter(7, span);
        }
        enter(8, 1);
        assert!(exit(7, 2));
        assert!(!exit(7, 2));
        assert_eq!(innermost(7), Some(3));
        assert_eq!(innermost(8), Some(1));
        assert!(exit(7, 3) && exit(7, 1) && exit(8, 1));
        assert_eq!(innermost(7), None);
    }

    #[test]
    fn a_span_entered_twice_is_left_twice() {
        enter(9, 1);
        enter(9, 2);
        enter(9, 1);
        assert_eq!(innermost(9), Some(2));
        assert!(exit(9, 1));
        assert_eq!(innermost(9), Some(2));
        assert!(exit(9, 2) && exit(9, 1));
        assert_eq!(innermost(9), None);
    }
}
