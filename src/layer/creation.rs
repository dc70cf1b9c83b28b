//! The fields of a new span as a sampler reads them: one at a time.

use std::fmt::Debug;

use tracing_core::Field;
use tracing_core::field::Visit;
use tracing_core::span::Attributes;

use crate::attribute::Value;
use crate::sampler::Fields;
use crate::text::beginning;
use crate::text::text_of;

/// The longest text that a sampler gets, in bytes.
const LONGEST_TEXT: usize = 64 << 10;

impl Fields for Attributes<'_> {
    fn value(&self, key: &str) -> Option<Value> {
        // Most spans do not have the field; then no field is visited.
        self.metadata().fields().field(key)?;
        let mut wanted = OneField { key, value: None };
        self.record(&mut wanted);
        wanted.value
    }
}

/// Takes the value of one field and formats no other.
struct OneField<'a> {
    key: &'a str,
    value: Option<Value>,
}

impl OneField<'_> {
    fn take(&mut self, field: &Field, value: impl FnOnce() -> Value) {
        if field.name() == self.key {
            self.value = Some(value());
        }
    }
}

impl Visit for OneField<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.take(field, || value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.take(field, || value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.take(field, || value.into());
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.take(field, || match i64::try_from(value) {
            Ok(value) => value.into(),
            Err(_) => value.to_string().into(),
        });
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.take(field, || match i64::try_from(value) {
            Ok(value) => value.into(),
            Err(_) => value.to_string().into(),
        });
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.take(field, || value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, || beginning(value, LONGEST_TEXT).to_owned().into());
    }

    fn record_bytes(&mut self, field: &Field, value: &[u8]) {
        self.take(field, || {
            value[..value.len().min(LONGEST_TEXT)].to_vec().into()
        });
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.take(field, || {
            text_of(format_args!("{value:?}"), LONGEST_TEXT).into()
        });
    }
}
