//! What every layer pays before it does anything of its own.
//!
//! Variants: `off` has no subscriber, the default a registry with a layer that does nothing,
//! `visit` a layer that looks at each field and reads the clock where a tracer must.

use std::fmt::{self, Debug, Write};
use std::hint::black_box;
use std::time::Instant;

use harness::{Contender, Setup, Traced};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

fn main() {
    harness::run::<Floor>();
}

struct Floor;

impl Contender for Floor {
    type Work = Traced;
    const EXPORTS: bool = false;

    fn start(setup: &Setup) -> Self {
        let registry = tracing_subscriber::registry().with(LevelFilter::INFO);
        match setup.variant.as_str() {
            "off" => {}
            "" => registry.with(Idle).init(),
            "visit" => registry.with(Visiting).init(),
            other => panic!("floor has no variant `{other}`"),
        }
        Self
    }
}

struct Idle;

impl<S: Subscriber> Layer<S> for Idle {}

struct Visiting;

impl<S: Subscriber> Layer<S> for Visiting {
    fn on_new_span(&self, span: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        black_box(Instant::now());
        span.record(&mut Fields);
    }

    fn on_record(&self, _: &Id, values: &Record<'_>, _: Context<'_, S>) {
        values.record(&mut Fields);
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        black_box(Instant::now());
        event.record(&mut Fields);
    }

    fn on_close(&self, _: Id, _: Context<'_, S>) {
        black_box(Instant::now());
    }
}

/// Looks at each value; text is formatted into a place on the stack.
struct Fields;

impl Visit for Fields {
    fn record_i64(&mut self, field: &Field, value: i64) {
        black_box((field.name(), value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        black_box((field.name(), value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut text = Text {
            bytes: [0; 256],
            length: 0,
        };
        // What does not fit is left out, which no value here does.
        let _ = write!(text, "{value:?}");
        black_box((field.name(), &text.bytes[..text.length]));
    }
}

struct Text {
    bytes: [u8; 256],
    length: usize,
}

impl Write for Text {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let end = self.length + part.len();
        let place = self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?;
        place.copy_from_slice(part.as_bytes());
        self.length = end;
        Ok(())
    }
}
