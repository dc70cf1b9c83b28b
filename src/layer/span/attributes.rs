//! Attributes that are added to an open span: each replaces an earlier one of the same key (TR-8).

use super::OpenSpan;
use crate::attribute::{KeyValue, Value};
use crate::layer::attributes::EncodedAttributes;
use crate::layer::keys::{AttributeIndex, MANY, Vacancy};
use crate::layer::settings::Limits;
use crate::wire::bounded::ValueLimit;
use crate::wire::decode::attribute_value;
use crate::wire::span::{SPAN_ATTRIBUTE, fields, find_attribute, key_of};
use crate::wire::value::put_short_key_value;

impl OpenSpan {
    /// Adds attributes; each replaces an earlier one of the same key (TR-8).
    pub(crate) fn add_attributes(&mut self, encoded: &EncodedAttributes<'_>, count_limit: u32) {
        let len = encoded.bytes.len();
        let has_room = self.reservation.has_room(&self.body, len)
            || self.reservation.grow(&mut self.body, len);
        let state = &mut self.state;
        state.dropped_attributes += encoded.dropped;
        // Disjoint bits mean disjoint keys, so the bytes are appended without a search. A key that is no
        // field's has no bit: with one on either side, each key is looked up.
        let is_new = state.recorded & encoded.recorded == 0 && !state.dynamic && !encoded.dynamic;
        let is_new = is_new || state.attributes == 0 && self.keys.is_none();
        if has_room && is_new && state.attributes + encoded.count <= count_limit {
            self.body.extend_from_slice(encoded.bytes);
            state.attributes += encoded.count;
        } else {
            self.replace_attributes(encoded.bytes, count_limit);
        }
        self.state.recorded |= encoded.recorded;
        self.state.dynamic |= encoded.dynamic;
    }

    /// Sets the first few attributes of a list, as they are encoded, which takes about as long as a copy;
    /// returns how many. The rest may be long, and is encoded before the span is locked.
    #[inline]
    pub(in crate::layer) fn set_short(
        &mut self,
        attributes: &[KeyValue],
        limits: &Limits,
    ) -> usize {
        /// So many are set under one lock of the span.
        const FEW: usize = 32;
        let mut set = 0;
        // A long list is worth an index from the start.
        if attributes.len() > MANY as usize && self.keys.is_none() {
            self.make_index();
        }
        for attribute in attributes.iter().take(FEW) {
            let Some(len) = len_if_short(attribute, &limits.value) else {
                break;
            };
            self.set_one(attribute, len, limits.attributes);
            set += 1;
        }
        set
    }

    /// `len` is an upper bound of the encoded length.
    #[inline]
    fn set_one(&mut self, KeyValue { key, value }: &KeyValue, len: usize, count_limit: u32) {
        // An empty key is invalid (TR-8).
        if key.is_empty() {
            self.state.dropped_attributes += 1;
            return;
        }
        let place = self.remove_earlier(key.as_bytes());
        if self.state.attributes >= count_limit {
            self.state.dropped_attributes += 1;
        } else if self.make_room(len) {
            let at = self.body.len();
            put_short_key_value(&mut self.body, SPAN_ATTRIBUTE, key, value);
            self.state.attributes += 1;
            self.state.dynamic = true;
            self.note_key(place, at);
        } else {
            self.state.dropped_attributes += 1;
            self.reservation.left_out += 1;
        }
    }

    pub(super) fn attribute(&self, key: &str) -> Option<Value> {
        attribute_value(&self.body, SPAN_ATTRIBUTE, key)
    }

    pub(super) fn remove_attribute(&mut self, key: &[u8]) {
        // First, because it moves the attributes.
        self.tidy();
        if let Some(at) = find_attribute(&self.body, SPAN_ATTRIBUTE, key) {
            self.body.drain(at);
            self.state.attributes -= 1;
        }
    }

    /// Adds attributes whose keys may be present already.
    #[cold]
    #[inline(never)]
    fn replace_attributes(&mut self, bytes: &[u8], count_limit: u32) {
        for (_, content, whole) in fields(bytes) {
            let Some(key) = key_of(content) else { continue };
            let place = self.remove_earlier(key);
            if self.state.attributes >= count_limit {
                self.state.dropped_attributes += 1;
            } else if self.make_room(whole.len()) {
                let at = self.body.len();
                self.body.extend_from_slice(whole);
                self.state.attributes += 1;
                self.note_key(place, at);
            } else {
                self.state.dropped_attributes += 1;
                self.reservation.left_out += 1;
            }
        }
    }

    /// Removes the attribute of a key that is set again; returns the key's place where there is an index.
    #[inline]
    fn remove_earlier(&mut self, key: &[u8]) -> Option<Vacancy> {
        if self.keys.is_none() && !self.begin_index() {
            self.remove_attribute(key);
            return None;
        }
        let keys = self.keys.as_mut()?;
        let replaced = keys.replace(key, SPAN_ATTRIBUTE, &mut self.body);
        if replaced.was_there {
            self.state.attributes -= 1;
            if keys.is_wasteful(&self.body) {
                self.tidy();
            }
        }
        Some(replaced.vacancy)
    }

    /// Makes an index if the span has many fields and has been searched often enough to be worth it; false
    /// without one.
    #[inline]
    fn begin_index(&mut self) -> bool {
        /// So many searches cost as much as an index.
        const SEARCHES: u8 = 4;
        let state = &mut self.state;
        let fields = state.attributes.saturating_add(state.events);
        if fields.saturating_add(state.links) < MANY {
            return false;
        }
        state.searches = state.searches.saturating_add(1);
        state.searches > SEARCHES && self.make_index()
    }

    #[cold]
    #[inline(never)]
    fn make_index(&mut self) -> bool {
        let mut keys = AttributeIndex::take();
        keys.begin_with(&self.body, SPAN_ATTRIBUTE, self.state.attributes);
        self.keys = Some(keys);
        // Without the index each attribute costs a search, but memory for many is missing too.
        if !self.count_index() {
            self.tidy();
            return false;
        }
        // From now on each new attribute is looked up and noted in the index.
        self.state.dynamic = true;
        true
    }

    /// Counts the bytes of the index after a change; false without memory for them.
    fn count_index(&mut self) -> bool {
        let Some(keys) = &mut self.keys else {
            return true;
        };
        let size = keys.size();
        let granted = keys.counted == size || self.reservation.keep(keys.counted, size);
        if granted {
            keys.counted = size;
        }
        granted
    }

    #[inline]
    fn note_key(&mut self, place: Option<Vacancy>, at: usize) {
        let (Some(place), Some(keys)) = (place, &mut self.keys) else {
            return;
        };
        keys.fill(place, at);
        if keys.size() != keys.counted && !self.count_index() {
            self.tidy();
        }
    }

    #[inline]
    pub(in crate::layer) fn has_rare(&self) -> bool {
        self.rare.is_some() || self.keys.is_some()
    }

    /// Drops the index of attributes, and removes the replaced ones from `body`.
    #[inline]
    pub(in crate::layer) fn tidy(&mut self) {
        if self.keys.is_some() {
            self.end_index();
        }
    }

    #[cold]
    #[inline(never)]
    fn end_index(&mut self) {
        if let Some(mut keys) = self.keys.take() {
            keys.clean(&mut self.body, 0);
            let _ = self.reservation.keep(keys.counted, 0);
            keys.counted = 0;
            keys.give();
        }
    }
}

/// An upper bound of the encoded length of an attribute that is short and within the limit of its value;
/// `None` for others.
#[inline]
fn len_if_short(attribute: &KeyValue, limit: &ValueLimit) -> Option<usize> {
    const LONGEST: usize = 256;
    /// Tags, lengths and a number, with what is copied beyond it.
    const BESIDE: usize = 32;
    let value = match &attribute.value {
        Value::Bool(_) | Value::Int(_) | Value::Double(_) => 0,
        Value::String(text) if text.len() <= limit.length => text.len(),
        _ => return None,
    };
    let len = attribute.key.len().saturating_add(value);
    (len <= LONGEST).then_some(len + BESIDE)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail by panicking")]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::layer::attributes::AttributeWriter;
    use crate::pool::Memory;
    use crate::wire::bounded::Unbounded;
    use crate::wire::span::SPAN_EVENT;

    /// Keys of all lengths up to 60, some of one length.
    fn key(n: usize) -> String {
        format!("{:k<width$}{n}", "", width = n % 57)
    }

    fn limits(attributes: u32) -> Limits {
        Limits {
            value: ValueLimit::NONE,
            attributes,
            events: 0,
            links: 0,
            event_attributes: 0,
            link_attributes: 0,
        }
    }

    fn set_all(span: &mut OpenSpan, mut attributes: &[KeyValue], limits: &Limits) {
        while !attributes.is_empty() {
            let set = span.set_short(attributes, limits);
            attributes = &attributes[set..];
        }
    }

    fn attributes_of(span: &OpenSpan) -> Vec<(String, Value)> {
        let attributes = fields(&span.body).filter(|(tag, ..)| *tag == SPAN_ATTRIBUTE);
        let keys = attributes.map(|(_, content, _)| key_of(content).unwrap());
        let keys: Vec<_> = keys
            .map(|k| str::from_utf8(k).unwrap().to_owned())
            .collect();
        let with_value = |key: String| {
            let value = span.attribute(&key).unwrap();
            (key, value)
        };
        keys.into_iter().map(with_value).collect()
    }

    proptest! {
        /// As a list in which a key that is set again leaves its place (TR-8), whatever comes between, and
        /// however many there are.
        #[test]
        fn a_later_value_of_a_key_replaces_the_former(
            steps in prop::collection::vec((0usize..6, 0usize..300, 1usize..80), 1..200),
            limit in prop::sample::select(vec![5u32, 128, 1000]),
        ) {
            let memory = Memory::new(64 << 20);
            let reservation = crate::layer::memory::Reservation::first(&memory).unwrap();
            let mut span = OpenSpan::new(reservation);
            let limits = limits(limit);
            let (mut model, mut dropped) = (Vec::<(String, Value)>::new(), 0);
            for (at, (kind, first, count)) in steps.into_iter().enumerate() {
                let list: Vec<KeyValue> = match kind {
                    0 => {
                        span.add_field(SPAN_EVENT, &[0; 40]);
                        span.state.events += 1;
                        continue;
                    }
                    1 => (first..first + count).map(|n| KeyValue::new(key(n), at as i64)).collect(),
                    2 => vec![KeyValue::new(key(first), "long".repeat(first))],
                    _ => vec![KeyValue::new(key(first), at as i64)],
                };
                if kind == 2 {
                    let (mut out, mut room) = (Vec::new(), Unbounded);
                    let mut row = AttributeWriter::new(
                        (&mut out, &mut room), SPAN_ATTRIBUTE, &limits.value, limits.attributes,
                    );
                    row.put_many(&list);
                    let written = row.written();
                    let encoded = EncodedAttributes { bytes: &out, ..written };
                    span.add_attributes(&encoded, limits.attributes);
                } else {
                    set_all(&mut span, &list, &limits);
                }
                for KeyValue { key, value } in list {
                    model.retain(|(k, _)| **k != *key);
                    if model.len() < limits.attributes as usize {
                        model.push((key.into_owned(), value));
                    } else {
                        dropped += 1;
                    }
                }
                prop_assert_eq!(span.state.attributes as usize, model.len());
            }
            prop_assert_eq!(span.state.dropped_attributes, dropped);
            span.tidy();
            prop_assert_eq!(attributes_of(&span), model);
            prop_assert!(memory.growth.used() + 512 >= span.body.capacity());
            drop(span);
            prop_assert_eq!(memory.used(), 0);
        }

        /// One list with repeated keys, as an event or a link takes it.
        #[test]
        fn a_list_keeps_the_last_value_of_each_key(
            keys in prop::collection::vec(0usize..150, 17..400),
            limit in prop::sample::select(vec![5u32, 128, 1000]),
        ) {
            let list: Vec<_> = keys.iter().zip(0i64..).map(|(n, v)| KeyValue::new(key(*n), v)).collect();
            let (mut out, mut room) = (b"\x0a\x01x".to_vec(), Unbounded);
            let mut row =
                AttributeWriter::new((&mut out, &mut room), SPAN_ATTRIBUTE, &ValueLimit::NONE, limit);
            row.put_many(&list);
            let count = row.count;
            let mut model = Vec::<(String, Value)>::new();
            for KeyValue { key, value } in list {
                model.retain(|(k, _)| **k != *key);
                if model.len() < limit as usize {
                    model.push((key.into_owned(), value));
                }
            }
            let span = OpenSpan {
                body: out.split_off(3),
                ..OpenSpan::default()
            };
            prop_assert_eq!(attributes_of(&span), model);
            prop_assert_eq!(count as usize, span_len(&span));
        }
    }

    fn span_len(span: &OpenSpan) -> usize {
        attributes_of(span).len()
    }
}
