//! Random calls to both registries: layers on them must be told the same, and find the same.

use std::collections::HashMap;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Event, Span, Subscriber, dispatcher, field, info, info_span};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::{LookupSpan, SpanRef};

#[derive(Clone, Default)]
struct Log {
    lines: Arc<Mutex<Vec<String>>>,
    /// Numbers of the spans by their ids.
    numbers: Arc<Mutex<HashMap<u64, usize>>>,
}

/// Writes down what a layer is told, and what it finds.
struct Recorder {
    name: &'static str,
    log: Log,
    has_extensions: bool,
}

#[derive(Debug)]
struct Told(usize);

impl Log {
    fn number(&self, id: &Id) -> usize {
        self.numbers.lock().unwrap()[&id.into_u64()]
    }

    fn say(&self, line: String) {
        self.lines.lock().unwrap().push(line);
    }
}

impl Recorder {
    fn tell<S>(&self, what: &str, id: &Id, context: &Context<'_, S>)
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let line = format!(
            "{} {what} {} {}, {}",
            self.name,
            self.log.number(id),
            self.of(context.span(id)),
            self.current(context)
        );
        self.log.say(line);
    }

    /// A span, its parent, its scope, and how often its extensions were written to.
    fn of<'a, R: LookupSpan<'a>>(&self, span: Option<SpanRef<'a, R>>) -> String {
        let Some(span) = span else {
            return "no span".to_owned();
        };
        let number = |span: &SpanRef<'a, R>| self.log.number(&span.id());
        let scope: Vec<_> = span.scope().map(|s| number(&s)).collect();
        let from_root: Vec<_> = span.scope().from_root().map(|s| s.name()).collect();
        let parent = span.parent().map(|s| number(&s));
        let mut told = 0;
        if self.has_extensions {
            let mut extensions = span.extensions_mut();
            match extensions.get_mut::<Told>() {
                Some(before) => before.0 += 1,
                None => extensions.insert(Told(1)),
            }
            drop(extensions);
            told = span.extensions().get::<Told>().unwrap().0;
        }
        let (name, own) = (span.name(), number(&span));
        format!("{name} {own} {parent:?} {scope:?} {from_root:?} {told}")
    }

    fn current<S>(&self, context: &Context<'_, S>) -> String
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let id = context.current_span().id().map(|id| self.log.number(id));
        format!("current {id:?}: {}", self.of(context.lookup_current()))
    }
}

impl<S> Layer<S> for Recorder
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let number = CREATED.with(std::cell::Cell::get);
        let mut numbers = self.log.numbers.lock().unwrap();
        numbers.insert(id.into_u64(), number);
        drop(numbers);
        self.tell("new", id, &context);
        let parent = attributes.parent().map(|id| self.log.number(id));
        self.log
            .say(format!("{parent:?} {}", self.current(&context)));
    }

    fn on_record(&self, id: &Id, _: &Record<'_>, context: Context<'_, S>) {
        self.tell("record", id, &context);
    }

    fn on_follows_from(&self, id: &Id, follows: &Id, context: Context<'_, S>) {
        self.tell("follows", id, &context);
        self.tell("followed", follows, &context);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let span = self.of(context.event_span(event));
        let current = self.current(&context);
        self.log
            .say(format!("{} event {span} {current}", self.name));
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        self.tell("enter", id, &context);
    }

    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        self.tell("exit", id, &context);
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        self.tell("close", &id, &context);
    }
}

thread_local! {
    /// The number of the span that is made now.
    static CREATED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

type Work = Box<dyn FnOnce() + Send>;

/// A thread that does one thing at a time.
struct Hand {
    work: Option<Sender<(Work, Sender<()>)>>,
    thread: Option<JoinHandle<()>>,
}

impl Hand {
    fn new() -> Self {
        let (work, works) = channel::<(Work, Sender<()>)>();
        let thread = std::thread::spawn(move || {
            for (work, done) in works {
                work();
                done.send(()).unwrap();
            }
        });
        Self {
            work: Some(work),
            thread: Some(thread),
        }
    }

    fn does(&self, work: impl FnOnce() + Send + 'static) {
        let (done, is_done) = channel();
        let work: Work = Box::new(work);
        self.work.as_ref().unwrap().send((work, done)).unwrap();
        is_done.recv().expect("the work did not panic");
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        self.work.take();
        self.thread.take().unwrap().join().unwrap();
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) as usize % n
    }
}

fn new_span(dispatch: &Dispatch, number: usize, kind: usize, parent: Option<Span>) -> Span {
    CREATED.with(|created| created.set(number));
    dispatcher::with_default(dispatch, || match (kind, parent) {
        (0..4, _) => info_span!("contextual", late = field::Empty),
        (4, _) => info_span!("hidden", late = field::Empty),
        (5, _) => info_span!(parent: None, "root", late = field::Empty),
        (_, Some(parent)) => info_span!(parent: &parent, "child", late = field::Empty),
        (_, None) => info_span!("orphan", late = field::Empty),
    })
}

/// What layers on this subscriber are told by a random program.
fn run(dispatch: Dispatch, log: &Log, seed: u64) -> Vec<String> {
    let mut random = Random(seed);
    let hands = [Hand::new(), Hand::new()];
    let handles: Arc<Mutex<Vec<Span>>> = Arc::default();
    // The ids that are entered, by thread.
    let mut entered: [Vec<Id>; 2] = Default::default();
    let mut made = 0;
    for _ in 0..400 {
        let at = random.below(2);
        let hand = &hands[at];
        let dispatch = dispatch.clone();
        let count = handles.lock().unwrap().len();
        let choice = random.below(16);
        let picked = (count > 0).then(|| random.below(count.max(1)));
        let picked = picked.map(|at| (at, handles.lock().unwrap()[at].clone()));
        let handles = Arc::clone(&handles);
        match (choice, picked) {
            (0..4, picked) => {
                made += 1;
                let (number, kind) = (made, random.below(8));
                let parent = picked.map(|(_, span)| span);
                hand.does(move || {
                    let span = new_span(&dispatch, number, kind, parent);
                    handles.lock().unwrap().push(span);
                });
            }
            (4..7, Some((_, span))) => {
                let id = span.id().unwrap();
                entered[at].push(id.clone());
                // The clone that was picked ends on the thread.
                hand.does(move || {
                    dispatch.enter(&id);
                    drop(span);
                });
            }
            (7..10, picked) => {
                drop(picked);
                let left = match entered[at].len() {
                    0 => continue,
                    1 => entered[at].pop(),
                    // Mostly in order.
                    count if random.below(4) == 0 => Some(entered[at].remove(random.below(count))),
                    _ => entered[at].pop(),
                };
                hand.does(move || dispatch.exit(&left.unwrap()));
            }
            (10, Some((_, span))) => hand.does(move || {
                span.record("late", 1);
            }),
            (11, Some((_, span))) => hand.does(move || {
                dispatcher::with_default(&dispatch, || info!(parent: &span, "explicit"));
            }),
            (12, picked) => {
                drop(picked);
                hand.does(move || dispatcher::with_default(&dispatch, || info!("contextual")));
            }
            (13, Some((_, span))) => {
                let other = handles.lock().unwrap().first().cloned();
                hand.does(move || {
                    span.follows_from(other.as_ref().unwrap());
                });
            }
            (14.., Some((dropped, span))) => {
                drop(span);
                // It may be entered: then it closes on the stack, if this is the last handle.
                let handle = handles.lock().unwrap().swap_remove(dropped);
                hand.does(move || dispatcher::with_default(&dispatch, || drop(handle)));
            }
            (_, None) => {}
        }
    }
    for (at, ids) in entered.into_iter().enumerate() {
        let dispatch = dispatch.clone();
        hands[at].does(move || ids.iter().rev().for_each(|id| dispatch.exit(id)));
    }
    let left = std::mem::take(&mut *handles.lock().unwrap());
    hands[0].does(move || dispatcher::with_default(&dispatch, || drop(left)));
    std::mem::take(&mut *log.lines.lock().unwrap())
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Plain,
    WithExtensions,
    WithFilter,
}

fn subscriber<S>(registry: S, kind: Kind, log: &Log) -> Dispatch
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    let recorder = |name, has_extensions| Recorder {
        name,
        log: log.clone(),
        has_extensions,
    };
    match kind {
        Kind::Plain => Dispatch::new(
            registry
                .with(recorder("inner", false))
                .with(recorder("outer", false)),
        ),
        Kind::WithExtensions => Dispatch::new(
            registry
                .with(recorder("inner", false))
                .with(recorder("outer", true)),
        ),
        Kind::WithFilter => {
            let filter = filter_fn(|metadata| metadata.name() != "hidden");
            let filtered = recorder("filtered", true).with_filter(filter);
            Dispatch::new(registry.with(recorder("inner", false)).with(filtered))
        }
    }
}

fn compare(kind: Kind) {
    for seed in 0..60 {
        let [theirs, ours] = [Log::default(), Log::default()];
        let registry = tracing_subscriber::registry();
        let expected = run(subscriber(registry, kind, &theirs), &theirs, seed);
        let registry = tracing_otlp::registry::registry();
        let found = run(subscriber(registry, kind, &ours), &ours, seed);
        assert!(expected.len() > 500, "{}", expected.len());
        for (at, (expected, found)) in expected.iter().zip(&found).enumerate() {
            assert_eq!(found, expected, "{kind:?}, seed {seed}, line {at}");
        }
        assert_eq!(found.len(), expected.len(), "{kind:?}, seed {seed}");
    }
}

#[test]
fn layers_are_told_the_same() {
    compare(Kind::Plain);
}

#[test]
fn layers_with_extensions_are_told_the_same() {
    compare(Kind::WithExtensions);
}

#[test]
fn a_layer_with_a_filter_is_told_the_same() {
    compare(Kind::WithFilter);
}
