//! Each file below `tests/` is part of a test program: of a `main.rs`, or of a file that `Cargo.toml`
//! names. A file that no program has would pass for ever.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

#[test]
fn every_file_of_tests_is_compiled() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let all: BTreeSet<PathBuf> = rust_files(&tests).into_iter().collect();
    let mut open: Vec<PathBuf> = programs(&tests, &all);
    let mut compiled = BTreeSet::new();
    while let Some(file) = open.pop() {
        if compiled.insert(file.clone()) {
            let text = fs::read_to_string(&file);
            let text = text.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            open.extend(modules_of(&file, &text));
        }
    }
    let left_out: Vec<_> = all.difference(&compiled).collect();
    assert!(left_out.is_empty(), "no program has {left_out:#?}");
}

#[test]
fn a_test_that_needs_a_process_of_its_own_has_one() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let all: BTreeSet<PathBuf> = rust_files(&tests).into_iter().collect();
    let programs = programs(&tests, &all);
    let says_so = |file: &&PathBuf| {
        let text = fs::read_to_string(file).unwrap();
        let mut docs = text.lines().take_while(|line| line.starts_with("//!"));
        docs.any(|line| line.contains("Alone in its process"))
    };
    let alone: Vec<_> = all.iter().filter(says_so).collect();
    assert!(alone.len() >= 3, "{alone:?}");
    let shares = |file: &&&PathBuf| !programs.contains(file);
    let sharing: Vec<_> = alone.iter().filter(shares).collect();
    assert!(sharing.is_empty(), "Cargo.toml does not name {sharing:#?}");
}

/// The files that cargo starts from: `main.rs` of each directory, what `Cargo.toml` names, and the
/// applications of `tests/graphs`, a workspace of its own.
fn programs(tests: &Path, all: &BTreeSet<PathBuf>) -> Vec<PathBuf> {
    let root = tests.parent().unwrap();
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let named = manifest.lines().filter_map(|line| {
        let path = line.strip_prefix("path = \"tests/")?;
        Some(tests.join(path.trim_end_matches('"')))
    });
    let mut programs: Vec<_> = named.collect();
    assert!(programs.len() > 10, "{programs:?}");
    let found = all.iter().filter(|file| {
        let path = file.strip_prefix(tests).unwrap();
        let depth = path.components().count();
        depth == 1
            || depth == 2 && path.ends_with("main.rs")
            || path.starts_with("graphs") && path.ends_with("src/main.rs")
    });
    programs.extend(found.cloned());
    programs
}

/// The files of the modules that `text`, which stands in `file`, declares.
fn modules_of(file: &Path, text: &str) -> Vec<PathBuf> {
    let folder = file.parent().unwrap();
    let stem = file.file_stem().unwrap().to_str().unwrap();
    let is_root = ["main", "mod"].contains(&stem);
    let mut path = None;
    let mut found = Vec::new();
    for line in text.lines() {
        let line = line.trim();
        if let Some(rest) = line.strip_prefix("#[path = \"") {
            path = Some(plain(&folder.join(rest.split('"').next().unwrap())));
            continue;
        }
        let line = line.strip_prefix("pub ").unwrap_or(line);
        let line = line.strip_prefix("pub(crate) ").unwrap_or(line);
        let name = line.strip_prefix("mod ").and_then(|l| l.strip_suffix(';'));
        let Some(name) = name else { continue };
        found.push(path.take().unwrap_or_else(|| {
            let mut places = Vec::new();
            // A program's own file has its modules beside it, any other below it.
            for folder in [folder.to_owned(), folder.join(stem)] {
                places.push(folder.join(format!("{name}.rs")));
                places.push(folder.join(name).join("mod.rs"));
            }
            if !is_root {
                places.rotate_left(2);
            }
            let place = places.iter().find(|place| place.exists());
            place.unwrap_or(&places[0]).clone()
        }));
    }
    found
}

/// A path without `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    files
}
