//! [`When`]: the condition of a rule.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use tracing_core::Level;

use super::input::SamplingInput;
use crate::attribute::Value;
use crate::context::TraceContext;
use crate::span_data::SpanKind;

/// The condition of a rule of [`Rules`](super::Rules) or [`RuleBased`](super::RuleBased).
///
/// It visits only the fields that a rule names.
///
/// ```
/// use tracing::Level;
/// use tracing_otlp::SpanKind;
/// use tracing_otlp::sampler::When;
///
/// let noise = When::target("hyper").and(When::verbose(Level::DEBUG));
/// let health = When::kind(SpanKind::Server).and(When::attribute("url.path", "/health"));
/// let outside = !When::target("my_app");
/// ```
#[derive(Clone)]
pub struct When(Condition);

#[derive(Clone)]
enum Condition {
    Any,
    Name(Cow<'static, str>),
    Target(Cow<'static, str>),
    Verbose(Level),
    Kind(SpanKind),
    Equals(Cow<'static, str>, Value),
    Has(Cow<'static, str>),
    Root,
    RemoteParent,
    Custom(Arc<dyn Fn(&SamplingInput<'_>) -> bool + Send + Sync>),
    Not(Box<Condition>),
    All(Vec<Condition>),
    Either(Vec<Condition>),
}

impl When {
    /// Every span.
    pub fn any() -> Self {
        Self(Condition::Any)
    }

    /// Spans whose callsite has this name; `otel.name` does not count.
    pub fn name(name: impl Into<Cow<'static, str>>) -> Self {
        Self(Condition::Name(name.into()))
    }

    /// Spans whose target begins with this text, as in the filters of tracing-subscriber: `hyper` matches
    /// `hyper::client` and `hyper_util`.
    pub fn target(prefix: impl Into<Cow<'static, str>>) -> Self {
        Self(Condition::Target(prefix.into()))
    }

    /// Spans of this level or a more verbose one: DEBUG matches DEBUG and TRACE.
    pub fn verbose(level: Level) -> Self {
        Self(Condition::Verbose(level))
    }

    /// Spans with this kind at their creation (`otel.kind`).
    pub fn kind(kind: SpanKind) -> Self {
        Self(Condition::Kind(kind))
    }

    /// Spans with this value under this key at their creation. The type counts: 1 is not `"1"`. A
    /// `Debug` or `Display` value is a string.
    pub fn attribute(key: impl Into<Cow<'static, str>>, value: impl Into<Value>) -> Self {
        Self(Condition::Equals(key.into(), value.into()))
    }

    /// Spans with any value under this key at their creation.
    pub fn has_attribute(key: impl Into<Cow<'static, str>>) -> Self {
        Self(Condition::Has(key.into()))
    }

    /// Spans without a parent.
    pub fn root() -> Self {
        Self(Condition::Root)
    }

    /// Spans with a remote parent.
    pub fn remote_parent() -> Self {
        Self(Condition::RemoteParent)
    }

    /// Spans for which `fits` is true. Called on the thread that records the span.
    pub fn matches(fits: impl Fn(&SamplingInput<'_>) -> bool + Send + Sync + 'static) -> Self {
        Self(Condition::Custom(Arc::new(fits)))
    }

    /// Spans that match both conditions, checked in order.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let mut all = match self.0 {
            Condition::All(all) => all,
            one => vec![one],
        };
        all.push(other.0);
        Self(Condition::All(all))
    }

    /// Spans that match one of the conditions or both, checked in order.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let mut any = match self.0 {
            Condition::Either(any) => any,
            one => vec![one],
        };
        any.push(other.0);
        Self(Condition::Either(any))
    }

    pub(super) fn fits(&self, input: &SamplingInput<'_>) -> bool {
        self.0.fits(input)
    }
}

/// `!when`: spans that do not match the condition.
impl std::ops::Not for When {
    type Output = Self;

    fn not(self) -> Self {
        Self(Condition::Not(Box::new(self.0)))
    }
}

impl Condition {
    fn fits(&self, input: &SamplingInput<'_>) -> bool {
        match self {
            Self::Any => true,
            Self::Name(name) => input.name == name,
            Self::Target(prefix) => input.target.starts_with(prefix.as_ref()),
            Self::Verbose(level) => input.level >= *level,
            Self::Kind(kind) => input.kind() == *kind,
            Self::Equals(key, value) => input.attribute(key).as_ref() == Some(value),
            Self::Has(key) => input.attribute(key).is_some(),
            Self::Root => input.parent.is_none(),
            Self::RemoteParent => input.parent.is_some_and(TraceContext::is_remote),
            Self::Custom(fits) => fits(input),
            Self::Not(other) => !other.fits(input),
            Self::All(all) => all.iter().all(|one| one.fits(input)),
            Self::Either(any) => any.iter().any(|one| one.fits(input)),
        }
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "When({})", self.0)
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Name(name) => write!(f, "name={name:?}"),
            Self::Target(prefix) => write!(f, "target={prefix}*"),
            Self::Verbose(level) => write!(f, "level>={level}"),
            Self::Kind(kind) => write!(f, "kind={kind:?}"),
            Self::Equals(key, Value::String(value)) => write!(f, "{key}={value:?}"),
            Self::Equals(key, value) => write!(f, "{key}={value:?}"),
            Self::Has(key) => write!(f, "{key}=*"),
            Self::Root => f.write_str("root"),
            Self::RemoteParent => f.write_str("remote parent"),
            Self::Custom(_) => f.write_str("custom"),
            Self::Not(other) => write!(f, "!({other})"),
            Self::All(all) => {
                for (at, one) in all.iter().enumerate() {
                    let sign = if at == 0 { "" } else { "&" };
                    match one {
                        Self::Either(_) => write!(f, "{sign}({one})")?,
                        one => write!(f, "{sign}{one}")?,
                    }
                }
                Ok(())
            }
            Self::Either(any) => {
                for (at, one) in any.iter().enumerate() {
                    write!(f, "{}{one}", if at == 0 { "" } else { "|" })?;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attribute::KeyValue;
    use crate::context::{SpanId, TraceFlags, TraceId};
    use crate::sampler::{FieldSource, Fields};
    use std::cell::RefCell;

    #[test]
    fn each_condition_fits_what_it_names() {
        let trace = TraceId::from_bytes([1; 16]);
        let here = TraceContext::new(trace, SpanId::from_bytes([2; 8]), TraceFlags::SAMPLED);
        let remote = here.clone().with_remote(true);
        let attributes = [
            KeyValue::new("otel.kind", "client"),
            KeyValue::new("url.path", "/health"),
            KeyValue::new("n", 1),
        ];
        let root = SamplingInput::new(trace, "request")
            .with_target("hyper::client")
            .with_level(Level::DEBUG)
            .with_attributes(&attributes);
        let child = root.with_parent(&here);
        let from_afar = root.with_parent(&remote);
        for (when, text, fits) in [
            (When::any(), "any", [true, true, true]),
            (When::name("request"), "name=\"request\"", [true; 3]),
            (When::name("req"), "name=\"req\"", [false; 3]),
            (When::target("hyper"), "target=hyper*", [true; 3]),
            (
                When::target("hyper::client::x"),
                "target=hyper::client::x*",
                [false; 3],
            ),
            (When::target(""), "target=*", [true; 3]),
            (When::verbose(Level::INFO), "level>=INFO", [true; 3]),
            (When::verbose(Level::DEBUG), "level>=DEBUG", [true; 3]),
            (When::verbose(Level::TRACE), "level>=TRACE", [false; 3]),
            (When::kind(SpanKind::Client), "kind=Client", [true; 3]),
            (When::kind(SpanKind::Internal), "kind=Internal", [false; 3]),
            (
                When::attribute("url.path", "/health"),
                "url.path=\"/health\"",
                [true; 3],
            ),
            (When::attribute("n", 1), "n=Int(1)", [true; 3]),
            (When::attribute("n", "1"), "n=\"1\"", [false; 3]),
            (When::attribute("m", 1), "m=Int(1)", [false; 3]),
            (When::has_attribute("n"), "n=*", [true; 3]),
            (When::has_attribute("m"), "m=*", [false; 3]),
            (When::root(), "root", [true, false, false]),
            (When::remote_parent(), "remote parent", [false, false, true]),
            (!When::root(), "!(root)", [false, true, true]),
            (
                (!When::root())
                    .and(When::name("request"))
                    .and(When::remote_parent()),
                "!(root)&name=\"request\"&remote parent",
                [false, false, true],
            ),
            (
                When::root().or(When::remote_parent()),
                "root|remote parent",
                [true, false, true],
            ),
            (
                When::name("request").and(When::root().or(When::remote_parent())),
                "name=\"request\"&(root|remote parent)",
                [true, false, true],
            ),
            (
                When::matches(|input| input.parent.is_some()),
                "custom",
                [false, true, true],
            ),
        ] {
            assert_eq!(
                [root, child, from_afar].map(|i| when.fits(&i)),
                fits,
                "{when}"
            );
            assert_eq!(when.to_string(), text);
        }
    }

    /// Records the keys that are read.
    struct Asked(RefCell<Vec<String>>);

    impl Fields for Asked {
        fn value(&self, key: &str) -> Option<Value> {
            self.0.borrow_mut().push(key.to_owned());
            None
        }
    }

    #[test]
    fn only_fields_that_a_rule_names_are_visited_and_only_as_long_as_it_may_fit() {
        let asked = Asked(RefCell::default());
        let mut input = SamplingInput::new(TraceId::from_bytes([1; 16]), "s");
        input.fields = FieldSource::Span(&asked);
        let when = When::name("t").and(When::has_attribute("never"));
        assert!(!when.fits(&input));
        let when = When::name("s").and(When::has_attribute("a").and(When::attribute("b", 1)));
        assert!(!when.fits(&input));
        assert_eq!(asked.0.into_inner(), ["a"]);
    }
}
