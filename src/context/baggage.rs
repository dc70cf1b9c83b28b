//! [`Baggage`]: names and values that an application propagates with a trace (W3C `baggage`).

use std::fmt;
use std::sync::Arc;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use crate::text::trim_blanks;

/// Names and values that travel with a request through all services; immutable, and cheap to clone.
/// Takes no memory while it is empty.
///
/// Every service that a request reaches can read it, so no secret belongs in it. A name has one
/// value; case matters; both may be any text.
///
/// ```
/// use tracing_otlp::context::Baggage;
///
/// let baggage = Baggage::parse("user=4711;internal, city=K%C3%B6ln").with("shop", "a b");
/// assert_eq!(baggage.get("city"), Some("Köln"));
/// assert_eq!(baggage.to_string(), "user=4711;internal,city=K%C3%B6ln,shop=a%20b");
/// ```
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Baggage(Option<Arc<BaggageMembers>>);

/// All names, values and metadata, concatenated in one text, and the end of each.
#[derive(Clone, PartialEq, Eq, Default)]
struct BaggageMembers {
    text: String,
    ends: Vec<[usize; 3]>,
}

impl Baggage {
    /// Bytes of its heap memory.
    pub(crate) fn heap_size(&self) -> usize {
        self.0.as_ref().map_or(0, |members| {
            size_of::<BaggageMembers>() + members.text.len() + size_of_val(&members.ends[..])
        })
    }

    /// No member. As a span's baggage it clears all.
    pub const EMPTY: Self = Self(None);

    /// The most members that a header may hold.
    pub const MAX_MEMBERS: usize = 64;

    /// The most bytes that a header may hold.
    pub const MAX_BYTES: usize = 8192;

    /// Reads a header's text. A member that breaks the format is left out, and so is one
    /// that exceeds [`MAX_MEMBERS`](Self::MAX_MEMBERS) or [`MAX_BYTES`](Self::MAX_BYTES); of two with the
    /// same name, the last counts.
    pub fn parse(text: &str) -> Self {
        Self::join([text])
    }

    /// Reads several headers as one, in their order. It reads at most 64 KiB and 1,024 members, invalid
    /// ones included.
    pub fn join<'a>(lines: impl IntoIterator<Item = &'a str>) -> Self {
        let mut members = BaggageMembers::default();
        let mut budget = HeaderBudget::new();
        let (mut entries, mut bytes) = (0, 0);
        for line in lines {
            for text in line.split(',') {
                entries += 1;
                bytes += text.len() + 1;
                if entries > MOST_ENTRIES || bytes > MOST_READ || budget.members == 0 {
                    return members.into();
                }
                let text = trim(text);
                if text.is_empty() || !budget.is_for(text.len()) {
                    continue;
                }
                let Some((name, value, metadata)) = parse_member(text) else {
                    continue;
                };
                let value = percent_decode_str(value).decode_utf8_lossy();
                budget.take(text.len());
                members.remove(name);
                members.push(name, &value, metadata);
            }
        }
        members.into()
    }

    /// Whether it has no member.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The number of members.
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |members| members.ends.len())
    }

    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|m| m.name == name).map(|m| m.value)
    }

    /// The members; the latest comes last.
    pub fn iter(&self) -> impl Iterator<Item = BaggageMember<'_>> {
        self.0.iter().flat_map(|members| members.iter())
    }

    /// With this value of the name. An empty name changes nothing.
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Self {
        self.with_metadata(name, value, "")
    }

    /// With this value of the name, and its metadata: W3C's properties, without the first `;`. Only
    /// characters that no header may hold are encoded.
    #[must_use]
    pub fn with_metadata(&self, name: &str, value: &str, metadata: &str) -> Self {
        if name.is_empty() {
            return self.clone();
        }
        let mut members = self.0.as_deref().cloned().unwrap_or_default();
        members.remove(name);
        members.push(name, value, trim(metadata));
        members.into()
    }

    /// Without that name.
    #[must_use]
    pub fn without(&self, name: &str) -> Self {
        if self.get(name).is_none() {
            return self.clone();
        }
        let mut members = self.0.as_deref().cloned().unwrap_or_default();
        members.remove(name);
        members.into()
    }

    /// The header's text; empty if there is nothing to send.
    ///
    /// It omits a name that no header may hold (W3C requires a token: letters, digits and
    /// ``!#$%&'*+-.^_`|~``), and each whole member that exceeds [`MAX_MEMBERS`](Self::MAX_MEMBERS) or
    /// [`MAX_BYTES`](Self::MAX_BYTES): the latest ones.
    pub fn to_header(&self) -> String {
        let mut text = String::new();
        let mut budget = HeaderBudget::new();
        for BaggageMember {
            name,
            value,
            metadata,
        } in self.iter()
        {
            if !is_token(name) {
                continue;
            }
            let start = text.len();
            if start > 0 {
                text.push(',');
            }
            text.push_str(name);
            text.push('=');
            text.extend(utf8_percent_encode(value, NO_OCTET));
            if !metadata.is_empty() {
                text.push(';');
                text.extend(utf8_percent_encode(metadata, NO_METADATA));
            }
            let length = text.len() - start - usize::from(start > 0);
            if budget.is_for(length) {
                budget.take(length);
            } else {
                text.truncate(start);
            }
        }
        text
    }
}

impl fmt::Display for Baggage {
    /// As [`to_header`](Baggage::to_header).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.to_header())
    }
}

impl fmt::Debug for Baggage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs = self.iter().map(|m| (m.name, m.value));
        f.debug_map().entries(pairs).finish()
    }
}

/// A member of a [`Baggage`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BaggageMember<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its value, decoded.
    pub value: &'a str,
    /// W3C's properties, such as `ttl=60;internal`, which have no meaning to this crate; empty without.
    pub metadata: &'a str,
}

impl From<BaggageMembers> for Baggage {
    fn from(members: BaggageMembers) -> Self {
        Self((!members.ends.is_empty()).then(|| Arc::new(members)))
    }
}

impl BaggageMembers {
    fn iter(&self) -> impl Iterator<Item = BaggageMember<'_>> {
        let mut start = 0;
        self.ends
            .iter()
            .filter_map(move |&[name, value, metadata]| {
                let from = std::mem::replace(&mut start, metadata);
                Some(BaggageMember {
                    name: self.text.get(from..name)?,
                    value: self.text.get(name..value)?,
                    metadata: self.text.get(value..metadata)?,
                })
            })
    }

    fn push(&mut self, name: &str, value: &str, metadata: &str) {
        let mut end = 0;
        self.ends.push([name, value, metadata].map(|part| {
            self.text.push_str(part);
            end = self.text.len();
            end
        }));
    }

    fn remove(&mut self, name: &str) {
        if !self.iter().any(|member| member.name == name) {
            return;
        }
        let mut others = Self::default();
        for member in self.iter().filter(|member| member.name != name) {
            others.push(member.name, member.value, member.metadata);
        }
        *self = others;
    }
}

/// Bounds of what is read of all headers together.
const MOST_ENTRIES: usize = 1024;
const MOST_READ: usize = 64 << 10;

/// The members and bytes that a header has left.
struct HeaderBudget {
    members: usize,
    bytes: usize,
}

impl HeaderBudget {
    fn new() -> Self {
        Self {
            members: Baggage::MAX_MEMBERS,
            // The first member has no comma before it.
            bytes: Baggage::MAX_BYTES + 1,
        }
    }

    fn is_for(&self, member: usize) -> bool {
        self.members > 0 && self.bytes > member
    }

    fn take(&mut self, member: usize) {
        self.members -= 1;
        self.bytes -= member + 1;
    }
}

/// Name, encoded value, and metadata; `None` if W3C does not allow the member.
fn parse_member(text: &str) -> Option<(&str, &str, &str)> {
    let (pair, metadata) = text.split_once(';').unwrap_or((text, ""));
    let (name, value) = pair.split_once('=')?;
    let (name, value, metadata) = (trim(name), trim(value), trim(metadata));
    let is_member = is_token(name)
        && value.bytes().all(is_octet)
        && metadata.bytes().all(|b| matches!(b, b'\t' | 0x20..=0x7e));
    is_member.then_some((name, value, metadata))
}

fn trim(text: &str) -> &str {
    trim_blanks(text)
}

/// A name that HTTP can write (RFC 7230).
pub(crate) fn is_token(name: &str) -> bool {
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !name.is_empty() && name.bytes().all(is_allowed)
}

fn is_octet(b: u8) -> bool {
    matches!(b, 0x21 | 0x23..=0x2b | 0x2d..=0x3a | 0x3c..=0x5b | 0x5d..=0x7e)
}

/// ASCII characters that are percent-encoded in a value; all others beyond ASCII are as well.
const NO_OCTET: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b',')
    .add(b';')
    .add(b'\\')
    .add(b'%');

/// The same in metadata, whose own syntax stays as it is. A header may hold a tab.
const NO_METADATA: &AsciiSet = &CONTROLS.remove(b'\t').add(b',');

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn members_are_read_bag_1() {
        for (text, written) in [
            ("", ""),
            (",, ,", ""),
            ("k=v", "k=v"),
            ("k = v", "k=v"),
            ("k=v;prop;p2=x,k2=v2", "k=v;prop;p2=x,k2=v2"),
            (
                "\tk=v \t; \tprop ; p2 = x , k2=v2",
                "k=v;prop ; p2 = x,k2=v2",
            ),
            ("k=v;p\t=\tx;;", "k=v;p\t=\tx;;"),
            ("k=", "k="),
            ("k=v=w", "k=v=w"),
            ("k=%41%20b", "k=A%20b"),
            ("k=%zz%4", "k=%25zz%254"),
            ("k=%ff", "k=%EF%BF%BD"),
            ("k=v,k=w", "k=w"),
            ("k=1,K=2", "k=1,K=2"),
            // Of a bad member, nothing; of its neighbours, all.
            ("a=1,k,b=2", "a=1,b=2"),
            ("a=1,=v,b=2", "a=1,b=2"),
            ("a=1,k y=v,b=2", "a=1,b=2"),
            ("a=1,k=v w,b=2", "a=1,b=2"),
            ("a=1,k=\"v\",b=2", "a=1,b=2"),
            ("a=1,k=v\\w,b=2", "a=1,b=2"),
            ("a=1,k=é,b=2", "a=1,b=2"),
            ("a=1,k=v;é,b=2", "a=1,b=2"),
            ("a=1,k;p=v,b=2", "a=1,b=2"),
        ] {
            let read = Baggage::parse(text);
            assert_eq!(read.to_string(), written, "{text:?}");
            assert_eq!(read.is_empty(), written.is_empty(), "{text:?}");
        }
        assert_eq!(Baggage::parse("x"), Baggage::EMPTY);
        let joined = Baggage::join(["a=1", "", "b=2,a=3"]);
        assert_eq!(joined.to_string(), "b=2,a=3");
    }

    #[test]
    fn a_name_has_one_value_and_the_last_wins_bag_2() {
        let old = Baggage::EMPTY
            .with_metadata("a", "1", "ttl=60")
            .with("é b", "2");
        let new = old.with("a", "Ω,;\\\"%");
        assert_eq!(old.get("a"), Some("1"));
        assert_eq!(new.get("a"), Some("Ω,;\\\"%"));
        assert_eq!((new.get("A"), new.len()), (None, 2));
        assert_eq!(
            old.iter()
                .map(|m| (m.name, m.value, m.metadata))
                .collect::<Vec<_>>(),
            [("a", "1", "ttl=60"), ("é b", "2", "")]
        );
        assert_eq!(new.to_string(), "a=%CE%A9%2C%3B%5C%22%25");
        assert_eq!(new.without("a").without("é b"), Baggage::EMPTY);
        assert_eq!(new.without("b"), new);
        assert_eq!(new.with("", "nobody"), new);
        let evil = Baggage::EMPTY.with_metadata("a", "1", "x\r\nevil: 1, b=2");
        assert_eq!(evil.to_string(), "a=1;x%0D%0Aevil: 1%2C b=2");
    }

    #[test]
    fn a_header_holds_64_members_and_8192_bytes_bag_2() {
        let many = |n: usize| (0..n).map(|i| format!("k{i}=v")).collect::<Vec<_>>();
        let full = Baggage::parse(&many(64).join(","));
        assert_eq!(full.len(), 64);
        assert_eq!(Baggage::parse(&many(65).join(",")), full);
        let more = full.with("more", "1");
        assert_eq!((more.len(), more.get("more")), (65, Some("1")));
        assert_eq!(more.to_string(), full.to_string());

        let (a, b) = ("a".repeat(4094), "b".repeat(4093));
        let exact = format!("a={a},b={b}");
        assert_eq!(exact.len(), 8192);
        assert_eq!(Baggage::parse(&exact).to_string(), exact);
        let longer = format!("{exact}b,c=1");
        assert_eq!(Baggage::parse(&longer).to_string(), format!("a={a},c=1"));
        let grown = Baggage::parse(&exact).with("b", &format!("{b}b"));
        assert_eq!(grown.with("c", "1").to_string(), format!("a={a},c=1"));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_bag_1(
            members in proptest::collection::vec(("[a-e]{1,2}|\\PC{0,3}", "\\PC{0,9}"), 0..12)
        ) {
            let mut baggage = Baggage::EMPTY;
            for (name, value) in &members {
                baggage = baggage.with(name, value);
            }
            let mut sent = baggage.clone();
            for member in baggage.iter() {
                if !is_token(member.name) {
                    sent = sent.without(member.name);
                }
            }
            prop_assert_eq!(Baggage::parse(&baggage.to_string()), sent);
        }

        #[test]
        fn any_text_is_read_within_bounds(text in "([a-c]=[%a-f,;= ]{0,9},?){0,9}|\\PC*") {
            let read = Baggage::parse(&text);
            prop_assert!(read.len() <= Baggage::MAX_MEMBERS);
            let written = read.to_header();
            prop_assert!(written.len() <= Baggage::MAX_BYTES);
            prop_assert_eq!(Baggage::parse(&written), read);
        }
    }
}
