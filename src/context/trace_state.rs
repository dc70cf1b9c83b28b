//! [`TraceState`]: vendors' own values along a trace (W3C `tracestate`).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::text::{trim_blank_bytes, trim_blanks};

/// The members of W3C's `tracestate`, in order; immutable, and cheap to clone. Takes no memory while
/// it is empty.
///
/// It is always valid to send: at most 32 members, each with a key and a value in W3C's alphabet.
///
/// ```
/// use tracing_otlp::context::TraceState;
///
/// let state: TraceState = "rojo=00f067aa0ba902b7, congo=t61rcWkgMzE".parse()?;
/// assert_eq!(state.get("congo"), Some("t61rcWkgMzE"));
/// let state = state.with("congo", "changed")?;
/// assert_eq!(state.as_str(), "congo=changed,rojo=00f067aa0ba902b7");
/// # Ok::<(), tracing_otlp::context::InvalidTraceState>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct TraceState(Option<Arc<str>>);

impl TraceState {
    /// No member.
    pub const EMPTY: Self = Self(None);

    /// Reads a header's text. Empty members, and blanks around a member, are left out; a key that occurs
    /// twice stays twice.
    ///
    /// # Errors
    ///
    /// A member that breaks the format, or more than 32 members; more text than 32 members of the greatest
    /// length need, or more than 128 members with empty ones. A part of the text is never taken.
    pub fn parse(text: &str) -> Result<Self, InvalidTraceState> {
        Self::join([text])
    }

    /// Reads several headers as one, in their order.
    ///
    /// ```
    /// use tracing_otlp::context::TraceState;
    ///
    /// let state = TraceState::join(["foo=1", "", "bar=2,foo=3"])?;
    /// assert_eq!(state.as_str(), "foo=1,bar=2,foo=3");
    /// # Ok::<(), tracing_otlp::context::InvalidTraceState>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`parse`](Self::parse), of all of them together.
    pub fn join<'a>(lines: impl IntoIterator<Item = &'a str>) -> Result<Self, InvalidTraceState> {
        let mut lines = lines.into_iter();
        let Some(first) = lines.next() else {
            return Ok(Self::EMPTY);
        };
        let mut seen = ParsedSoFar::default();
        seen.check(first)?;
        let Some(second) = lines.next() else {
            // The usual case: a single line in canonical form, copied once.
            if seen.canonical == first.len() + 1 {
                return Ok(Self(Some(first.into())));
            }
            return Ok(Self::of(members(first)));
        };
        seen.check(second)?;
        let mut all = [first, second].join(",");
        for line in lines {
            seen.check(line)?;
            all.push(',');
            all.push_str(line);
        }
        Ok(Self::of(members(&all)))
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

    /// The value of a key: that of the left-most member with it, which is the latest.
    pub fn get(&self, key: &str) -> Option<&str> {
        // The text is canonical: no blanks, no empty members.
        let of_key = |member: &'_ [u8]| {
            let rest = member.strip_prefix(key.as_bytes())?.strip_prefix(b"=")?;
            Some(rest.len())
        };
        let text = self.as_str();
        let mut end = 0;
        for member in text.as_bytes().split(|b| *b == b',') {
            end += member.len();
            if let Some(len) = of_key(member) {
                return text.get(end - len..end);
            }
            end += 1;
        }
        None
    }

    /// Keys and values, from the left: the latest first.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        members(self.as_str()).filter_map(|member| member.split_once('='))
    }

    /// With this value of the key, at the left; the others keep their order. A 33rd member, the
    /// right-most, is dropped.
    ///
    /// # Errors
    ///
    /// A key or a value that W3C does not allow; see [`InvalidTraceState`].
    pub fn with(&self, key: &str, value: &str) -> Result<Self, InvalidTraceState> {
        if !is_key(key.as_bytes()) {
            return Err(InvalidTraceState(Reason::Key));
        }
        if !is_value(value.as_bytes()) {
            return Err(InvalidTraceState(Reason::Value));
        }
        let first = format!("{key}={value}");
        let others = members(self.as_str()).filter(|member| !has_key(member, key));
        let all = std::iter::once(first.as_str()).chain(others);
        Ok(Self::of(all.take(MAX_MEMBERS)))
    }

    /// Without that key.
    #[must_use]
    pub fn without(&self, key: &str) -> Self {
        if self.get(key).is_none() {
            return self.clone();
        }
        Self::of(members(self.as_str()).filter(|member| !has_key(member, key)))
    }

    /// Joins members that are valid.
    fn of<'a>(members: impl Iterator<Item = &'a str>) -> Self {
        let mut text = String::new();
        for member in members {
            if !text.is_empty() {
                text.push(',');
            }
            text.push_str(member);
        }
        Self((!text.is_empty()).then(|| text.into()))
    }
}

impl FromStr for TraceState {
    type Err = InvalidTraceState;

    /// As [`TraceState::parse`].
    fn from_str(text: &str) -> Result<Self, InvalidTraceState> {
        Self::parse(text)
    }
}

impl fmt::Display for TraceState {
    /// The header's text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that W3C does not allow in a `tracestate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidTraceState(Reason);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    Key,
    Value,
    NoEquals,
    TooMany,
    TooLong,
}

impl fmt::Display for InvalidTraceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Reason::Key => {
                "a key is a lowercase letter or digit and up to 255 more of these and `_-*/@`"
            }
            Reason::Value => {
                "a value is 1 to 256 printable ASCII characters without `,` and `=`, the last \
                 of which is no space"
            }
            Reason::NoEquals => "a member is `key=value`",
            Reason::TooMany => "there are more than 32 members",
            Reason::TooLong => "it is longer than 32 members with their commas and blanks are",
        })
    }
}

impl std::error::Error for InvalidTraceState {}

const MAX_MEMBERS: usize = 32;
/// Of key, `=`, value and comma; twice that, for the blanks.
const MAX_BYTES: usize = 2 * MAX_MEMBERS * (256 + 1 + 256 + 1);
/// Empty members count too: W3C allows them, and reading them takes time.
const MAX_ENTRIES: usize = 4 * MAX_MEMBERS;

fn members(text: &str) -> impl Iterator<Item = &str> {
    entries(text).filter(|member| !member.is_empty())
}

fn entries(text: &str) -> impl Iterator<Item = &str> {
    let entries = text.split(',');
    entries.map(trim_blanks)
}

/// The work so far, bounded by [`MAX_ENTRIES`] and [`MAX_BYTES`] whatever the length of the headers.
#[derive(Default)]
struct ParsedSoFar {
    members: usize,
    /// Bytes of the members, with a comma for each.
    canonical: usize,
    entries: usize,
    bytes: usize,
}

impl ParsedSoFar {
    fn check(&mut self, line: &str) -> Result<(), InvalidTraceState> {
        self.bytes = self.bytes.saturating_add(line.len());
        if self.bytes > MAX_BYTES {
            return Err(InvalidTraceState(Reason::TooLong));
        }
        // By bytes: on a short text, a search by characters costs ten times as much.
        for entry in line.as_bytes().split(|b| *b == b',') {
            let member = trim_blank_bytes(entry);
            self.entries += 1;
            if self.entries > MAX_ENTRIES {
                return Err(InvalidTraceState(Reason::TooLong));
            }
            if member.is_empty() {
                continue;
            }
            self.members += 1;
            self.canonical += member.len() + 1;
            if self.members > MAX_MEMBERS {
                return Err(InvalidTraceState(Reason::TooMany));
            }
            let Some(equals) = member.iter().position(|b| *b == b'=') else {
                return Err(InvalidTraceState(Reason::NoEquals));
            };
            let (key, value) = member.split_at(equals);
            if !is_key(key) {
                return Err(InvalidTraceState(Reason::Key));
            }
            if !is_value(value.get(1..).unwrap_or_default()) {
                return Err(InvalidTraceState(Reason::Value));
            }
        }
        Ok(())
    }
}

fn has_key(member: &str, key: &str) -> bool {
    let rest = member.strip_prefix(key);
    rest.is_some_and(|rest| rest.starts_with('='))
}

fn is_key(key: &[u8]) -> bool {
    let is_first = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let is_next = |b: &u8| is_first(b) || matches!(b, b'_' | b'-' | b'*' | b'/' | b'@');
    key.len() <= 256 && key.first().is_some_and(is_first) && key.iter().all(is_next)
}

fn is_value(value: &[u8]) -> bool {
    let is_allowed = |b: &u8| matches!(b, 0x20..=0x7e) && *b != b',' && *b != b'=';
    (1..=256).contains(&value.len()) && value.iter().all(is_allowed) && value.last() != Some(&b' ')
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn state(text: &str) -> TraceState {
        text.parse().unwrap()
    }

    #[test]
    fn blanks_and_empty_members_are_left_out_w3c_5() {
        for (text, canonical) in [
            ("", ""),
            (" \t", ""),
            (",,", ""),
            ("foo=1", "foo=1"),
            ("foo=1,", "foo=1"),
            (",foo=1", "foo=1"),
            ("foo=1 \t , \t bar=2", "foo=1,bar=2"),
            ("\tfoo=1,,bar=2 ", "foo=1,bar=2"),
            ("foo= 1", "foo= 1"),
            ("foo=1,foo=1", "foo=1,foo=1"),
            ("foo=1,foo=2", "foo=1,foo=2"),
        ] {
            let read = state(text);
            assert_eq!(read.as_str(), canonical, "{text:?}");
            assert_eq!(read.is_empty(), canonical.is_empty());
            assert_eq!(read.to_string(), canonical);
        }
        assert_eq!(state(",,"), TraceState::EMPTY);
    }

    #[test]
    fn no_more_is_looked_at_than_may_be_sent() {
        let too_long = Err(InvalidTraceState(Reason::TooLong));
        for text in [
            ",".repeat(MAX_ENTRIES),
            " ".repeat(MAX_BYTES + 1),
            format!("foo=1{}", ",".repeat(1 << 20)),
            format!("foo={}", "z".repeat(1 << 20)),
        ] {
            assert_eq!(TraceState::parse(&text), too_long);
        }
        assert_eq!(TraceState::join([""; MAX_ENTRIES + 1]), too_long);
        // All that is allowed is taken, with a blank on each side.
        let longest = |i| format!(" {i:0>256}={} ", "v".repeat(256));
        let all: Vec<_> = (0..MAX_MEMBERS).map(longest).collect();
        assert_eq!(state(&all.join(",")).iter().count(), MAX_MEMBERS);
        let padded = format!("foo=1{}", ",".repeat(MAX_ENTRIES - 1));
        assert_eq!(state(&padded).as_str(), "foo=1");
    }

    #[test]
    fn several_headers_are_one_in_their_order_w3c_5() {
        let joined = |lines: &[&str]| TraceState::join(lines.iter().copied());
        assert_eq!(joined(&[]), Ok(TraceState::EMPTY));
        assert_eq!(joined(&["", ""]), Ok(TraceState::EMPTY));
        assert_eq!(joined(&["", "foo=1", ""]), Ok(state("foo=1")));
        assert_eq!(
            joined(&["foo=1,bar=2", " rojo=1", "congo=2,"]),
            Ok(state("foo=1,bar=2,rojo=1,congo=2"))
        );
        assert!(joined(&["foo=1", "foo 2"]).is_err());
        assert!(joined(&["foo=1", "a=1", "B=2"]).is_err());
    }

    #[test]
    fn keys_and_values_have_an_alphabet_and_a_length_w3c_6() {
        let z = |n| "z".repeat(n);
        for right in [
            "0=v".to_owned(),
            "foo-_*/bar@x=v".to_owned(),
            "tenant@system=v".to_owned(),
            format!("{}=v", z(256)),
            format!("foo={}", z(256)),
            "foo= !\"#$%&'()*+-./0123456789:;<>?@AZ[\\]^_`az{|}~".to_owned(),
        ] {
            assert_eq!(state(&right).as_str(), right);
        }
        for wrong in [
            "foo".to_owned(),
            "=".to_owned(),
            "=v".to_owned(),
            "foo=".to_owned(),
            "foo =1".to_owned(),
            "FOO=1".to_owned(),
            "foo.bar=1".to_owned(),
            "@foo=1".to_owned(),
            "_foo=1".to_owned(),
            "foo@=1@=2".to_owned(),
            "foo=1=2".to_owned(),
            "foo=b\tr".to_owned(),
            "foo=é".to_owned(),
            "foo=\u{7f}".to_owned(),
            "foo=1,bar".to_owned(),
            "foo=1;bar=2".to_owned(),
            format!("{}=v", z(257)),
            format!("foo={}", z(257)),
        ] {
            assert!(TraceState::parse(&wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn there_are_at_most_32_members_w3c_6() {
        let many = |n| (1..=n).map(|i| format!("k{i:02}=1")).collect::<Vec<_>>();
        let full = state(&many(32).join(","));
        assert_eq!(full.iter().count(), 32);
        assert!(TraceState::parse(&many(33).join(",")).is_err());
        let lines = many(33);
        assert!(TraceState::join(lines.iter().map(String::as_str)).is_err());
        let more = full.with("new", "2").unwrap();
        assert_eq!(more.iter().count(), 32);
        assert!(more.as_str().starts_with("new=2,k01=1,"));
        assert!(more.as_str().ends_with(",k31=1"));
        let changed = full.with("k32", "2").unwrap();
        assert!(changed.as_str().starts_with("k32=2,k01=1,"));
        assert!(changed.as_str().ends_with(",k31=1"));
    }

    #[test]
    fn what_changes_goes_to_the_left_and_others_survive_w3c_7_smp_7() {
        let old = state("a=1,ot=th:8;rv:0123456789abcd,b=2,a=3,aa=4");
        let changed = old.with("a", "5").unwrap();
        let text = "a=5,ot=th:8;rv:0123456789abcd,b=2,aa=4";
        assert_eq!(changed.as_str(), text);
        assert_eq!(old.get("a"), Some("1"));
        assert_eq!(old.get("aa"), Some("4"));
        assert_eq!(old.get("ab"), None);
        assert_eq!(changed.get("ot"), Some("th:8;rv:0123456789abcd"));
        let without = old.without("a");
        assert_eq!(without.as_str(), "ot=th:8;rv:0123456789abcd,b=2,aa=4");
        assert_eq!(without.without("c"), without);
        assert_eq!(state("a=1").without("a"), TraceState::EMPTY);
        let fresh = TraceState::EMPTY.with("a", " 1").unwrap();
        assert_eq!(fresh.iter().collect::<Vec<_>>(), [("a", " 1")]);
    }

    #[test]
    fn no_call_makes_an_invalid_state_w3c_8() {
        let old = state("a=1");
        for (key, value) in [
            ("", "1"),
            ("A", "1"),
            ("a", ""),
            ("a", "1 "),
            ("a", "1,b=2"),
        ] {
            let error = old.with(key, value).unwrap_err();
            assert!(error.to_string().starts_with("a "), "{error}");
        }
    }

    proptest! {
        #[test]
        fn what_was_read_is_read_again(text in "([ \t]?[a-c]{1,2}=[ a-z=]{0,3},?){0,5}|\\PC*") {
            if let Ok(read) = TraceState::parse(&text) {
                prop_assert_eq!(read.as_str().parse(), Ok(read.clone()));
                let rebuilt = read.iter().map(|(k, v)| format!("{k}={v}"));
                prop_assert_eq!(rebuilt.collect::<Vec<_>>().join(","), read.as_str());
            }
        }

        #[test]
        fn changes_stay_valid(
            keys in proptest::collection::vec(("[a-d]{1,2}|\\PC{0,2}", "[ a-z]{0,3}"), 0..50)
        ) {
            let mut state = TraceState::EMPTY;
            for (key, value) in &keys {
                if let Ok(next) = state.with(key, value) {
                    prop_assert_eq!(next.get(key), Some(value.as_str()));
                    prop_assert!(next.without(key).get(key).is_none());
                    state = next;
                }
                prop_assert_eq!(state.as_str().parse(), Ok(state.clone()));
            }
        }
    }
}
