//! Each rule id that code, tests and pages name is defined in `docs/rules.md`, and each definition is
//! used.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn ids_and_definitions_agree() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/rules.md")).unwrap();
    let defined: BTreeSet<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| "))
        .flat_map(|row| ids(row.split('|').next().unwrap_or_default()))
        .collect();
    let mut used = BTreeSet::new();
    let mut undefined = Vec::new();
    for file in files(root) {
        let text = fs::read_to_string(&file).unwrap();
        for id in ids(&text) {
            if !defined.contains(&id) {
                undefined.push(format!("{id} in {}", file.display()));
            }
            used.insert(id);
        }
    }
    assert!(undefined.is_empty(), "not in docs/rules.md: {undefined:#?}");
    let unused: Vec<_> = defined.difference(&used).collect();
    assert!(unused.is_empty(), "defined, and named nowhere: {unused:?}");
}

/// A rule that no test names is a promise that nobody keeps.
#[test]
fn every_rule_is_named_by_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/rules.md")).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| "));
    let rules = rows.flat_map(|row| ids(row.split('|').next().unwrap_or_default()));
    let tested: BTreeSet<String> = files(root).iter().flat_map(|file| tests_of(file)).collect();
    let untested: Vec<_> = rules.filter(|rule| !tested.contains(rule)).collect();
    assert!(untested.is_empty(), "named by no test: {untested:?}");
}

/// The ids that a file's tests name, in comments and in their own names.
fn tests_of(file: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(file).unwrap();
    let is_test =
        |part: &std::ffi::OsStr| part == "tests" || part == "tests.rs" || part == "loom.rs";
    let tests = match file.extension().is_some_and(|kind| kind == "rs") {
        true if file.iter().any(is_test) => Some(0),
        true => text
            .find("#[cfg(test)]\n#[allow")
            .or_else(|| text.find("mod tests {")),
        false => None,
    };
    tests.map(|start| ids(&text[start..])).unwrap_or_default()
}

/// Code and pages of the crate, without the definitions.
fn files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders: Vec<_> = ["src", "tests", "benches", "examples", "docs"]
        .map(|name| root.join(name))
        .into();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" {
                folders.push(path);
            } else if (name.ends_with(".rs") || name.ends_with(".md")) && name != "rules.md" {
                found.push(path);
            }
        }
    }
    let pages = [
        "README.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
    ];
    found.extend(pages.map(|name| root.join(name)));
    found
}

/// Ids such as `TR-8`, `PAIN 26` and, in the names of tests, `tr_8` and `pain_26`.
fn ids(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for area in AREAS {
        for separator in ["-", " ", "_"] {
            let prefix = match separator {
                "_" => format!("_{}_", area.to_lowercase()),
                "-" => format!("{area}-"),
                _ if area == "PAIN" => "PAIN ".to_owned(),
                _ => continue,
            };
            for (at, _) in text.match_indices(&prefix) {
                // Not within a longer word; and `PAIN 26, 31` names two.
                let before = text[..at].chars().next_back();
                if separator != "_" && before.is_some_and(|c| c.is_alphanumeric() || c == '-') {
                    continue;
                }
                let rest = &text[at + prefix.len()..];
                let list = rest.split(|c: char| !(c.is_ascii_digit() || c == ',' || c == ' '));
                let list = list.take(if area == "PAIN" { 1 } else { 0 }).next();
                let numbers = match list {
                    Some(list) => list.split(',').map(str::trim).collect(),
                    None => vec![&rest[..digits(rest)]],
                };
                for number in numbers {
                    let number = &number[..digits(number)];
                    if !number.is_empty() {
                        let between = if area == "PAIN" { ' ' } else { '-' };
                        found.insert(format!("{area}{between}{number}"));
                    }
                }
            }
        }
    }
    found
}

fn digits(text: &str) -> usize {
    text.chars().take_while(char::is_ascii_digit).count()
}

const AREAS: [&str; 25] = [
    "ENV", "CFG", "TR", "LIM", "SMP", "BSP", "EXP", "EH", "OTLP", "PROP", "W3C", "BAG", "B3",
    "JAE", "ENVC", "HTTP", "RPC", "ERR", "CODE", "THR", "RES", "LOG", "MIG", "EVT", "PAIN",
];
