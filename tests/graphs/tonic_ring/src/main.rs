//! tonic with `tls-ring` brings rustls with ring: the application's own use of rustls goes on as if there
//! were no telemetry.

#[path = "../../pipeline.rs"]
mod pipeline;

fn main() {
    pipeline::build().expect("TLS by the provider that is there");
    assert!(rustls::crypto::CryptoProvider::get_default().is_none());
    let _ = rustls::ClientConfig::builder();
    let endpoint = tonic::transport::Endpoint::from_static("https://127.0.0.1:443");
    let tls = tonic::transport::ClientTlsConfig::new();
    endpoint.tls_config(tls).expect("an endpoint with TLS");
    pipeline::build().expect("TLS by the provider that is installed now");
}
