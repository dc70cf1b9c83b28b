//! Times, durations and values as people read them, for the console and for test output.

pub(crate) mod hex;

use std::borrow::Cow;
use std::fmt::{self, Write};
use std::ops::Range;

/// A duration in nanoseconds with three digits that matter: `850 ns`, `12.3 µs`, `1.50 ms`,
/// `152 ms`, `2.35 s`, `3 min 12 s`, `2 h 3 min`.
pub(crate) fn duration(nanos: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("µs", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000)];
    // Rounded to three digits first, so that 999.9 µs becomes 1.00 ms.
    let mut rounding = 1;
    while nanos / rounding >= 1000 {
        rounding *= 10;
    }
    let rounded = nanos.saturating_add(rounding / 2) / rounding * rounding;
    if rounded >= 60_000_000_000 {
        let seconds = (nanos / 1_000_000_000).max(60);
        return match seconds {
            0..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
            _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        };
    }
    for (unit, size) in UNITS.into_iter().rev() {
        if rounded >= size {
            let value = rounded as f64 / size as f64;
            let decimals = match rounded / size {
                0..10 => 2,
                10..100 => 1,
                _ => 0,
            };
            return format!("{value:.decimals$} {unit}");
        }
    }
    format!("{nanos} ns")
}

/// Nanoseconds since 1970 as `2026-11-23T08:15:00.123456Z`.
pub(crate) fn time(unix_nanos: u64) -> String {
    let micros = unix_nanos / 1_000;
    let (seconds, micros) = (micros / 1_000_000, micros % 1_000_000);
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    // Days are counted from 1 March 0000, so that a leap day is the last of its year.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

/// Lower-case hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = vec![0; 2 * bytes.len()];
    hex::encode(bytes, &mut text);
    String::from_utf8(text).unwrap_or_default()
}

/// A text on one line: line breaks and invisible characters escaped, cut after `most` characters, and in
/// quotes if `quoted` is set and it is not one word.
pub(crate) fn line(text: &str, most: usize, quoted: bool) -> String {
    let mut out = String::new();
    let quotes = quoted && (text.is_empty() || text.contains([' ', '"', '=']));
    if quotes {
        out.push('"');
    }
    for (i, c) in text.chars().enumerate() {
        if i == most {
            out.push('…');
            break;
        }
        if is_invisible(c) || (quotes && c == '"') {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    if quotes {
        out.push('"');
    }
    out
}

/// A foreign text for a log line: shortened, with invisible characters escaped.
pub(crate) fn clean(text: &str) -> String {
    line(text, 200, false)
}

/// A foreign text, safe to show: characters that move a terminal's cursor, turn the direction of the text or
/// hide in it are escaped. Each place that shows foreign texts uses this or [`line`].
pub(crate) fn shown(text: &str) -> Cow<'_, str> {
    match text.contains(is_invisible) {
        true => line(text, usize::MAX, false).into(),
        false => text.into(),
    }
}

/// Controls, format characters (`Cf`) and the two separators of lines that are neither.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}'
            | '\u{890}'..='\u{891}' | '\u{8e2}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// A URL without the parts that may hold a secret: user and password, query and fragment. In a text that is
/// no URL, all before the last `@` counts as user and password, because too much masked is better than too
/// little.
pub(crate) fn url(text: &str) -> String {
    const MASK: &str = "[masked]";
    let is_scheme = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    let rest = text.trim_start_matches(is_scheme);
    let rest = rest.strip_prefix(':').unwrap_or(text);
    let rest = match rest.trim_start_matches('/') {
        // `host:port` has no scheme.
        after if after.len() == rest.len() => text,
        after => after,
    };
    let (scheme, rest) = text.split_at(text.len() - rest.len());
    let (user, rest) = match rest.rsplit_once('@') {
        Some((_, rest)) => ("[masked]@", rest),
        None => ("", rest),
    };
    let (rest, hidden) = match rest.split_once(['?', '#']) {
        Some((rest, _)) => (rest, "?"),
        None => (rest, ""),
    };
    let mask = if hidden.is_empty() { "" } else { MASK };
    format!("{scheme}{user}{rest}{hidden}{mask}")
}

/// Items with `separator` between them.
pub(crate) fn join<T: fmt::Display>(items: impl IntoIterator<Item = T>, separator: &str) -> String {
    let mut out = String::new();
    for item in items {
        if !out.is_empty() {
            out.push_str(separator);
        }
        let _ = write!(out, "{item}");
    }
    out
}

/// The text without the spaces and tabs around it: as `trim_matches`, which decodes characters.
#[inline]
pub(crate) fn trim_blanks(text: &str) -> &str {
    text.get(without_blanks(text.as_bytes()))
        .unwrap_or_default()
}

/// As [`trim_blanks`], of bytes.
#[inline]
pub(crate) fn trim_blank_bytes(text: &[u8]) -> &[u8] {
    text.get(without_blanks(text)).unwrap_or_default()
}

#[inline]
fn without_blanks(text: &[u8]) -> Range<usize> {
    let is_wanted = |b: &u8| !matches!(b, b' ' | b'\t');
    let Some(start) = text.iter().position(is_wanted) else {
        return 0..0;
    };
    start..text.iter().rposition(is_wanted).map_or(start, |at| at + 1)
}

/// The beginning of a text, at most this many bytes, cut between characters.
#[inline]
pub(crate) fn beginning(text: &str, bytes: usize) -> &str {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// The text of a value, up to `most` bytes or to its failure. The `fmt` of foreign code may fail, where
/// `to_string` panics, and may have no end.
pub(crate) fn text_of(value: fmt::Arguments<'_>, most: usize) -> String {
    let mut text = Short {
        text: String::new(),
        most,
    };
    let _ = text.write_fmt(value);
    text.text
}

/// A text with a greatest length in bytes.
struct Short {
    text: String,
    most: usize,
}

impl Write for Short {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let left = self.most - self.text.len();
        if s.len() <= left {
            self.text.push_str(s);
            return Ok(());
        }
        self.text.push_str(beginning(s, left));
        // Nothing is appended behind a cut.
        self.most = self.text.len();
        Err(fmt::Error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spaces_and_tabs_around_a_text_are_left_out() {
        for text in [
            "",
            " ",
            " \t ",
            "a",
            " a\t",
            "\ta b ",
            "\na ",
            "\u{a0}ä\u{a0} ",
        ] {
            let expected = text.trim_matches([' ', '\t']);
            assert_eq!(trim_blanks(text), expected, "{text:?}");
            assert_eq!(trim_blank_bytes(text.as_bytes()), expected.as_bytes());
        }
    }

    #[test]
    fn durations_have_three_digits() {
        for (nanos, text) in [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_000, "1.00 µs"),
            (12_345, "12.3 µs"),
            (999_949, "1.00 ms"),
            (1_500_000, "1.50 ms"),
            (9_999_999, "10.0 ms"),
            (152_400_000, "152 ms"),
            (999_600_000, "1.00 s"),
            (2_345_600_000, "2.35 s"),
            (59_940_000_000, "59.9 s"),
            (59_990_000_000, "1 min 0 s"),
            (60_000_000_000, "1 min 0 s"),
            (192_700_000_000, "3 min 12 s"),
            (7_380_000_000_000, "2 h 3 min"),
            (u64::MAX, "5124095 h 34 min"),
        ] {
            assert_eq!(duration(nanos), text, "{nanos}");
        }
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000001Z"),
            (951_782_399, "2000-02-28T23:59:59.000001Z"),
            (951_782_400, "2000-02-29T00:00:00.000001Z"),
            (1_709_251_199, "2024-02-29T23:59:59.000001Z"),
            (1_709_251_200, "2024-03-01T00:00:00.000001Z"),
            (1_767_225_599, "2025-12-31T23:59:59.000001Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000001Z"),
        ] {
            assert_eq!(time(seconds * 1_000_000_000 + 1_999), text);
        }
        assert_eq!(time(u64::MAX), "2554-07-21T23:34:33.709551Z");
    }

    #[test]
    fn a_text_is_cut_between_characters_and_has_no_hole() {
        assert_eq!(text_of(format_args!("{}", "short"), 5), "short");
        assert_eq!(text_of(format_args!("{}{}", "zwölf", ""), 3), "zw");
        assert_eq!(text_of(format_args!("{}{}", "zwölf", "x"), 3), "zw");
        struct Deaf;
        impl fmt::Display for Deaf {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let _ = f.write_str("more than that");
                let _ = f.write_str("!");
                Err(fmt::Error)
            }
        }
        assert_eq!(text_of(format_args!("{Deaf}"), 4), "more");
        assert_eq!(text_of(format_args!("{Deaf}"), 99), "more than that!");
    }

    #[test]
    fn a_line_stays_one_line() {
        assert_eq!(line("a\nb\u{1b}[31m", 99, false), "a\\nb\\u{1b}[31m");
        assert_eq!(line("two words", 99, false), "two words");
        assert_eq!(line("two \"words\"", 99, true), r#""two \"words\"""#);
        assert_eq!(line("word", 99, true), "word");
        assert_eq!(line("", 99, true), r#""""#);
        assert_eq!(line("ünïcödé", 3, true), "ünï…");
    }

    #[test]
    fn what_turns_or_hides_a_text_is_escaped() {
        for c in [
            '\0',
            '\n',
            '\t',
            '\u{1b}',
            '\u{7f}',
            '\u{85}',
            '\u{9b}',
            '\u{ad}',
            '\u{61c}',
            '\u{200b}',
            '\u{200e}',
            '\u{200f}',
            '\u{2028}',
            '\u{2029}',
            '\u{202a}',
            '\u{202e}',
            '\u{2066}',
            '\u{2069}',
            '\u{feff}',
            '\u{e0001}',
            '\u{e0041}',
        ] {
            let text = format!("a{c}b");
            let expected = format!("a{}b", c.escape_default());
            assert_eq!(shown(&text), expected);
            assert_eq!(line(&text, 99, true), expected);
        }
        let plain = "Zürich, 東京, שלום, e\u{301}, 👍";
        assert!(matches!(shown(plain), Cow::Borrowed(same) if same == plain));
    }

    #[test]
    fn a_url_shows_no_secret_however_it_is_broken() {
        for (text, shown) in [
            ("https://h:4318/v1", "https://h:4318/v1"),
            ("h:4317", "h:4317"),
            ("https://u:SECRET@h/p", "https://[masked]@h/p"),
            ("https:/u:SECRET@h", "https:/[masked]@h"),
            ("https:u:SECRET@h", "[masked]@h"),
            ("https//u:SECRET@h", "[masked]@h"),
            ("u:SECRET@h:4317", "[masked]@h:4317"),
            ("https://u:SEC/RET@h", "https://[masked]@h"),
            ("https://u:SEC?RET@h", "https://[masked]@h"),
            ("https://u:S@CRET@h", "https://[masked]@h"),
            ("https://h/p?api_key=SECRET", "https://h/p?[masked]"),
            ("https://h#SECRET", "https://h?[masked]"),
            ("h?SECRET", "h?[masked]"),
            ("", ""),
        ] {
            assert_eq!(url(text), shown, "{text}");
        }
    }
}
