//! [`TraceState`]: what vendors tell each other along a trace (W3C `tracestate`).

use std::fmt;
use std::sync::Arc;

/// The members of W3C's `tracestate`, in order; immutable, and cheap to clone. Takes no memory while
/// it is empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct TraceState(Option<Arc<str>>);

/// A text that is no trace state, or no member of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidTraceState(String);

impl fmt::Display for InvalidTraceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no trace state", self.0)
    }
}

impl std::error::Error for InvalidTraceState {}

impl TraceState {
    /// Without a member.
    pub const EMPTY: Self = Self(None);

    /// Reads a header's text.
    pub fn parse(text: &str) -> Result<Self, InvalidTraceState> {
        let mut members = Vec::new();
        for member in text.split(',').map(|m| m.trim_matches([' ', '\t'])) {
            if member.is_empty() {
                continue;
            }
            let valid = member
                .split_once('=')
                .is_some_and(|(key, value)| is_key(key) && is_value(value));
            if !valid || members.len() == 32 {
                return Err(InvalidTraceState(text.to_owned()));
            }
            members.push(member);
        }
        Ok(Self::of(&members))
    }

    /// The value under a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.members().find(|(k, _)| *k == key).map(|(_, v)| v)
    }

    /// With this member in front.
    pub fn with(&self, key: &str, value: &str) -> Result<Self, InvalidTraceState> {
        let member = format!("{key}={value}");
        if !is_key(key) || !is_value(value) {
            return Err(InvalidTraceState(member));
        }
        let others: Vec<_> = self.others(key).take(31).collect();
        let mut members = vec![member.as_str()];
        members.extend(others.iter().map(String::as_str));
        Ok(Self::of(&members))
    }

    /// Without this member.
    #[must_use]
    pub fn without(&self, key: &str) -> Self {
        let others: Vec<_> = self.others(key).collect();
        Self::of(&others.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Whether it has no member.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The header's text; empty without members.
    #[inline]
    pub fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }

    fn of(members: &[&str]) -> Self {
        match members {
            [] => Self(None),
            members => Self(Some(members.join(",").into())),
        }
    }

    fn members(&self) -> impl Iterator<Item = (&str, &str)> {
        self.as_str().split(',').filter_map(|m| m.split_once('='))
    }

    fn others(&self, key: &str) -> impl Iterator<Item = String> {
        self.members()
            .filter(move |(k, _)| *k != key)
            .map(|(k, v)| format!("{k}={v}"))
    }
}

fn is_key(key: &str) -> bool {
    let ok = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-*/@".contains(c);
    (1..=256).contains(&key.len())
        && key.chars().all(ok)
        && key.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
}

fn is_value(value: &str) -> bool {
    let ok = |b: u8| (0x20..=0x7e).contains(&b) && b != b',' && b != b'=';
    (1..=256).contains(&value.len()) && value.bytes().all(ok) && !value.ends_with(' ')
}
