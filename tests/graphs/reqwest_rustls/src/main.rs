//! reqwest, as the AWS SDK, brings rustls with aws-lc-rs: the application's own use of rustls goes on
//! as if there were no telemetry.

#[path = "../../pipeline.rs"]
mod pipeline;

fn main() {
    pipeline::build().expect("TLS by the provider that is there");
    assert!(rustls::crypto::CryptoProvider::get_default().is_none());
    let _ = rustls::ClientConfig::builder();
    reqwest::Client::builder().build().expect("a client");
    pipeline::build().expect("TLS by the provider that is installed now");
}
