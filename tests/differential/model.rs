//! What must arrive, kept in the plainest way.

use std::collections::BTreeMap;
use std::time::SystemTime;

use tracing_otlp::{SpanId, Status, TraceId};

/// Limits small enough to be met.
pub const ATTRIBUTES: usize = 6;
pub const EVENTS: usize = 5;
pub const LINKS: usize = 3;
pub const EVENT_ATTRIBUTES: usize = 2;
pub const CHARACTERS: usize = 10;

/// A value as it is compared: `i 7`, `s text`, `b true`, `f 0.5`.
pub type Text = String;

pub fn text(value: &str) -> Text {
    let cut: String = value.chars().take(CHARACTERS).collect();
    format!("s {cut}")
}

pub fn int(value: i64) -> Text {
    format!("i {value}")
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Parent {
    None,
    /// The span with this index.
    Local(usize),
    Remote(SpanId),
}

/// Before and after a call: what it notes happened between the two.
pub type When = (SystemTime, SystemTime);

#[derive(Debug)]
pub struct Event {
    pub name: &'static str,
    pub attributes: BTreeMap<String, Text>,
    pub dropped: u32,
    pub when: When,
}

#[derive(Debug)]
pub struct Span {
    pub name: String,
    pub trace_id: TraceId,
    pub span_id: SpanId,
    pub parent: Parent,
    pub is_sampled: bool,
    pub attributes: BTreeMap<String, Text>,
    pub dropped_attributes: u32,
    pub events: Vec<Event>,
    pub dropped_events: u32,
    /// The span ids of what it is linked to.
    pub links: Vec<SpanId>,
    pub dropped_links: u32,
    pub status: Status,
    pub has_children: bool,
    pub has_ended: bool,
    pub started: When,
}

impl Span {
    /// Whether it still takes notice of anything.
    fn listens(&self) -> bool {
        self.is_sampled && !self.has_ended
    }

    pub fn set(&mut self, key: &str, value: Text) {
        if !self.listens() {
            return;
        }
        if self.attributes.len() < ATTRIBUTES || self.attributes.contains_key(key) {
            self.attributes.insert(key.to_owned(), value);
        } else {
            self.dropped_attributes += 1;
        }
    }

    pub fn add_event(&mut self, event: Event) {
        if !self.listens() {
            return;
        }
        if self.events.len() < EVENTS {
            self.events.push(event);
        } else {
            self.dropped_events += 1;
        }
    }

    pub fn add_link(&mut self, to: SpanId) {
        if !self.listens() {
            return;
        }
        if self.links.len() < LINKS {
            self.links.push(to);
        } else {
            self.dropped_links += 1;
        }
    }

    pub fn set_status(&mut self, status: Status) {
        let rank = |status: &Status| match status {
            Status::Unset => 0,
            Status::Error { .. } => 1,
            Status::Ok => 2,
        };
        let is_kept = rank(&status) < rank(&self.status) || self.status == Status::Ok;
        if self.listens() && !is_kept {
            self.status = status;
        }
    }

    /// An event of level ERROR without a description of its own.
    pub fn fail(&mut self) {
        if self.status == Status::Unset {
            self.set_status(Status::error(""));
        }
    }

    pub fn rename(&mut self, name: &str) {
        if self.listens() {
            self.name = name.to_owned();
        }
    }
}

/// The spans that a thread has entered, as the registry of tracing-subscriber keeps them.
#[derive(Debug, Default)]
pub struct Stack(Vec<(usize, bool)>);

impl Stack {
    pub fn enter(&mut self, span: usize) {
        let is_duplicate = self.0.iter().any(|(entered, _)| *entered == span);
        self.0.push((span, is_duplicate));
    }

    pub fn exit(&mut self, span: usize) {
        if let Some(at) = self.0.iter().rposition(|(entered, _)| *entered == span) {
            self.0.remove(at);
        }
    }

    pub fn current(&self) -> Option<usize> {
        let mut inward = self.0.iter().rev();
        inward.find(|(_, is_duplicate)| !is_duplicate).map(|e| e.0)
    }

    /// All that are entered, innermost last.
    pub fn entered(&self) -> Vec<usize> {
        self.0.iter().map(|e| e.0).collect()
    }
}
