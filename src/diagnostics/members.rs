//! The reports on single addresses of an endpoint that are left out while others take its requests.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Instant;

use tracing::Level;

use super::event_sink::{ReportFields, Speaker, Topic};
use super::throttle::{Reach, Reachability};
use crate::signal::Signal;
use crate::stats::EndpointStats;
use crate::text;

/// What was said of each address of the endpoint of one signal.
#[derive(Debug)]
pub(super) struct MemberDiagnostics {
    signal: Signal,
    said: BTreeMap<(String, u16), Reach>,
}

/// Topics of members, so that the lines of a few hundred addresses are bounded.
const TOPICS: u64 = 64;

impl MemberDiagnostics {
    pub(super) fn of(signal: Signal) -> Self {
        Self {
            signal,
            said: BTreeMap::new(),
        }
    }

    pub(super) fn observe(
        &mut self,
        now: Instant,
        members: &[EndpointStats],
        speaker: &mut Speaker,
    ) {
        // Without an address: those that a look-up does not name any more.
        let named = || members.iter().filter(|member| !member.address.is_empty());
        self.said
            .retain(|(address, port), _| named().any(|m| m.address == *address && m.port == *port));
        // If none is up, or there is one alone, the report on the endpoint says so.
        if named().nth(1).is_none() || !named().any(|member| member.is_up) {
            return;
        }
        for member in named() {
            let place = (member.address.clone(), member.port);
            let topic = topic_of(self.signal, &place);
            let said = self.said.entry(place).or_default();
            let Some(said) = said.observe(now, !member.is_up) else {
                continue;
            };
            let at = shown(member);
            let items = self.signal.items();
            let (level, message) = match said {
                Reachability::Lost => (
                    Level::WARN,
                    format!("the endpoint {at} takes no {items} now, others take them"),
                ),
                Reachability::StillLost => (
                    Level::WARN,
                    format!("the endpoint {at} still takes no {items}"),
                ),
                Reachability::Found => (
                    Level::INFO,
                    format!("the endpoint {at} takes {items} again"),
                ),
            };
            let error = member.last_error.as_deref().map(text::shown);
            let fields = ReportFields {
                error: error.as_deref().filter(|_| level == Level::WARN),
                ..ReportFields::default()
            };
            speaker.say(topic, level, &message, fields);
        }
    }
}

fn shown(member: &EndpointStats) -> String {
    match member.address.contains(':') && !member.address.starts_with('[') {
        true => format!("[{}]:{}", member.address, member.port),
        false => format!("{}:{}", text::shown(&member.address), member.port),
    }
}

fn topic_of(signal: Signal, place: &(String, u16)) -> Topic {
    let mut hasher = DefaultHasher::new();
    (place, signal == Signal::Logs).hash(&mut hasher);
    Topic::Member((hasher.finish() % TOPICS) as u8)
}
