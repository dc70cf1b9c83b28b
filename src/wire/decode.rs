//! Reads back what was written: spans from bytes, for exporters that want structure.
