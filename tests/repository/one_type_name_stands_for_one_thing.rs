//! A type name of `src/` is defined in one file.
//!
//! Types inside of functions and implementations do not count, and neither do the files that replace a
//! module in another build: `no_*.rs`, `graceful/ctrl_c.rs`.

use std::collections::{BTreeMap, BTreeSet};

use crate::sources::{assert_none, files};

/// Names that several files define, and the number of these files: none. A line that says too much fails as well.
const TWICE: &[(&str, usize)] = &[];

#[test]
fn no_type_name_is_defined_in_two_files() {
    let mut places: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in files() {
        let name = file.path.rsplit('/').next().unwrap();
        let is_other_build = name.starts_with("no_") && name != "no_sigpipe.rs";
        if is_other_build || file.path == "graceful/ctrl_c.rs" {
            continue;
        }
        for name in file.code.lines().filter_map(type_defined_by) {
            let files = places.entry(name.to_owned()).or_default();
            files.insert(file.path.clone());
        }
    }
    let mut new = BTreeSet::new();
    for (name, files) in &places {
        let listed = TWICE.iter().find(|(twice, _)| twice == name);
        if files.len() > listed.map_or(1, |(_, number)| *number) {
            new.insert(format!("`{name}` is defined in {files:?}"));
        }
    }
    for (name, number) in TWICE {
        let files = places.get(*name).map_or(0, BTreeSet::len);
        if files < *number {
            new.insert(format!(
                "`{name}` is defined in {files} files: the list says {number}"
            ));
        }
    }
    assert_none(&new);
}

/// The name of a struct, an enum, a trait, a type or a union that a line at the left margin defines.
fn type_defined_by(line: &str) -> Option<&str> {
    let line = match line.strip_prefix("pub") {
        None => line,
        Some(rest) => match rest.strip_prefix('(') {
            None => rest.trim_start(),
            Some(rest) => rest.split_once(") ")?.1,
        },
    };
    let line = line.strip_prefix("unsafe ").unwrap_or(line);
    let (kind, rest) = line.split_once(' ')?;
    let is_type = ["struct", "enum", "trait", "type", "union"].contains(&kind);
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
    is_type.then(|| &rest[..end.unwrap_or(rest.len())])
}

#[test]
fn definitions_are_recognised() {
    for (line, name) in [
        ("pub(in crate::layer) struct Span<'a> {", Some("Span")),
        ("enum State {", Some("State")),
        ("pub trait Exporter: Send {", Some("Exporter")),
        ("    type Output = ();", None),
        ("pub fn f() {}", None),
    ] {
        assert_eq!(type_defined_by(line), name, "{line}");
    }
}
