//! The layers of others on both registries: lines, filters, extensions.

use std::sync::{Arc, Mutex};

use tracing::{Dispatch, Subscriber, dispatcher, info_span};
use tracing_otlp::registry::registry;
use tracing_subscriber::Registry;
use tracing_subscriber::filter::{EnvFilter, LevelFilter, filter_fn};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

use crate::capture;
use crate::lines::{Lines, lines_of, lines_to, work};

/// Stacks of layers that applications have, each made on both registries.
macro_rules! same_lines {
    ($registry:ident, $lines:ident => $stack:expr) => {{
        let ($lines, $registry) = (Lines::default(), Registry::default());
        let expected = lines_of(&Dispatch::new($stack), &$lines);
        let ($lines, $registry) = (Lines::default(), registry());
        let found = lines_of(&Dispatch::new($stack), &$lines);
        assert_eq!(found, expected);
        assert!(expected.len() > 3, "{expected:?}");
        expected
    }};
}

#[test]
fn lines_are_the_same() {
    let lines = same_lines!(registry, lines => registry.with(lines_to(&lines)));
    assert!(
        lines
            .iter()
            .any(|line| line.contains("outer{n=1 late=\"so\"}:hidden{m=2}"))
    );
}

#[test]
fn a_filter_of_the_subscriber_applies() {
    same_lines!(registry, lines => registry.with(lines_to(&lines)).with(LevelFilter::INFO));
    same_lines!(registry, lines => registry.with(LevelFilter::INFO).with(lines_to(&lines)));
    same_lines!(registry, lines => registry
        .with(EnvFilter::new("warn,[outer{n=1}]=debug"))
        .with(lines_to(&lines)));
    same_lines!(registry, lines => registry
        .with(lines_to(&lines))
        .with(EnvFilter::new("info")));
}

#[test]
fn filters_of_layers_apply() {
    let lines = same_lines!(registry, lines => registry
        .with(lines_to(&lines).with_filter(LevelFilter::INFO)));
    let line = lines.iter().find(|line| line.contains("in a hidden span"));
    assert!(line.unwrap().contains("outer{"), "{line:?}");
    same_lines!(registry, lines => registry
        .with(lines_to(&lines).with_filter(EnvFilter::new("info,[inner]=trace"))));
    same_lines!(registry, lines => registry
        .with(lines_to(&lines).with_filter(filter_fn(|m| m.name() != "outer")))
        .with(lines_to(&Lines::default())));
    same_lines!(registry, lines => registry
        .with(lines_to(&Lines::default()).with_filter(LevelFilter::OFF))
        .with(lines_to(&lines)));
    same_lines!(registry, lines => registry
        .with(lines_to(&lines))
        .with(lines_to(&Lines::default()).with_filter(LevelFilter::OFF)));
    same_lines!(registry, lines => registry
        .with(lines_to(&lines)
            .with_filter(LevelFilter::DEBUG)
            .and_then(lines_to(&lines).with_filter(filter_fn(|m| m.name() != "inner")))
            .with_filter(LevelFilter::INFO)));
}

#[test]
fn options_boxes_and_trees_of_layers_fit() {
    same_lines!(registry, lines => registry
        .with(Some(lines_to(&lines)))
        .with(None::<LevelFilter>)
        .with(vec![lines_to(&Lines::default()).boxed()])
        .with(lines_to(&Lines::default()).and_then(LevelFilter::DEBUG)));
}

/// Console and error layers keep a value for each span in its extensions.
#[test]
fn extensions_live_as_long_as_their_span() {
    struct Value(Arc<()>);
    struct Keeps(Arc<()>);
    impl<S> Layer<S> for Keeps
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        fn on_new_span(
            &self,
            _: &tracing::span::Attributes<'_>,
            id: &tracing::span::Id,
            context: tracing_subscriber::layer::Context<'_, S>,
        ) {
            let span = context.span(id).unwrap();
            span.extensions_mut().insert(Value(Arc::clone(&self.0)));
        }

        fn on_close(
            &self,
            id: tracing::span::Id,
            context: tracing_subscriber::layer::Context<'_, S>,
        ) {
            let span = context.span(&id).unwrap();
            let extensions = span.extensions();
            assert!(Arc::ptr_eq(&extensions.get::<Value>().unwrap().0, &self.0));
        }
    }
    let value = Arc::new(());
    let dispatch = Dispatch::new(registry().with(Keeps(Arc::clone(&value))));
    dispatcher::with_default(&dispatch, || {
        for _ in 0..3 {
            let a = info_span!("a");
            let b = info_span!(parent: &a, "b");
            assert_eq!(Arc::strong_count(&value), 4);
            drop(b);
            assert_eq!(Arc::strong_count(&value), 3, "with the close");
            drop(a);
            assert_eq!(Arc::strong_count(&value), 2);
        }
    });
    drop(dispatch);
    assert_eq!(Arc::strong_count(&value), 1);
}

/// What is read of a span is kept while it is read, and threads find the same extensions.
#[test]
fn extensions_may_be_read_while_the_span_closes() {
    let dispatch = Dispatch::new(registry());
    let registry = dispatch
        .downcast_ref::<tracing_otlp::registry::OtlpRegistry>()
        .unwrap();
    dispatcher::with_default(&dispatch, || {
        let span = info_span!("a");
        let id = span.id().unwrap();
        let [one, two] = [(); 2].map(|()| registry.span(&id).unwrap());
        one.extensions_mut().insert(7_u8);
        assert_eq!(two.extensions().get::<u8>(), Some(&7));
        let late = registry.span(&id).unwrap();
        drop(span);
        assert!(registry.span(&id).is_none());
        assert_eq!(one.extensions().get::<u8>(), Some(&7));
        assert_eq!(late.name(), "a");
        assert_eq!(late.extensions().get::<u8>(), Some(&7));
        let unseen = info_span!("b");
        let late = registry.span(&unseen.id().unwrap()).unwrap();
        drop(unseen);
        late.extensions_mut().insert(8_u8);
        assert_eq!(late.extensions().get::<u8>(), Some(&8));
        std::thread::scope(|s| {
            let span = info_span!("c");
            let id = span.id().unwrap();
            for n in 0..4 {
                let id = id.clone();
                s.spawn(move || {
                    let span = registry.span(&id).unwrap();
                    let mut extensions = span.extensions_mut();
                    match extensions.get_mut::<Vec<u8>>() {
                        Some(all) => all.push(n),
                        None => extensions.insert(vec![n]),
                    }
                });
            }
            // The handle outlives the threads.
            while registry
                .span(&id)
                .unwrap()
                .extensions()
                .get::<Vec<u8>>()
                .map(Vec::len)
                != Some(4)
            {
                std::thread::yield_now();
            }
            drop(span);
        });
    });
}

/// Our own layer finds parents and contexts on either registry, and beneath filters.
#[test]
fn our_layer_records_the_same_tree() {
    fn tree(
        stack: impl FnOnce(tracing_otlp::OtlpLayer) -> Dispatch,
    ) -> Vec<(String, Option<String>, Vec<String>)> {
        let (layer, capture) = capture::layer();
        let dispatch = stack(layer);
        dispatcher::with_default(&dispatch, work);
        drop(dispatch);
        let spans = capture.spans();
        let name_of = |id: &[u8]| {
            let found = spans.iter().find(|span| span.span_id == id);
            found.map(|span| span.name.clone())
        };
        let row = |span: &capture::Span| {
            let events = span.events.iter().map(|e| e.name.clone());
            let parent = name_of(&span.parent_span_id);
            (span.name.clone(), parent, events.collect())
        };
        spans.iter().map(row).collect()
    }
    let level = |level: LevelFilter| move |m: &tracing::Metadata<'_>| *m.level() <= level;
    let expected = tree(|layer| Dispatch::new(Registry::default().with(layer)));
    let found = tree(|layer| Dispatch::new(registry().with(layer)));
    assert_eq!(found, expected);
    assert_eq!(expected.len(), 3);
    let expected = tree(|layer| {
        let layer = layer.with_filter(filter_fn(level(LevelFilter::INFO)));
        Dispatch::new(Registry::default().with(layer).with(LevelFilter::TRACE))
    });
    let found = tree(|layer| {
        let layer = layer.with_filter(filter_fn(level(LevelFilter::INFO)));
        Dispatch::new(registry().with(layer).with(LevelFilter::TRACE))
    });
    assert_eq!(found, expected);
    assert_eq!(expected.len(), 2);
    let lines = Lines::default();
    let found = tree(|layer| {
        let lines = lines_to(&lines).with_filter(LevelFilter::INFO);
        Dispatch::new(registry().with(lines).with(layer))
    });
    assert_eq!(found.len(), 3);
}

/// Ids of two registries are not the same.
#[test]
fn a_span_of_another_registry_is_no_parent() {
    #[derive(Clone, Default)]
    struct Parents(Arc<Mutex<Vec<String>>>);
    impl<S> Layer<S> for Parents
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        fn on_new_span(
            &self,
            _: &tracing::span::Attributes<'_>,
            id: &tracing::span::Id,
            context: Context<'_, S>,
        ) {
            let span = context.span(id).unwrap();
            let parent = span.parent().map_or("none", |parent| parent.name());
            let line = format!("{} in {parent}", span.name());
            self.0.lock().unwrap().push(line);
        }
    }
    let one = Dispatch::new(registry().with(Parents::default()));
    let parents = Parents::default();
    let other = Dispatch::new(registry().with(parents.clone()));
    let spans: Vec<_> =
        dispatcher::with_default(&one, || (0..100).map(|_| info_span!("theirs")).collect());
    dispatcher::with_default(&other, || {
        let own: Vec<_> = (0..100).map(|_| info_span!("own")).collect();
        for span in &spans {
            info_span!(parent: span, "new");
        }
        info_span!(parent: &own[0], "child");
    });
    let told = parents.0.lock().unwrap();
    let count = |line: &str| told.iter().filter(|told| *told == line).count();
    assert_eq!((count("own in none"), count("new in none")), (100, 100));
    assert_eq!(count("child in own"), 1);
}
