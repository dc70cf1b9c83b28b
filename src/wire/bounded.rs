//! Values within a limit of their length and a budget of memory: formatting stops where either ends, so a
//! large value costs no more than what is kept of it.

use std::fmt::{self, Write as _};

use crate::text::beginning;

/// The limit of a value's length (LIM-2).
#[derive(Debug, Clone, Copy)]
pub(crate) struct ValueLimit {
    /// Characters of a string, bytes of a byte array.
    pub(crate) length: usize,
}

impl ValueLimit {
    pub(crate) const NONE: Self = Self { length: usize::MAX };

    /// The end beyond which a text from `start` certainly exceeds the limit: a character has at most four
    /// bytes.
    #[inline(always)]
    fn end(&self, start: usize) -> usize {
        match self.length {
            usize::MAX => usize::MAX,
            length => start.saturating_add(length.saturating_add(1).saturating_mul(4)),
        }
    }
}

/// The budget from which a buffer takes memory beyond its capacity.
pub(crate) trait Room: std::fmt::Debug {
    /// Grows `out` by `more` bytes; false if the budget is used up.
    fn make_room(&mut self, out: &mut Vec<u8>, more: usize) -> bool;

    /// Reserves memory for a text beside the buffer that grows from `was` to `now` bytes.
    fn keep_text(&mut self, was: usize, now: usize) -> bool;

    /// Counts a value that is left out for lack of memory.
    fn leave_out(&mut self);
}

/// No budget: any amount.
#[cfg(any(test, fuzzing))]
#[derive(Debug)]
pub(crate) struct Unbounded;

#[cfg(any(test, fuzzing))]
impl Room for Unbounded {
    fn make_room(&mut self, _: &mut Vec<u8>, _: usize) -> bool {
        true
    }

    fn keep_text(&mut self, _: usize, _: usize) -> bool {
        true
    }

    fn leave_out(&mut self) {}
}

/// Why a value is not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unwritten {
    /// The value's `fmt` returned an error.
    Failed,
    /// The budget is used up.
    NoRoom,
}

/// Appends the formatted `value`. After an error a part of it may be appended. Formatting stops at the
/// limit.
#[inline(always)]
pub(crate) fn format_into(
    out: &mut Vec<u8>,
    limit: &ValueLimit,
    room: &mut dyn Room,
    value: fmt::Arguments<'_>,
) -> Result<(), Unwritten> {
    let start = out.len();
    let mut bounded = Bounded {
        end: out.capacity().min(limit.end(start)),
        limit: limit.end(start),
        out,
        room,
        is_over: None,
    };
    let formatted = bounded.write_fmt(value);
    if let Some(over) = bounded.is_over {
        return not_all(out, start, limit, over);
    }
    if formatted.is_err() {
        return Err(Unwritten::Failed);
    }
    if limit.length != usize::MAX {
        // Never fails, because only whole `str`s were appended.
        let text = std::str::from_utf8(&out[start..]).unwrap_or_default();
        let kept = truncate(text, limit.length).len();
        out.truncate(start + kept);
    }
    Ok(())
}

/// Ends a value of which only a part was appended: that part may already reach the limit, and is then
/// all that the limit allows.
#[cold]
#[inline(never)]
fn not_all(
    out: &mut Vec<u8>,
    start: usize,
    limit: &ValueLimit,
    over: Over,
) -> Result<(), Unwritten> {
    let text = std::str::from_utf8(&out[start..]).unwrap_or_default();
    match (text.char_indices().nth(limit.length), over) {
        (Some((at, _)), _) => {
            out.truncate(start + at);
            Ok(())
        }
        // It was cut between two characters.
        (None, Over::Limit) => Ok(()),
        (None, Over::Room) => Err(Unwritten::NoRoom),
    }
}

/// The formatted text of a foreign value, up to an error, the limit or the budget; a cut is counted.
#[cold]
pub(crate) fn text_within(room: &mut dyn Room, value: fmt::Arguments<'_>) -> String {
    let mut text = Vec::new();
    if let Err(Unwritten::NoRoom) = format_into(&mut text, &ValueLimit::NONE, room, value) {
        room.leave_out();
    }
    String::from_utf8(text).unwrap_or_default()
}

/// Formats a foreign value up to its error: the text is cut there, and the attribute is kept.
pub(crate) struct AsFarAsItGoes<T>(pub(crate) T);

impl<T: fmt::Display> fmt::Display for AsFarAsItGoes<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The writer itself remembers why it stopped.
        let _ = write!(f, "{}", self.0);
        Ok(())
    }
}

/// The first `limit` characters.
#[inline(always)]
pub(crate) fn truncate(value: &str, limit: usize) -> &str {
    if value.len() <= limit {
        return value;
    }
    match value.char_indices().nth(limit) {
        Some((at, _)) => &value[..at],
        None => value,
    }
}

/// Appends to a buffer up to a limit and within the budget.
struct Bounded<'a> {
    out: &'a mut Vec<u8>,
    room: &'a mut dyn Room,
    /// The length at which the next check is due: the capacity, or the limit.
    end: usize,
    limit: usize,
    /// The error after which no more is appended.
    is_over: Option<Over>,
}

#[derive(Debug, Clone, Copy)]
enum Over {
    Limit,
    Room,
}

impl Bounded<'_> {
    /// Grows the buffer for `s`; if that fails, appends the part that fits.
    #[cold]
    #[inline(never)]
    fn make_room(&mut self, s: &str) -> fmt::Result {
        if self.is_over.is_some() {
            return Err(fmt::Error);
        }
        let len = self.out.len();
        let part = beginning(s, self.limit - len);
        if self.room.make_room(self.out, part.len()) {
            self.end = self.limit.min(self.out.capacity().max(len + part.len()));
            if part.len() == s.len() {
                return Ok(());
            }
            self.out.extend_from_slice(part.as_bytes());
            return self.stop(Over::Limit);
        }
        let left = self.out.capacity() - len;
        self.out.extend_from_slice(beginning(part, left).as_bytes());
        self.stop(Over::Room)
    }

    /// A `fmt` that ignores the error may write again. That is discarded too, so that the text has no
    /// gap.
    fn stop(&mut self, over: Over) -> fmt::Result {
        self.is_over = Some(over);
        self.end = 0;
        Err(fmt::Error)
    }
}

impl fmt::Write for Bounded<'_> {
    #[inline]
    fn write_str(&mut self, s: &str) -> fmt::Result {
        if self.out.len() + s.len() > self.end {
            self.make_room(s)?;
        }
        self.out.extend_from_slice(s.as_bytes());
        Ok(())
    }
}
