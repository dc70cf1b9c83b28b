//! `src/fuzzing.rs` says what must hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tracing_otlp::fuzzing::log_record(bytes));
