//! What the worker asks an exporter: its last error while an answer is awaited, and the health of its members.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::{FIRST_PROBE, Lane, PROBE_EVERY, Worker, later};
use crate::processor::component::Components;
use crate::signal::Signal;

/// Between two looks at the members of an endpoint.
const MEMBERS_EVERY: Duration = Duration::from_secs(1);

impl Worker {
    pub(super) fn expect_answer(&mut self) {
        let at = later(Instant::now(), FIRST_PROBE);
        self.next_probe.get_or_insert(at);
    }

    /// Probes the exporter about once a second while a permit or an answer is awaited, and once after that.
    pub(super) fn maybe_probe(&mut self, now: Instant) {
        let waits = self.lanes.iter().any(Lane::waits);
        let Some(at) = self.next_probe.filter(|at| !waits || now >= *at) else {
            return;
        };
        self.next_probe = waits.then(|| later(now, PROBE_EVERY));
        if waits || now >= at || self.diagnostics.last_error().is_some() {
            self.probe_exporter();
        }
    }

    /// Reads the exporter's last error. An endpoint that cannot be reached yields no outcome, so the
    /// diagnostics need this.
    pub(super) fn probe_exporter(&mut self) {
        for lane in &self.lanes {
            // A foreign method: it may panic.
            let error = catch_unwind(AssertUnwindSafe(|| lane.exporter.last_error()));
            let error = error.ok().flatten();
            self.diagnostics.note_health(lane.signal(), error);
        }
    }

    /// The reason why spans are not sent or settled yet, for the error of a flush.
    pub(super) fn obstacle(&mut self) -> Option<String> {
        self.probe_exporter();
        let error = self.diagnostics.last_error().map(str::to_owned);
        let unanswered = || {
            let requests: usize = self.lanes.iter().map(|lane| lane.in_flight.len()).sum();
            (requests > 0)
                .then(|| format!("{requests} requests are under way and not answered yet"))
        };
        error.or_else(unanswered)
    }

    /// Reports members that are left out, or are back.
    pub(super) fn note_members(&mut self, now: Instant) {
        if now < self.next_members {
            return;
        }
        self.next_members = later(now, MEMBERS_EVERY);
        let of_logs = self.shared.log_components.as_ref();
        for (signal, components) in [
            (Signal::Traces, Some(&self.shared.components)),
            (Signal::Logs, of_logs),
        ] {
            let members = components
                .map(Components::endpoint_stats)
                .unwrap_or_default();
            if members.len() > 1 {
                self.diagnostics.note_members(now, signal, &members);
            }
        }
    }
}
