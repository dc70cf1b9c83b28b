//! Code of `docs/recipes.md` that needs a crate which this one does not have is code of an application
//! in `tests/graphs`, word by word. And code of any page, once copied, does not fail with its telemetry.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::sources::assert_none;

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

#[test]
fn copied_code_does_not_fail_with_its_telemetry() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages = vec![root.join("README.md")];
    for entry in fs::read_dir(root.join("docs")).unwrap() {
        pages.push(entry.unwrap().path());
    }
    let mut found = BTreeSet::new();
    let mut blocks = 0;
    for page in pages
        .iter()
        .filter(|p| p.extension().is_some_and(|e| e == "md"))
    {
        let text = fs::read_to_string(page).unwrap();
        for block in text.split("```").skip(1).step_by(2) {
            blocks += 1;
            let lines = failing(block).into_iter();
            found.extend(lines.map(|line| format!("{}: {line}", page.display())));
        }
    }
    assert!(blocks > 40, "{blocks} blocks are too few");
    assert_none(&found);
}

/// Lines that return the error of a flush or a shutdown. In a test with its own collector they may.
fn failing(block: &str) -> Vec<&str> {
    if block.contains("Collector::start") {
        return Vec::new();
    }
    let lines = block.lines().filter(|line| !line.starts_with('-'));
    let lines = lines.filter(|line| {
        ["shutdown", "flush", ".pipeline"]
            .iter()
            .any(|end| line.split(end).skip(1).any(|rest| rest.contains('?')))
    });
    lines.collect()
}

#[test]
fn lines_that_fail_are_found() {
    let block = "\n-provider.shutdown()?;\n+guard.shutdown(soon).await?;\nended.pipeline?;\nguard.shutdown(soon);\n";
    assert_eq!(
        failing(block),
        ["+guard.shutdown(soon).await?;", "ended.pipeline?;"]
    );
    assert!(failing("Collector::start();\nguard.shutdown(soon)?;").is_empty());
}
