//! `src/layer/mod.rs` shows the way of a span: each callback of the layer has at most 8 lines.
//!
//! Blank lines and comments do not count.

use std::collections::BTreeSet;

use crate::sources::{assert_none, files};

const LIMIT: usize = 8;

#[test]
fn a_callback_has_at_most_eight_lines() {
    let files = files();
    let file = files.iter().find(|file| file.path == "layer/mod.rs");
    let code = &file.unwrap().code;
    let at = code.find("Layer<S> for OtlpLayer").unwrap();
    let block = &code[at..];
    let block = &block[..block.find("\n}\n").unwrap()];
    let callbacks = callbacks(block);
    assert!(callbacks.len() >= 8, "{callbacks:?}");
    let mut broken = BTreeSet::new();
    for (name, lines) in &callbacks {
        if *lines > LIMIT {
            broken.insert(format!("`{name}` has {lines} lines, at most {LIMIT}"));
        }
    }
    assert_none(&broken);
}

/// Each function of a block, and the lines of its body.
fn callbacks(block: &str) -> Vec<(String, usize)> {
    let mut found: Vec<(String, usize)> = Vec::new();
    let mut is_inside = false;
    for line in block.lines() {
        if let Some(rest) = line.strip_prefix("    fn ") {
            let end = rest.find(['(', '<']).unwrap_or(rest.len());
            found.push((rest[..end].to_owned(), 0));
            is_inside = line.ends_with('{');
        } else if line.starts_with("    }") || line.starts_with("    ) ") {
            // The end of a body, or of a signature of several lines.
            is_inside = line.ends_with('{');
        } else if is_inside && !line.trim().is_empty() {
            found.last_mut().unwrap().1 += 1;
        }
    }
    found
}

#[test]
fn lines_of_a_body_are_counted() {
    let block = "    fn short(&self) {\n        a();\n\n        b();\n    }\n    fn wide(\n        \
                 &self,\n    ) -> bool {\n        if a() {\n            b();\n        }\n    }\n";
    let counted = callbacks(block);
    assert_eq!(counted, [("short".to_owned(), 2), ("wide".to_owned(), 3)]);
}
