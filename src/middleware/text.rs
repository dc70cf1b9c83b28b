//! Text from outside, cut to a length that a span can bear.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use http::HeaderValue;

use crate::text::text_of;

/// Bytes that are kept of a path, a query or a header.
const LONGEST: usize = 4096;

/// The same of one that is percent-encoded.
pub(super) const LONGEST_ENCODED: usize = 3 * LONGEST;

/// The text, or its first [`LONGEST`] bytes.
pub(super) fn cut(text: &str) -> &str {
    if text.len() <= LONGEST {
        return text;
    }
    let whole = (0..=LONGEST).rev().find_map(|end| text.get(..end));
    whole.unwrap_or_default()
}

/// A header's value; what is no UTF-8 is replaced.
pub(super) fn of_header(value: &HeaderValue) -> Cow<'_, str> {
    let bytes = value.as_bytes();
    match bytes.get(..LONGEST) {
        None => String::from_utf8_lossy(bytes),
        // Cut before it is looked through: a header may be huge.
        Some(head) => String::from_utf8_lossy(head),
    }
}

/// What a foreign value formats to, or its first [`LONGEST`] bytes.
pub(super) fn said_by(value: fmt::Arguments<'_>) -> String {
    text_of(value, LONGEST)
}

/// An error and its causes, each said once.
pub(super) struct Causes<'a>(pub(super) &'a (dyn Error + 'static));

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = text_of(format_args!("{}", self.0), LONGEST);
        f.write_str(&said)?;
        let causes = std::iter::successors(self.0.source(), |&error| error.source());
        // A foreign chain may be a ring.
        for error in causes.take(64) {
            let text = text_of(format_args!("{error}"), LONGEST);
            if !said.ends_with(&text) {
                write!(f, ": {text}")?;
            }
            said = text;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_between_characters() {
        let text = "ä".repeat(LONGEST);
        assert_eq!(cut(&text).len(), LONGEST);
        let odd = format!("a{text}");
        assert_eq!(cut(&odd).len(), LONGEST - 1);
        assert_eq!(cut("short"), "short");
    }

    #[test]
    fn headers_need_not_be_text() {
        let value = HeaderValue::from_bytes(b"a\xff\xe4b").unwrap();
        assert_eq!(of_header(&value), "a\u{fffd}\u{fffd}b");
        let huge = HeaderValue::from_bytes(&vec![b'x'; 100_000]).unwrap();
        assert_eq!(of_header(&huge).len(), LONGEST);
    }
}
