//! [`Traceparent`]: a context in the form of W3C's header.

use std::fmt;
use std::ops::Deref;

use super::{SpanId, TraceContext, TraceFlags, TraceId};
use crate::text::{hex, trim_blanks};

/// The text of a `traceparent` header, without heap memory.
///
/// ```
/// use tracing_otlp::TraceContext;
///
/// let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// let cx = TraceContext::from_traceparent(text)?;
/// assert!(cx.is_sampled() && cx.is_remote());
/// assert_eq!(&*cx.to_traceparent(), text);
/// # Ok::<(), tracing_otlp::context::InvalidTraceparent>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Traceparent([u8; LEN]);

impl Traceparent {
    /// The text.
    #[inline]
    pub fn as_str(&self) -> &str {
        // Always ASCII, because only this module makes it.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl Deref for Traceparent {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Traceparent {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for Traceparent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Traceparent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// A text that is no valid `traceparent`. A request with such a header begins a new trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidTraceparent(());

impl fmt::Display for InvalidTraceparent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "not a `traceparent`: it is `00-<32 hex digits>-<16 hex digits>-<2 hex digits>`, \
             lowercase, and neither id is all zeros",
        )
    }
}

impl std::error::Error for InvalidTraceparent {}

impl TraceContext {
    /// This context as W3C's `traceparent`. A context that is not [valid](Self::is_valid) gives a text
    /// that receivers reject.
    #[inline]
    pub fn to_traceparent(&self) -> Traceparent {
        let mut text = *b"00-________________________________-________________-__";
        hex::encode(&self.trace_id().to_bytes(), &mut text[TRACE]);
        hex::encode(&self.span_id().to_bytes(), &mut text[SPAN]);
        hex::encode(&[self.flags().bits()], &mut text[FLAGS]);
        Traceparent(text)
    }

    /// Reads a `traceparent`: a remote context without trace state and baggage. Spaces and tabs around it
    /// are ignored; of a later version, the fields of version 00 are read.
    ///
    /// # Errors
    ///
    /// A text that breaks the format, for example by upper case.
    pub fn from_traceparent(text: &str) -> Result<Self, InvalidTraceparent> {
        parse(trim_blanks(text).as_bytes()).ok_or(InvalidTraceparent(()))
    }
}

#[inline]
fn parse(text: &[u8]) -> Option<TraceContext> {
    let (known, rest) = text.split_at_checked(LEN)?;
    if known[2] != b'-' || known[TRACE.end] != b'-' || known[SPAN.end] != b'-' {
        return None;
    }
    match hex::decode(&known[..2])? {
        [0xff] => return None,
        [0] if !rest.is_empty() => return None,
        _ if !rest.is_empty() && rest[0] != b'-' => return None,
        _ => {}
    }
    let cx = TraceContext::new(
        TraceId::from_bytes(hex::decode(&known[TRACE])?),
        SpanId::from_bytes(hex::decode(&known[SPAN])?),
        TraceFlags::from_bits(hex::decode::<1>(&known[FLAGS])?[0]),
    );
    cx.is_valid().then(|| cx.with_remote(true))
}

const LEN: usize = 55;
const TRACE: std::ops::Range<usize> = 3..35;
const SPAN: std::ops::Range<usize> = 36..52;
const FLAGS: std::ops::Range<usize> = 53..LEN;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    const IDS: &str = "12345678901234567890123456789012-1234567890123456";

    fn read(text: &str) -> Option<TraceContext> {
        TraceContext::from_traceparent(text).ok()
    }

    #[test]
    fn version_00_has_one_form_w3c_1() {
        let cx = read(&format!("00-{IDS}-01")).unwrap();
        assert_eq!(cx.trace_id().to_string(), IDS[..32]);
        assert_eq!(cx.span_id().to_string(), IDS[33..]);
        assert!(cx.is_sampled() && cx.is_remote());
        for wrong in [
            "".to_owned(),
            "foo".to_owned(),
            "00".to_owned(),
            IDS.to_owned(),
            format!("00-{IDS}"),
            format!("00-{IDS}-"),
            format!("00-{IDS}-1"),
            format!("00-{IDS}-001"),
            format!("00-{IDS}-01-"),
            format!("00-{IDS}-01-what-the-future"),
            format!("00-{IDS}-01."),
            format!("00-{IDS}-.0"),
            format!("00-{IDS}-0."),
            format!("00-{IDS}-0g"),
            format!("00-{IDS}-0A"),
            format!("0-{IDS}-01"),
            format!("000-{IDS}-01"),
            format!(".0-{IDS}-01"),
            format!("0x-{IDS}-01"),
            format!("00{IDS}-01"),
            format!("00_{IDS}_01"),
            format!("00-{}-01", IDS.replace('-', "_")),
            format!("00-.{}-01", &IDS[1..]),
            format!("00-{}.-01", &IDS[..48]),
            format!("00-{}-01", &IDS[1..]),
            format!("00-1{IDS}-01"),
            format!("00-{IDS}1-01"),
            "00-1234567890123456789012345678901A-1234567890123456-01".to_owned(),
            "00-12345678901234567890123456789012-123456789012345A-01".to_owned(),
            "00-00000000000000000000000000000000-1234567890123456-01".to_owned(),
            "00-12345678901234567890123456789012-0000000000000000-01".to_owned(),
            format!("00-{}é-01", &IDS[..47]),
            format!("00-{IDS}-01\u{a0}"),
            format!("00-{IDS}-01\n"),
        ] {
            assert_eq!(read(&wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn later_versions_are_read_as_far_as_they_are_known_w3c_2() {
        let ff = read(&format!("ff-{IDS}-01"));
        assert_eq!(ff, None);
        for version in ["01", "cc", "fe"] {
            for rest in ["", "-", "-what-the-future-will-be-like"] {
                let cx = read(&format!("{version}-{IDS}-ff{rest}")).unwrap();
                assert_eq!(cx.flags().bits(), 3);
                assert_eq!(&*cx.to_traceparent(), format!("00-{IDS}-03"));
            }
            for rest in [".", ".what-the-future", "0"] {
                assert_eq!(read(&format!("{version}-{IDS}-01{rest}")), None);
            }
            assert_eq!(read(&format!("{version}-{}-01", "0".repeat(49))), None);
        }
    }

    #[test]
    fn blanks_around_it_do_not_count_w3c_3() {
        for text in [
            format!(" 00-{IDS}-01"),
            format!("00-{IDS}-01 \t"),
            format!("\t00-{IDS}-01"),
        ] {
            assert!(read(&text).is_some(), "{text:?}");
        }
    }

    #[test]
    fn flags_are_bits_w3c_4() {
        for (text, bits) in [("00", 0), ("01", 1), ("02", 2), ("03", 3), ("fd", 1)] {
            let cx = read(&format!("00-{IDS}-{text}")).unwrap();
            assert_eq!(cx.flags().bits(), bits, "{text}");
        }
        let debug = read(&format!("00-{IDS}-00")).unwrap();
        let debug = debug.with_flags(TraceFlags::DEBUG);
        assert!(debug.to_traceparent().ends_with("-01"));
    }
}
