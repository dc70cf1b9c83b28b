//! Settings in the form in which the callbacks need them.

use super::callsite::Extras;
use crate::config::{CaptureConfig, SpanLimits};
use crate::context::IdGenerator;
use crate::context::otel_context::ContextObserver;
use crate::sync::Arc;
use crate::wire::field::ValueLimit;

/// Who makes ids; the default needs no dynamic call.
#[derive(Clone)]
pub(crate) enum Ids {
    Random,
    Generator(Arc<dyn IdGenerator>),
}

/// What to record, how much of it, and whether at all.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(super) capture: CaptureConfig,
    /// What `capture` says of them.
    pub(super) extras: Extras,
    pub(super) event_extras: Extras,
    pub(super) limits: Limits,
    pub(super) export_mode: ExportMode,
    pub(super) bridge: Option<&'static dyn ContextObserver>,
    /// Whether anybody wants to know when a span is entered and left.
    pub(super) is_watched: bool,
}

/// What becomes of spans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExportMode {
    /// They are recorded and exported as they are sampled.
    Exported,
    /// They have an identity and a decision, and that is all.
    Unseen,
    /// There are none: contexts from elsewhere are passed on as they came (TR-16).
    Disabled,
}

#[derive(Clone)]
pub(super) struct Limits {
    pub(super) value: ValueLimit,
    pub(super) attributes: u32,
    pub(super) events: u32,
    pub(super) links: u32,
    pub(super) event_attributes: u32,
    pub(super) link_attributes: u32,
}

impl Settings {
    pub(crate) fn new(
        capture: CaptureConfig,
        limits: &SpanLimits,
        export_mode: ExportMode,
        bridge: Option<&'static dyn ContextObserver>,
    ) -> Self {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let is_watched = capture.tracked_inactivity || bridge.is_some();
        Self {
            extras: Extras::new(capture.target, capture.location, capture.level)
                .with_own_target(capture.middleware_target),
            event_extras: Extras::new(capture.target, capture.location, capture.event_level)
                .with_own_target(capture.middleware_target),
            capture,
            export_mode,
            bridge,
            is_watched,
            limits: Limits {
                value: ValueLimit {
                    length: limits.attribute_value_length_limit.unwrap_or(usize::MAX),
                },
                attributes: count(limits.attribute_count_limit),
                events: count(limits.event_count_limit),
                links: count(limits.link_count_limit),
                event_attributes: count(limits.attributes_per_event_limit),
                link_attributes: count(limits.attributes_per_link_limit),
            },
        }
    }
}
