//! [`LocalTrace`]: the state that the spans of a local trace share.

use super::block_list::{Block, BlockList};
use super::decision::{Facts, TailDecision, TailRules};
use crate::pool::Budget;
use crate::processor::TelemetryData;
use crate::sync::{Arc, Mutex, lock};

/// The cost of a local trace beside its spans: itself and its place in the age queue.
const COST: usize = 256;

const _: () = assert!(size_of::<LocalTrace>() + 64 <= COST, "more than is counted");

/// The local trace of an open span; its children inherit it.
#[derive(Debug, Clone, Default)]
pub(crate) struct TraceRef {
    /// `None` if tail sampling is off, or the budget was used up when the trace began.
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

    /// The reference for a child in the same process.
    #[inline]
    pub(crate) fn child(&self) -> Self {
        Self {
            trace: self.trace.clone(),
            is_root: false,
        }
    }

    /// The reference for the local root.
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

/// Lives as long as one of its spans is open or held, so a late span always finds the decision.
#[derive(Debug)]
pub(crate) struct LocalTrace {
    id: [u8; 16],
    /// The budget of open spans, from which [`COST`] is reserved.
    budget: Arc<Budget>,
    state: Mutex<HoldState>,
}

#[derive(Debug)]
enum HoldState {
    Undecided(HeldSpans),
    Decided(TailDecision),
}

/// The spans that ended before the decision.
#[derive(Debug, Default)]
pub(super) struct HeldSpans {
    pub(super) block_list: BlockList,
    pub(super) spans: usize,
    pub(super) has_error: bool,
    /// The earliest begin of them, by the clock.
    pub(super) earliest: u64,
    /// Its place in the age queue, once it has one.
    pub(super) place: Option<usize>,
}

/// The credit and the block for one more span.
#[derive(Debug, Default)]
pub(super) struct HoldingSlot {
    pub(super) credit: bool,
    pub(super) block: Option<Box<Block>>,
}

pub(super) enum Holding {
    /// `first`: the trace's first held span, so the trace now enters the age queue.
    Done {
        first: bool,
    },
    NeedsCredit,
    NeedsBlock,
    Decided(TailDecision),
}

impl LocalTrace {
    /// `None` if the budget is used up.
    pub(super) fn new(id: [u8; 16], budget: &Arc<Budget>) -> Option<Arc<Self>> {
        budget.reserve(COST).then(|| {
            Arc::new(Self {
                id,
                budget: Arc::clone(budget),
                state: Mutex::new(HoldState::Undecided(HeldSpans::default())),
            })
        })
    }

    pub(super) fn id(&self) -> [u8; 16] {
        self.id
    }

    /// Copies a span into the trace, with the credit and block of `slot`.
    pub(super) fn hold(
        &self,
        data: TelemetryData<'_>,
        start: u64,
        is_error: bool,
        slot: &mut HoldingSlot,
    ) -> Holding {
        let mut state = lock(&self.state);
        let held = match &mut *state {
            HoldState::Undecided(held) => held,
            HoldState::Decided(decision) => return Holding::Decided(*decision),
        };
        if !slot.credit {
            return Holding::NeedsCredit;
        }
        if !held.block_list.append(data, &mut slot.block) {
            return Holding::NeedsBlock;
        }
        slot.credit = false;
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

    /// Sets its place in the age queue; false if another thread decided the trace meanwhile.
    pub(super) fn set_place(&self, at: usize) -> bool {
        match &mut *lock(&self.state) {
            HoldState::Undecided(held) => {
                held.place = Some(at);
                true
            }
            HoldState::Decided(_) => false,
        }
    }

    /// Decides once: the first call returns the held spans, later calls the decision alone. `complete`
    /// adds the caller's facts.
    pub(super) fn decide(
        &self,
        rules: &TailRules,
        complete: impl FnOnce(&HeldSpans, &mut Facts),
    ) -> (Option<HeldSpans>, TailDecision) {
        let mut state = lock(&self.state);
        let held = match &mut *state {
            HoldState::Undecided(held) => std::mem::take(held),
            HoldState::Decided(decision) => return (None, *decision),
        };
        let mut facts = Facts {
            trace_id: self.id,
            has_error: held.has_error,
            duration: 0,
            usual: None,
        };
        complete(&held, &mut facts);
        let decision = rules.decide(&facts);
        *state = HoldState::Decided(decision);
        (Some(held), decision)
    }
}

impl Drop for LocalTrace {
    fn drop(&mut self) {
        self.budget.release(COST);
    }
}
