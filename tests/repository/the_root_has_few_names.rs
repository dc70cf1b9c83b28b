//! The public names at the root of the crate, all of them. A new one is listed here, and has a reason to
//! stand there and not in its module.

use std::collections::BTreeSet;

use crate::sources::files;

/// Functions and types.
const NAMES: &[&str] = &[
    "ConfigStore",
    "DropReason",
    "Error",
    "Events",
    "GracefulShutdown",
    "KeyValue",
    "OtlpBuilder",
    "OtlpConfig",
    "OtlpLayer",
    "Protocol",
    "Resource",
    "ShutdownGuard",
    "SpanExt",
    "SpanId",
    "SpanKind",
    "Stats",
    "Status",
    "TraceContext",
    "TraceId",
    "Value",
    "builder",
    "init",
    "registry",
    "subscriber",
    "viewer",
];

const MODULES: &[&str] = &[
    "config",
    "context",
    "diagnostics",
    "export",
    "fmt",
    "graceful",
    "guard",
    "guide",
    "init",
    "middleware",
    "otel",
    "processor",
    "propagation",
    "registry",
    "runtime_config",
    "sampler",
    "stats",
    "testing",
    "viewer",
];

/// Public for the fuzz targets alone, and in no build of a user.
const HIDDEN: &[&str] = &["fuzzing"];

#[test]
fn every_public_name_at_the_root_is_listed() {
    let files = files();
    let code = &files
        .iter()
        .find(|file| file.path == "lib.rs")
        .unwrap()
        .code;
    let (names, modules) = public_names(code);
    assert_eq!(names, NAMES.iter().copied().collect());
    let listed = MODULES.iter().chain(HIDDEN);
    assert_eq!(modules, listed.copied().collect());
}

#[test]
fn the_root_has_at_most_25_names() {
    assert!(NAMES.len() <= 25, "{}", NAMES.len());
}

/// Public items and public modules of a file.
fn public_names(code: &str) -> (BTreeSet<&str>, BTreeSet<&str>) {
    let (mut names, mut modules) = (BTreeSet::new(), BTreeSet::new());
    for (at, _) in code.match_indices("pub ") {
        let (kind, rest) = code[at + 4..].split_once(' ').unwrap();
        match kind {
            "use" => {
                let list = &rest[..rest.find(';').unwrap()];
                let words = list.split(|c: char| !(c.is_alphanumeric() || c == '_'));
                // A name is what a comma, a brace or the end follows.
                for word in words.filter(|word| !word.is_empty()) {
                    let end = word.as_ptr().addr() + word.len() - list.as_ptr().addr();
                    if !list[end..].trim_start().starts_with("::") {
                        names.insert(word);
                    }
                }
            }
            _ => {
                let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
                let name = &rest[..end.unwrap_or(rest.len())];
                let set = if kind == "mod" {
                    &mut modules
                } else {
                    &mut names
                };
                set.insert(name);
            }
        }
    }
    (names, modules)
}

#[test]
fn names_of_a_root_are_found() {
    let code = "pub mod a;\nmod b;\npub use self::{\n    a::{C, d},\n    b::E,\n};\npub use b::F;\npub fn g() {}\n";
    let (names, modules) = public_names(code);
    assert_eq!(names, ["C", "E", "F", "d", "g"].into());
    assert_eq!(modules, ["a"].into());
}
