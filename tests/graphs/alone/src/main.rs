//! Nothing else in the application uses rustls: TLS works by the default features alone.

#[path = "../../pipeline.rs"]
mod pipeline;

fn main() {
    pipeline::build().expect("the default features speak TLS");
}
