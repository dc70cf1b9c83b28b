//! Code of `docs/recipes.md` that needs a crate which this one does not have is code of an application
//! in `tests/graphs`, word by word.

use std::fs;
use std::path::Path;

#[test]
fn the_middleware_for_actix_web_is_that_of_the_application() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/recipes.md")).unwrap();
    let file = fs::read_to_string(root.join("tests/graphs/actix/src/trace.rs")).unwrap();
    let code: Vec<&str> = file
        .lines()
        .filter(|line| !line.starts_with("//!"))
        .collect();
    let shown: Vec<&str> = page.split("```rust,ignore\n").skip(1).collect();
    let [shown] = shown[..] else {
        panic!(
            "{} blocks are not compiled, and only that of actix-web has an application",
            shown.len()
        );
    };
    let shown = shown.split("\n```\n").next().unwrap();
    assert_eq!(shown.trim(), code.join("\n").trim());
}
