//! The cure of lost spans, by reason and by the endpoint's health.
//!
//! An error of the endpoint itself has its own cure, in the same report.

use crate::stats::DropReason;

/// The endpoint's health at the time of a loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EndpointHealth {
    /// No request failed.
    Works,
    /// Requests failed since the last report of a loss.
    Fails,
    /// The endpoint cannot be reached, or takes nothing at present.
    TakesNothing,
}

/// The cure of losses for `reason`.
pub(super) fn of(reason: DropReason, state: EndpointHealth) -> &'static str {
    match (reason, state) {
        (DropReason::QueueFull, EndpointHealth::Works) => {
            "the endpoint is slower than the spans come: sample, speed it up, or raise \
             OTEL_BSP_MAX_QUEUE_SIZE and max_memory (with_max_memory)"
        }
        (DropReason::QueueFull, EndpointHealth::Fails) => {
            "the queue filled up while requests failed: see the error"
        }
        (DropReason::QueueFull, EndpointHealth::TakesNothing) => {
            "the queue filled up while the endpoint took no spans: see the error; a larger \
             OTEL_BSP_MAX_QUEUE_SIZE and max_memory (with_max_memory) outlast a longer outage"
        }
        (DropReason::MemoryFull, _) => {
            "open spans use up their memory: raise max_memory (with_max_memory), or close spans \
             earlier"
        }
        (DropReason::AlreadyShutdown, _) => "they closed after shutdown: shut down later",
        (DropReason::TooLarge, _) => {
            "a single span is too large: set OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT"
        }
        (DropReason::Refused, _) => "the endpoint refuses them: see the error",
        (DropReason::Unsent, _) => "the endpoint did not take them in time: see the error",
        (DropReason::Unconfirmed, _) => {
            "they were sent, no answer came, and they may have arrived: see the error"
        }
        (DropReason::ShutdownTimeout, EndpointHealth::Works) => {
            "shutdown had too little time: raise shutdown_timeout"
        }
        (DropReason::ShutdownTimeout, EndpointHealth::Fails | EndpointHealth::TakesNothing) => {
            "the endpoint took no spans until the shutdown's deadline: see the error"
        }
        (DropReason::Shed, _) => "they were shed as set: the endpoint takes less than comes",
        (DropReason::TailDropped, _) => "they were dropped as tail sampling is set",
        (DropReason::Unsupported, _) => "the endpoint does not take this signal: see the error",
        (DropReason::Forked, _) => {
            "this process is a fork: build a pipeline of its own after the fork"
        }
        (DropReason::LayerGone, _) => "their layer was dropped while they were open",
        // A file, the console and an exporter from elsewhere fail so, too.
        (DropReason::Internal, _) => "the exporter failed: see the error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [EndpointHealth; 3] = [
        EndpointHealth::Works,
        EndpointHealth::Fails,
        EndpointHealth::TakesNothing,
    ];

    #[test]
    fn more_time_or_room_is_advised_only_where_it_helps() {
        for state in STATES {
            let cure = |reason| of(reason, state);
            let works = state == EndpointHealth::Works;
            let shutdown = cure(DropReason::ShutdownTimeout);
            assert_eq!(shutdown.contains("raise"), works, "{shutdown}");
            let queue = cure(DropReason::QueueFull);
            assert_eq!(queue.contains("slower"), works, "{queue}");
            assert_eq!(queue.contains("see the error"), !works, "{queue}");
            for reason in [
                DropReason::Unsent,
                DropReason::Unconfirmed,
                DropReason::Refused,
                // A disk that is full is no defect of ours.
                DropReason::Internal,
            ] {
                // The endpoint may have answered: the error has its words.
                assert!(!cure(reason).contains("not answer"));
                assert!(cure(reason).contains("see the error"));
            }
            assert!(
                DropReason::ALL
                    .iter()
                    .all(|reason| !cure(*reason).is_empty())
            );
        }
    }
}
