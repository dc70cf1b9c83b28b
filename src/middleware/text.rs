//! Bounds the length of foreign texts.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use http::HeaderValue;

use crate::error::chain;
use crate::text::{beginning, text_of};

/// Bytes that are kept of a path, a query or a header.
const LONGEST: usize = 4096;

/// The bound of a percent-encoded text.
pub(super) const LONGEST_ENCODED: usize = 3 * LONGEST;

/// The text, or its first [`LONGEST`] bytes.
pub(super) fn cut(text: &str) -> &str {
    beginning(text, LONGEST)
}

/// A header's value; invalid UTF-8 is replaced.
pub(super) fn of_header(value: &HeaderValue) -> Cow<'_, str> {
    let bytes = value.as_bytes();
    // Cut before the UTF-8 check, because a header may be huge.
    let head = bytes.get(..LONGEST).unwrap_or(bytes);
    // The usual case, checked by words; the other way decodes each character.
    match std::str::from_utf8(head) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(head),
    }
}

/// The first [`LONGEST`] bytes that a foreign value formats to.
pub(super) fn bounded(value: fmt::Arguments<'_>) -> String {
    text_of(value, LONGEST)
}

/// An error and its causes, without repeated texts.
pub(super) struct Causes<'a>(pub(super) &'a (dyn Error + 'static));

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = text_of(format_args!("{}", self.0), LONGEST);
        f.write_str(&said)?;
        for error in chain(self.0).skip(1) {
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
