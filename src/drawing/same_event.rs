//! [`RecordName`]: whether a span event and a log record are the same event.
//!
//! An event that is exported as both has one span and one time in both, and the body of the record is the name of the
//! span event. An exception is named `exception`, and an event without a message by its callsite.

use std::borrow::Cow;

const EXCEPTION: &str = "exception";
/// What the attributes of an exception begin with.
const OF_EXCEPTION: &str = "exception.";
/// What the default name of a callsite begins with; the place in the source follows.
const OF_CALLSITE: &str = "event ";

/// What a log record says of the name that its span event has.
#[derive(Debug, Clone)]
pub(crate) struct RecordName<'a> {
    /// As text; `None`: the record has none.
    pub(crate) body: Option<Cow<'a, str>>,
    /// Empty: none.
    pub(crate) event_name: &'a str,
    /// Whether it has attributes of an exception.
    pub(crate) is_exception: bool,
}

impl<'a> RecordName<'a> {
    pub(crate) fn new(
        body: Option<Cow<'a, str>>,
        event_name: &'a str,
        mut keys: impl Iterator<Item = &'a str>,
    ) -> Self {
        Self {
            body,
            event_name,
            is_exception: keys.any(|key| key.starts_with(OF_EXCEPTION)),
        }
    }

    /// Whether a span event of this name, in the same span at the same time, is the same event.
    pub(crate) fn fits(&self, event: &str) -> bool {
        if self.is_exception && event == EXCEPTION {
            return true;
        }
        match (&self.body, self.event_name) {
            (Some(body), _) if body == event => true,
            (None, "") => event.starts_with(OF_CALLSITE),
            (_, name) => !name.is_empty() && name == event,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_knows_the_names_of_its_span_event() {
        let name = |body: Option<&'static str>, event_name, key| {
            RecordName::new(body.map(Cow::from), event_name, std::iter::once(key))
        };
        for (record, event, fits) in [
            (name(Some("paid"), "", "n"), "paid", true),
            (name(Some("paid"), "", "n"), "refused", false),
            (name(Some("paid"), "", "n"), "exception", false),
            (name(Some("paid"), "payment", "n"), "payment", true),
            (name(Some("paid"), "payment", "n"), "paid", true),
            (
                name(Some("it broke"), "", "exception.message"),
                "exception",
                true,
            ),
            (name(None, "", "n"), "event src/main.rs:12", true),
            (name(None, "", "n"), "paid", false),
            (name(None, "payment", "n"), "payment", true),
            (name(None, "payment", "n"), "event src/main.rs:12", false),
        ] {
            assert_eq!(record.fits(event), fits, "{record:?} {event}");
        }
    }
}
