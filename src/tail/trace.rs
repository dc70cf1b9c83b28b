//! [`LocalTrace`]: what the spans of a local trace share while one of them is open.

use super::block_list::{Block, BlockList};
use super::decision::{Facts, Rules, TailDecision};
use crate::pool::Budget;
use crate::processor::TelemetryData;
use crate::sync::{Arc, Mutex, lock};

/// What a local trace is counted with beside its spans: itself and its place in the order.
const COST: usize = 256;

const _: () = assert!(size_of::<LocalTrace>() + 64 <= COST, "more than is counted");

/// To which local trace an open span belongs: its children inherit that.
#[derive(Debug, Clone, Default)]
pub(crate) struct TraceRef {
    /// `None`: nothing is held, or the budget was used up when the trace began.
    trace: Option<Arc<LocalTrace>>,
    is_root: bool,
}

impl TraceRef {
    pub(super) fn of_root(trace: Option<Arc<LocalTrace>>) -> Self {
        Self {
            is_root: trace.is_some(),
            trace,
        }
    }

    /// That of a child in the same process.
    #[inline]
    pub(crate) fn child(&self) -> Self {
        Self {
            trace: self.trace.clone(),
            is_root: false,
        }
    }

    /// That of the span that the local trace began with.
    pub(crate) fn as_root(&self) -> Self {
        Self::of_root(self.trace.clone())
    }

    #[inline]
    pub(crate) fn is_none(&self) -> bool {
        self.trace.is_none()
    }

    pub(super) fn trace(&self) -> Option<&Arc<LocalTrace>> {
        self.trace.as_ref()
    }

    pub(super) fn is_root(&self) -> bool {
        self.is_root
    }
}

/// Lives as long as a span of it is open or held, so its verdict is never forgotten too early and
/// never kept for nothing.
#[derive(Debug)]
pub(crate) struct LocalTrace {
    id: [u8; 16],
    /// That of open spans; pays for this.
    budget: Arc<Budget>,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Undecided(Held),
    Decided(TailDecision),
}

/// The spans that ended before the verdict.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) block_list: BlockList,
    pub(super) spans: usize,
    pub(super) has_error: bool,
    /// When the first of them began, by the clock.
    pub(super) earliest: u64,
    /// Its place in the order, once it has one.
    pub(super) place: Option<usize>,
}

/// What holding a span takes.
#[derive(Debug, Default)]
pub(super) struct Slot {
    pub(super) credit: bool,
    pub(super) block: Option<Box<Block>>,
}

pub(super) enum Holding {
    /// `first`: it is the trace's first, which now needs a place in the order.
    Done {
        first: bool,
    },
    NeedsCredit,
    NeedsBlock,
    Decided(TailDecision),
}

impl LocalTrace {
    /// `None`: the budget has no room for it.
    pub(super) fn new(id: [u8; 16], budget: &Arc<Budget>) -> Option<Arc<Self>> {
        budget.reserve(COST).then(|| {
            Arc::new(Self {
                id,
                budget: Arc::clone(budget),
                state: Mutex::new(State::Undecided(Held::default())),
            })
        })
    }

    pub(super) fn id(&self) -> [u8; 16] {
        self.id
    }

    /// Copies a span in, with the credit and block of `room`.
    pub(super) fn hold(
        &self,
        data: TelemetryData<'_>,
        start: u64,
        is_error: bool,
        room: &mut Slot,
    ) -> Holding {
        let mut state = lock(&self.state);
        let held = match &mut *state {
            State::Undecided(held) => held,
            State::Decided(decision) => return Holding::Decided(*decision),
        };
        if !room.credit {
            return Holding::NeedsCredit;
        }
        if !held.block_list.append(data, &mut room.block) {
            return Holding::NeedsBlock;
        }
        room.credit = false;
        let first = held.spans == 0;
        held.spans += 1;
        held.has_error |= is_error;
        held.earliest = if first {
            start
        } else {
            held.earliest.min(start)
        };
        Holding::Done { first }
    }

    /// Keeps its place in the order; false if it was decided meanwhile and needs none.
    pub(super) fn set_place(&self, at: usize) -> bool {
        match &mut *lock(&self.state) {
            State::Undecided(held) => {
                held.place = Some(at);
                true
            }
            State::Decided(_) => false,
        }
    }

    /// Decides, once: what was held comes out with the first verdict, and the verdict alone from
    /// then on. `complete` adds to the facts what the caller knows.
    pub(super) fn decide(
        &self,
        rules: &Rules,
        complete: impl FnOnce(&Held, &mut Facts),
    ) -> (Option<Held>, TailDecision) {
        let mut state = lock(&self.state);
        let held = match &mut *state {
            State::Undecided(held) => std::mem::take(held),
            State::Decided(decision) => return (None, *decision),
        };
        let mut facts = Facts {
            trace_id: self.id,
            has_error: held.has_error,
            duration: 0,
            usual: None,
        };
        complete(&held, &mut facts);
        let decision = rules.decide(&facts);
        *state = State::Decided(decision);
        (Some(held), decision)
    }
}

impl Drop for LocalTrace {
    fn drop(&mut self) {
        self.budget.release(COST);
    }
}
