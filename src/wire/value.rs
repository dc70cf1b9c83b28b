//! `KeyValue` and `AnyValue`.
