//! `thread.id` and `thread.name` of the recording thread, encoded once a thread (THR-1).

use std::cell::OnceCell;
use std::thread;

use super::attributes::AttributeWriter;
use super::callsite::{Callsite, StaticAttributes};
use crate::attribute::Value;
use crate::semconv;
use crate::wire::log_record::LOG_ATTRIBUTE;
use crate::wire::span::SPAN_ATTRIBUTE;
use crate::wire::value::{ValueRef, put_key_value};

thread_local! {
    static THREAD: OnceCell<StaticAttributes> = const { OnceCell::new() };
    static OF_LOGS: OnceCell<StaticAttributes> = const { OnceCell::new() };
}

impl AttributeWriter<'_> {
    /// Adds the attributes of the calling thread.
    pub(super) fn put_thread(&mut self, callsite: &Callsite) {
        let fields = callsite.metadata.fields();
        let is_field = |key: &[u8]| fields.iter().any(|f| f.name().as_bytes() == key);
        let is_log = self.tag == LOG_ATTRIBUTE;
        let thread = if is_log { &OF_LOGS } else { &THREAD };
        let tag = if is_log {
            LOG_ATTRIBUTE
        } else {
            SPAN_ATTRIBUTE
        };
        let _ = thread.try_with(|attributes| {
            self.put_where_absent(attributes.get_or_init(|| encode(tag)), is_field);
        });
    }
}

fn encode(tag: u8) -> StaticAttributes {
    let thread = thread::current();
    let mut bytes = Vec::new();
    let mut count = 0;
    // The standard library shows the number only in `ThreadId(7)`.
    let id = format!("{:?}", thread.id());
    let digits: String = id.chars().filter(char::is_ascii_digit).collect();
    if let Ok(id) = digits.parse::<u64>() {
        put_key_value(&mut bytes, tag, semconv::THREAD_ID, &Value::from(id));
        count += 1;
    }
    if let Some(name) = thread.name() {
        let name = ValueRef::String(name);
        put_key_value(&mut bytes, tag, semconv::THREAD_NAME, name);
        count += 1;
    }
    StaticAttributes {
        bytes: bytes.into(),
        count,
    }
}
