//! A pipeline with an `https` endpoint.

pub fn build() -> Result<(), tracing_otlp::Error> {
    let builder = tracing_otlp::builder().with_endpoint("https://127.0.0.1:4318");
    builder.build().map(drop)
}
