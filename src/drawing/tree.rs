//! Spans in the order of a drawing: each parent before its children, these by start time.

use std::collections::HashMap;

/// The parts of a span on which its place depends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    pub(crate) id: [u8; 8],
    pub(crate) parent: Option<[u8; 8]>,
    pub(crate) start: u64,
}

/// The place of a span in the drawing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TreePlace {
    /// The index of the span among those that were given.
    pub(crate) span: usize,
    /// The place of the parent in the list; always smaller than its own.
    pub(crate) parent: Option<usize>,
    pub(crate) depth: usize,
    /// Whether it is the last child of its parent.
    pub(crate) last: bool,
    pub(crate) origin: ParentOrigin,
}

/// The reason for a span's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ParentOrigin {
    /// It has no parent, or is drawn under it.
    Plain,
    /// Its parent is not among the spans.
    Orphan,
    /// Its parents form a circle, which is cut here.
    Circle,
}

/// Puts spans in order. Without recursion: a trace may be deeper than a stack.
pub(crate) fn arrange(spans: &[Key]) -> Vec<TreePlace> {
    let mut order: Vec<usize> = (0..spans.len()).collect();
    order.sort_by_key(|&i| spans[i].start);
    let mut by_id = HashMap::new();
    for &i in &order {
        by_id.entry(spans[i].id).or_insert(i);
    }
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); spans.len()];
    let mut roots = Vec::new();
    for &i in &order {
        match spans[i].parent {
            None => roots.push((i, ParentOrigin::Plain)),
            Some(parent) => match by_id.get(&parent) {
                Some(&parent) => children[parent].push(i),
                None => roots.push((i, ParentOrigin::Orphan)),
            },
        }
    }

    let mut places: Vec<TreePlace> = Vec::with_capacity(spans.len());
    let mut seen = vec![false; spans.len()];
    let mut grow = |root: usize, origin, seen: &mut Vec<bool>| {
        let mut stack = vec![(root, None::<usize>, true, origin)];
        while let Some((span, parent, last, origin)) = stack.pop() {
            if std::mem::replace(&mut seen[span], true) {
                continue;
            }
            let at = places.len();
            let depth = parent.map_or(0, |p| places[p].depth + 1);
            places.push(TreePlace {
                span,
                parent,
                depth,
                last,
                origin,
            });
            // The child that closes a circle is drawn already, so it must not count as the last.
            let open: Vec<_> = children[span].iter().filter(|&&c| !seen[c]).collect();
            let count = open.len();
            for (n, &&child) in open.iter().enumerate().rev() {
                stack.push((child, Some(at), n + 1 == count, ParentOrigin::Plain));
            }
        }
    };
    for (root, origin) in roots {
        grow(root, origin, &mut seen);
    }
    // A span that no root reaches hangs on a circle. The cut is at a member of the circle, not below it.
    for &start in &order {
        if !seen[start] {
            let on_circle = circle_above(start, spans, &by_id);
            grow(on_circle, ParentOrigin::Circle, &mut seen);
        }
    }
    places
}

/// The earliest span of the circle in which the parents of `start` end.
fn circle_above(start: usize, spans: &[Key], by_id: &HashMap<[u8; 8], usize>) -> usize {
    let parent = |i: usize| by_id.get(&spans[i].parent?).copied();
    // After as many steps as there are spans, the walk is within the circle.
    let mut at = start;
    for _ in 0..spans.len() {
        at = parent(at).unwrap_or(at);
    }
    let (mut earliest, mut next) = (at, parent(at).unwrap_or(at));
    while next != at {
        if (spans[next].start, next) < (spans[earliest].start, earliest) {
            earliest = next;
        }
        next = parent(next).unwrap_or(at);
    }
    earliest
}
