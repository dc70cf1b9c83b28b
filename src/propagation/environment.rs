//! [`Environment`]: environment variables as a carrier, from a process to its children.

use std::borrow::Cow;
use std::collections::{BTreeMap, btree_map};
use std::fmt;

use super::{Extractor, Injector};

/// Environment variables as a carrier: `TRACEPARENT`, `TRACESTATE`, `BAGGAGE`, …
///
/// A name becomes upper case, and each character except letters, digits and `_` becomes `_`; only that
/// name is read, so `traceparent` is not. The carrier does not change the process's variables: pass it
/// to [`Command::envs`](std::process::Command::envs). A child also inherits this process's own variables,
/// unless [`Command::env_remove`](std::process::Command::env_remove) removes them. `Debug` shows no
/// value, because variables may hold secrets.
///
/// ```
/// use std::process::Command;
/// use tracing_otlp::TraceContext;
/// use tracing_otlp::propagation::{self, Environment, Propagator as _};
///
/// // Who started this process?
/// let caller = propagation::global().extract(TraceContext::default(), &Environment::from_process());
///
/// // Tell a child.
/// let mut variables = Environment::default();
/// propagation::global().inject(&caller, &mut variables);
/// let mut child = Command::new("make");
/// child.envs(variables);
/// ```
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The current variables of this process, without names that no propagator can read, and without
    /// values that are not UTF-8.
    pub fn from_process() -> Self {
        let all = std::env::vars_os();
        all.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let all = self.0.iter();
        all.map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        let is_normal = |(name, _): &(String, String)| *normalize(name) == **name;
        Self(variables.into_iter().filter(is_normal).collect())
    }
}

impl IntoIterator for Environment {
    type Item = (String, String);
    type IntoIter = btree_map::IntoIter<String, String>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl Extractor for Environment {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(&*normalize(key)).map(String::as_str)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }
}

impl Injector for Environment {
    /// Does nothing if the value holds a NUL, which no variable may.
    fn set(&mut self, key: &str, value: &str) {
        if !value.contains('\0') {
            self.0.insert(normalize(key).into_owned(), value.to_owned());
        }
    }

    fn remove(&mut self, key: &str) {
        self.0.remove(&*normalize(key));
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// The name of the variable for a key (ENVC-1).
fn normalize(key: &str) -> Cow<'_, str> {
    let is_digit = key.starts_with(|c: char| c.is_ascii_digit());
    let is_normal = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    if !key.is_empty() && !is_digit && key.chars().all(is_normal) {
        return Cow::Borrowed(key);
    }
    let mut name = String::with_capacity(key.len() + 1);
    if key.is_empty() || is_digit {
        name.push('_');
    }
    name.extend(key.chars().map(|c| match c.to_ascii_uppercase() {
        c if is_normal(c) => c,
        _ => '_',
    }));
    Cow::Owned(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_normalised_envc_1() {
        for (key, name) in [
            ("traceparent", "TRACEPARENT"),
            ("X-B3-TraceId", "X_B3_TRACEID"),
            ("BAGGAGE", "BAGGAGE"),
            ("a b.c/é", "A_B_C__"),
            ("1st", "_1ST"),
            ("1", "_1"),
            ("_", "_"),
            ("", "_"),
        ] {
            assert_eq!(normalize(key), name, "{key}");
            assert_eq!(normalize(name), name);
        }
    }

    #[test]
    fn only_the_normalised_name_is_read_envc_1() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut all: Environment = [
            pair("traceparent", "no"),
            pair("TRACESTATE", " opaque\n"),
            pair("X-B3", "no"),
        ]
        .into_iter()
        .collect();
        assert_eq!(all.get("traceparent"), None);
        assert_eq!(all.get("tracestate"), Some(" opaque\n"));
        assert_eq!(Extractor::keys(&all), ["TRACESTATE"]);
        all.set("b3", "1");
        all.set("baggage", "nul\0");
        all.remove("TraceState");
        assert_eq!(all.iter().collect::<Vec<_>>(), [("B3", "1")]);
        all.set("password", "secret");
        assert_eq!(format!("{all:?}"), r#"{"B3", "PASSWORD"}"#);
    }
}
