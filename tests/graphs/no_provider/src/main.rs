//! `tls` without any provider: an error that names what helps; and what helps, installed at run time.

#[path = "../../pipeline.rs"]
mod pipeline;

fn main() {
    let error = pipeline::build().expect_err("there is no cryptography");
    let text = error.to_string();
    for name in ["tls-ring", "tls-aws-lc", "install_default"] {
        assert!(text.contains(name), "{name}: {text}");
    }
    assert!(error.is_config(), "{error:?}");
    println!("{text}");

    let json = tracing_otlp::builder().with_protocol(tracing_otlp::Protocol::HttpJson);
    let error = json.build().expect_err("no JSON").to_string();
    assert!(error.contains("feature `http-json`"), "{error}");
}
