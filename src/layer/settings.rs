//! The layer's configuration, in the form that the callbacks read.

use super::callsite::Extras;
use crate::config::{CaptureConfig, SpanLimits};
use crate::context::IdGenerator;
use crate::context::otel_context::ContextObserver;
use crate::sync::Arc;
use crate::wire::bounded::ValueLimit;

/// The generator of ids; the default needs no dynamic call.
#[derive(Clone)]
pub(crate) enum Ids {
    Random,
    Generator(Arc<dyn IdGenerator>),
}

/// What the layer records, and its limits.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(super) capture: CaptureConfig,
    /// The attributes of `capture` that are the same for all spans of a callsite, and for all events.
    pub(super) extras: Extras,
    pub(super) event_extras: Extras,
    pub(super) limits: Limits,
    pub(super) export_mode: ExportMode,
    pub(super) observer: Option<&'static dyn ContextObserver>,
    /// Whether enter and exit need more than the thread's stack: busy and idle times, or the OpenTelemetry
    /// context.
    pub(super) is_watched: bool,
}

/// Whether spans are recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExportMode {
    /// Spans are recorded and exported by their sampling decision.
    Exported,
    /// Spans have an identity and a decision, and are never recorded.
    Unseen,
    /// The layer makes no spans; a caller's context is passed on unchanged (TR-16).
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
        observer: Option<&'static dyn ContextObserver>,
    ) -> Self {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let is_watched = capture.tracked_inactivity || observer.is_some();
        Self {
            extras: Extras::new(capture.target, capture.location, capture.level)
                .with_own_target(capture.middleware_target),
            event_extras: Extras::new(capture.target, capture.location, capture.event_level)
                .with_own_target(capture.middleware_target),
            capture,
            export_mode,
            observer,
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
