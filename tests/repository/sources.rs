//! The files of `src/` as the tests of this program read them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A file of `src/`: its path from there, and its code without comments and texts.
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) code: String,
    /// Lines of its `#[cfg(test)]` modules, or all of a file of tests.
    pub(crate) tests: String,
}

impl File {
    pub(crate) fn module(&self) -> &str {
        self.path.split('/').next().unwrap().trim_end_matches(".rs")
    }

    pub(crate) fn is_in(&self, place: &str) -> bool {
        self.path == place || self.path.starts_with(&format!("{place}/"))
    }
}

/// The files of `src/`.
pub(crate) fn files() -> Vec<File> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut folders, mut files) = (vec![src.clone()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let name = path.strip_prefix(&src).unwrap().to_str().unwrap();
                let text = code_of(&fs::read_to_string(&path).unwrap());
                let is_test = name.ends_with("tests.rs")
                    || name.contains("/tests/")
                    || name == "processor/loom.rs";
                // A module of tests ends its file.
                let at = match is_test {
                    true => 0,
                    false => text.find("\nmod tests {").unwrap_or(text.len()),
                };
                files.push(File {
                    path: name.replace('\\', "/"),
                    tests: text[at..].to_owned(),
                    code: text[..at].to_owned(),
                });
            }
        }
    }
    assert!(files.len() > 50, "{} files are not the crate", files.len());
    files
}

/// Code without comments.
pub(crate) fn code_of(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let line = line.trim_end();
        match line.trim_start() {
            comment if comment.starts_with("//") => "",
            _ => line.split(" // ").next().unwrap_or_default(),
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The names that follow `prefix` in `code`: one, or those in braces.
pub(crate) fn names_after<'a>(code: &'a str, prefix: &str) -> Vec<&'a str> {
    let word = |text: &'a str| {
        let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
        &text[..end.unwrap_or(text.len())]
    };
    let mut names = Vec::new();
    for (at, _) in code.match_indices(prefix) {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':') {
            continue;
        }
        let rest = &code[at + prefix.len()..];
        match rest.strip_prefix('{') {
            None => names.push(word(rest)),
            Some(list) => {
                // Only the outermost braces: what is inside others belongs to a module.
                let (mut depth, mut is_start) = (0, true);
                for (i, c) in list.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => is_start = true,
                        c if c.is_whitespace() => {}
                        _ if is_start && depth == 0 => {
                            names.push(word(&list[i..]));
                            is_start = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    names
}

/// Fails with one line for each breach.
#[track_caller]
pub(crate) fn assert_none(broken: &BTreeSet<String>) {
    let list: Vec<&str> = broken.iter().map(String::as_str).collect();
    assert!(list.is_empty(), "\n{}\n", list.join("\n"));
}

#[test]
fn names_after_a_prefix_are_found() {
    let code = code_of(
        "use crate::a::B;\nuse crate::{c::{D, e}, F};\n// crate::g::H\nlet x = crate::i::j();\nmycrate::k",
    );
    assert_eq!(names_after(&code, "crate::"), ["a", "c", "F", "i"]);
}
