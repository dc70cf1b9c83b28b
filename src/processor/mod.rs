//! The way from a closed span to the exporter.
