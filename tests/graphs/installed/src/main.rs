//! The application installs a provider of its own choice, before the pipeline is built (`before`) or
//! after it (`after`): either way nobody was there first.

#[path = "../../pipeline.rs"]
mod pipeline;

fn main() {
    let is_before = match std::env::args().nth(1).as_deref() {
        Some("before") => true,
        Some("after") => false,
        _ => panic!("say `before` or `after`"),
    };
    if is_before {
        install();
    }
    pipeline::build().expect("TLS");
    if !is_before {
        install();
    }
    let _ = rustls::ClientConfig::builder();
    pipeline::build().expect("TLS");
}

fn install() {
    let provider = rustls::crypto::ring::default_provider();
    provider.install_default().expect("nobody was there first");
}
