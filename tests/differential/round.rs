//! One round: spans from nothing, random calls, and the end of them all.

use std::collections::BTreeMap;
use std::time::SystemTime;

use tracing::span::Id;
use tracing::{Span, dispatcher, error, info, info_span};
use tracing_otlp::context::TraceFlags;
use tracing_otlp::{KeyValue, SpanExt as _, SpanId, Status, TraceContext, TraceId, context};

use super::Random;
use super::model::{self, Event, Parent, Stack, When, int, text};
use super::threads::Threads;

pub struct Round<'a> {
    random: Random,
    threads: &'a Threads,
    stacks: Vec<Stack>,
    pub spans: Vec<model::Span>,
    ids: Vec<Id>,
    /// Handles by span; one without any is kept open by its children at most.
    handles: Vec<Vec<Span>>,
    /// The calls, for whoever has to find out what went wrong.
    pub calls: Vec<String>,
}

/// Where a new span or an event says that it belongs.
#[derive(Debug)]
enum Place {
    Here,
    Root,
    Under(Span),
    Scope(TraceContext),
}

/// The three ways to say a parent, for one callsite each.
macro_rules! placed {
    ($place:expr, $make:ident!($($arguments:tt)*)) => {
        match $place {
            Place::Here => $make!($($arguments)*),
            Place::Root => $make!(parent: None, $($arguments)*),
            Place::Under(span) => $make!(parent: &span, $($arguments)*),
            Place::Scope(cx) => context::sync_scope(cx, || $make!($($arguments)*)),
        }
    };
}

impl<'a> Round<'a> {
    pub fn new(seed: u64, threads: &'a Threads) -> Self {
        Self {
            random: Random(seed),
            threads,
            stacks: (0..threads.len()).map(|_| Stack::default()).collect(),
            spans: Vec::new(),
            ids: Vec::new(),
            handles: Vec::new(),
            calls: Vec::new(),
        }
    }

    fn note(&mut self, call: std::fmt::Arguments<'_>) {
        self.calls.push(call.to_string());
    }

    pub fn run(&mut self, calls: usize) {
        for _ in 0..calls {
            self.call();
        }
        self.end();
    }

    fn call(&mut self) {
        let thread = self.random.below(self.threads.len());
        let Some(span) = self.pick() else {
            return self.new_span(thread);
        };
        match self.random.below(20) {
            0..4 => self.new_span(thread),
            4..7 => self.event(thread),
            7..10 => self.enter(thread, span),
            10..12 => self.exit(thread),
            12 => self.record(thread, span),
            13 => self.set_attribute(thread, span),
            14 => self.set_status(thread, span),
            15 => self.own_event(thread, span),
            16 => self.link(thread, span),
            17 => self.set_parent(thread, span),
            18 => self.rename_or_end(thread, span),
            _ => self.clone_or_drop(thread, span),
        }
    }

    /// A span that has a handle.
    fn pick(&mut self) -> Option<usize> {
        let held: Vec<_> = (0..self.spans.len())
            .filter(|span| !self.handles[*span].is_empty())
            .collect();
        let at = self.random.below(held.len());
        held.get(at).copied()
    }

    fn handle(&self, span: usize) -> Span {
        self.handles[span][0].clone()
    }

    /// Runs `work` with a handle of the span, between two readings of the clock.
    fn with<R: Send + 'static>(
        &self,
        thread: usize,
        span: usize,
        work: impl FnOnce(&Span) -> R + Send + 'static,
    ) -> (R, When) {
        let handle = self.handle(span);
        self.timed(thread, move || work(&handle))
    }

    fn timed<R: Send + 'static>(
        &self,
        thread: usize,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> (R, When) {
        let before = SystemTime::now();
        let result = self.threads.run(thread, work);
        (result, (before, SystemTime::now()))
    }

    fn remote(&mut self) -> TraceContext {
        let n = self.random.next() | 1;
        let flags = match self.random.one_in(4) {
            true => TraceFlags::default(),
            false => TraceFlags::SAMPLED,
        };
        let trace_id = TraceId::from_bytes(u128::from(n).to_be_bytes());
        let span_id = SpanId::from_bytes(n.to_be_bytes());
        TraceContext::new(trace_id, span_id, flags).with_remote(true)
    }

    fn new_span(&mut self, thread: usize) {
        let here = self.stacks[thread].current();
        let as_local = |span: Option<usize>| span.map_or(Parent::None, Parent::Local);
        let other = self.pick();
        let (place, parent, is_sampled) = match (self.random.below(6), other) {
            (0, _) => (Place::Root, Parent::None, true),
            (1, Some(other)) => (Place::Under(self.handle(other)), Parent::Local(other), true),
            (2, Some(other)) => {
                let cx = self.handle(other).trace_context();
                (Place::Scope(cx), Parent::Local(other), true)
            }
            (3, _) if self.random.one_in(2) => {
                let cx = self.remote();
                let parent = Parent::Remote(cx.span_id());
                let is_sampled = cx.is_sampled();
                (Place::Scope(cx), parent, is_sampled)
            }
            _ => (Place::Here, as_local(here), true),
        };
        let is_sampled = match parent {
            Parent::Local(parent) => {
                self.spans[parent].has_children = true;
                self.spans[parent].is_sampled
            }
            _ => is_sampled,
        };
        let (a, b, kind) = (
            self.random.next() as i64,
            self.random.text(),
            self.random.below(3),
        );
        let n = self.spans.len();
        self.note(format_args!(
            "thread {thread}: new span {n}, {place:?}, is {parent:?}"
        ));
        let given = b.clone();
        let (span, started) = self.timed(thread, move || match kind {
            0 => placed!(place, info_span!("plain")),
            1 => placed!(
                place,
                info_span!("fields", a, b, late = tracing::field::Empty)
            ),
            _ => placed!(place, info_span!("named", otel.name = "renamed", a)),
        });
        let cx = span.trace_context();
        let mut model = model::Span {
            name: ["plain", "fields", "renamed"][kind].to_owned(),
            trace_id: cx.trace_id(),
            span_id: cx.span_id(),
            parent,
            is_sampled,
            attributes: BTreeMap::new(),
            dropped_attributes: 0,
            events: Vec::new(),
            dropped_events: 0,
            links: Vec::new(),
            dropped_links: 0,
            status: Status::Unset,
            has_children: false,
            has_ended: false,
            started,
        };
        if kind != 0 {
            model.set("a", int(a));
        }
        if kind == 1 {
            model.set("b", text(&given));
        }
        self.ids.push(span.id().expect("it is enabled"));
        self.spans.push(model);
        self.handles.push(vec![span]);
    }

    fn event(&mut self, thread: usize) {
        let other = self.pick();
        let (place, owner) = match (self.random.below(4), other) {
            (0, Some(other)) => (Place::Under(self.handle(other)), Some(other)),
            (1, _) if self.random.one_in(3) => (Place::Root, None),
            _ => (Place::Here, self.stacks[thread].current()),
        };
        let (x, y, is_error) = (
            self.random.next() as i64,
            self.random.text(),
            self.random.one_in(5),
        );
        self.note(format_args!(
            "thread {thread}: event, {place:?}, is {owner:?}'s, error {is_error}"
        ));
        let given = y.clone();
        let ((), when) = self.timed(thread, move || match is_error {
            true => placed!(place, error!(x, "wrong")),
            false => placed!(place, info!(x, y, z = 3, "well")),
        });
        let Some(owner) = owner else { return };
        let owner = &mut self.spans[owner];
        let mut attributes = BTreeMap::from([("x".to_owned(), int(x))]);
        if !is_error {
            attributes.insert("y".to_owned(), text(&given));
        }
        owner.add_event(Event {
            name: if is_error { "wrong" } else { "well" },
            attributes,
            dropped: u32::from(!is_error),
            when,
        });
        if is_error {
            owner.fail();
        }
    }

    fn enter(&mut self, thread: usize, span: usize) {
        self.note(format_args!("thread {thread}: enter {span}"));
        let id = self.ids[span].clone();
        self.timed(thread, move || dispatcher::get_default(|d| d.enter(&id)));
        self.stacks[thread].enter(span);
    }

    /// Any of those entered, not always the innermost.
    fn exit(&mut self, thread: usize) {
        let entered = self.stacks[thread].entered();
        let back = if self.random.one_in(4) { 2 } else { 1 };
        if let Some(span) = entered.len().checked_sub(back).map(|at| entered[at]) {
            self.exit_span(thread, span);
        }
    }

    fn exit_span(&mut self, thread: usize, span: usize) {
        self.note(format_args!("thread {thread}: exit {span}"));
        let id = self.ids[span].clone();
        self.timed(thread, move || dispatcher::get_default(|d| d.exit(&id)));
        self.stacks[thread].exit(span);
    }

    fn record(&mut self, thread: usize, span: usize) {
        self.note(format_args!("thread {thread}: record {span}"));
        let value = self.random.text();
        let given = value.clone();
        let (has_field, _) = self.with(thread, span, move |s| {
            s.record("late", value);
            s.has_field("late")
        });
        if has_field {
            self.spans[span].set("late", text(&given));
        }
    }

    fn set_attribute(&mut self, thread: usize, span: usize) {
        self.note(format_args!("thread {thread}: set_attribute {span}"));
        // The fields of the callsites are among them.
        let keys = ["a", "b", "late", "k1", "k2", "k3", "k4", "k5"];
        let key = keys[self.random.below(keys.len())];
        let value = self.random.next() as i64;
        self.with(thread, span, move |s| s.set_attribute(key, value));
        self.spans[span].set(key, int(value));
    }

    fn set_status(&mut self, thread: usize, span: usize) {
        self.note(format_args!("thread {thread}: set_status {span}"));
        let status = match self.random.below(3) {
            0 => Status::Unset,
            1 => Status::error("described"),
            _ => Status::Ok,
        };
        let given = status.clone();
        self.with(thread, span, move |s| s.set_status(given));
        self.spans[span].set_status(status);
    }

    fn own_event(&mut self, thread: usize, span: usize) {
        self.note(format_args!("thread {thread}: own_event {span}"));
        let n = self.random.next() as i64;
        let ((), when) = self.with(thread, span, move |s| {
            s.add_event("own", &[KeyValue::new("n", n)]);
        });
        self.spans[span].add_event(Event {
            name: "own",
            attributes: BTreeMap::from([("n".to_owned(), int(n))]),
            dropped: 0,
            when,
        });
    }

    fn link(&mut self, thread: usize, span: usize) {
        self.note(format_args!("thread {thread}: link {span}"));
        let other = self.pick().unwrap_or(span);
        if self.random.one_in(2) {
            let to = self.handle(other);
            self.with(thread, span, move |s| s.follows_from(to.id()).id());
            let to = self.spans[other].span_id;
            self.spans[span].add_link(to);
        } else {
            let to = self.remote();
            let id = to.span_id();
            self.with(thread, span, move |s| s.add_link(to));
            self.spans[span].add_link(id);
        }
    }

    /// Into another trace, as long as nobody carries the old one.
    fn set_parent(&mut self, thread: usize, span: usize) {
        self.note(format_args!("thread {thread}: set_parent {span}"));
        let model = &self.spans[span];
        // A span that is not sampled would need a model of what it kept.
        if model.has_children || model.has_ended || !model.is_sampled {
            return;
        }
        let parent = self.remote();
        let given = parent.clone();
        let (moved, _) = self.with(thread, span, move |s| s.set_parent(given));
        moved.expect("it has no children");
        let cx = self.handle(span).trace_context();
        let model = &mut self.spans[span];
        model.parent = Parent::Remote(parent.span_id());
        model.trace_id = parent.trace_id();
        model.span_id = cx.span_id();
        model.is_sampled = parent.is_sampled();
    }

    fn rename_or_end(&mut self, thread: usize, span: usize) {
        self.note(format_args!("thread {thread}: rename_or_end {span}"));
        if self.random.one_in(2) {
            self.with(thread, span, |s| s.update_name("other"));
            self.spans[span].rename("other");
        } else {
            self.with(thread, span, |s| s.end());
            self.spans[span].has_ended = true;
        }
    }

    fn clone_or_drop(&mut self, thread: usize, span: usize) {
        self.note(format_args!("thread {thread}: clone_or_drop {span}"));
        // Whoever is in a span holds it.
        let is_entered = self.stacks.iter().any(|s| s.entered().contains(&span));
        let is_last = self.handles[span].len() == 1;
        if self.random.one_in(2) || (is_entered && is_last) {
            let handle = self.handle(span);
            self.handles[span].push(handle);
        } else if let Some(handle) = self.handles[span].pop() {
            self.timed(thread, move || drop(handle));
        }
    }

    /// Leaves and drops all, in any order and on any thread.
    fn end(&mut self) {
        for thread in 0..self.threads.len() {
            for span in self.stacks[thread].entered() {
                self.exit_span(thread, span);
            }
        }
        let mut handles: Vec<Span> = self.handles.iter_mut().flat_map(std::mem::take).collect();
        while !handles.is_empty() {
            let handle = handles.swap_remove(self.random.below(handles.len()));
            let thread = self.random.below(self.threads.len());
            self.timed(thread, move || drop(handle));
        }
    }
}
