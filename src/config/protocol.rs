//! How requests are encoded: [`Protocol`] and [`Compression`].

/// The protocol of OTLP; `OTEL_EXPORTER_OTLP_PROTOCOL`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protocol {
    /// gRPC, by default on port 4317.
    Grpc,
    /// HTTP with protobuf bodies, by default on port 4318.
    HttpProtobuf,
    /// HTTP with JSON bodies, by default on port 4318 (feature `http-json`; without it, an error at
    /// build). Larger and slower than protobuf: for endpoints that accept nothing else.
    HttpJson,
}

/// The compression of requests; `OTEL_EXPORTER_OTLP_COMPRESSION`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Compression {
    /// No compression.
    #[default]
    None,
    /// With gzip (feature `gzip`; without it, an error at build).
    Gzip,
    /// With Zstandard (feature `zstd`; without it, an error at build): smaller than gzip for a fraction
    /// of its time. OpenTelemetry's specification names `none` and `gzip` only; its Collector reads
    /// this too.
    Zstd,
}
