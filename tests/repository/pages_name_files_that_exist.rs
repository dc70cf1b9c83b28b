//! A path that a page names in backticks, `layer/span.rs`, `tests/export/speaks_tls` or
//! `middleware/call`, is a file or a directory: of the repository, of `src/`, or of `tests/`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::sources::assert_none;

/// Paths that are none of ours: values of variables, features of other crates, paths of URLs.
const OTHERS: &[&str] = &[
    "http/json",
    "http/protobuf",
    "logs/dup",
    "otlp/stdout",
    "rustls/aws_lc_rs",
    "rustls/ring",
    "v1/logs",
    "v1/metrics",
    "v1/traces",
];

#[test]
fn each_path_of_a_page_leads_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut broken = BTreeSet::new();
    let mut seen = 0;
    for page in pages(root) {
        let text = fs::read_to_string(&page).unwrap();
        for path in paths(&text) {
            seen += 1;
            if !OTHERS.contains(&path) && !exists(root, path) {
                broken.insert(format!("{} names `{path}`", page.display()));
            }
        }
    }
    assert!(seen > 100, "{seen} paths are too few");
    assert_none(&broken);
}

fn exists(root: &Path, path: &str) -> bool {
    let places = [root.to_owned(), root.join("src"), root.join("tests")];
    let mut files = places.iter().flat_map(|place| {
        let bare = place.join(path);
        [
            bare.clone(),
            PathBuf::from(format!("{}.rs", bare.display())),
        ]
    });
    files.any(|file| file.exists())
}

/// What stands in backticks and looks like a path: words in small letters with `/` between them. A
/// function may follow, `layer/spans_end_when_left::at_the_last_exit`.
fn paths(text: &str) -> Vec<&str> {
    let quoted = text
        .lines()
        .flat_map(|line| line.split('`').skip(1).step_by(2));
    let paths = quoted.map(|quoted| quoted.split("::").next().unwrap_or_default());
    paths.filter(|path| is_path(path)).collect()
}

fn is_path(text: &str) -> bool {
    let bare = text.trim_end_matches('/').trim_end_matches(".rs");
    let mut parts = bare.split('/');
    let is_word = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_lowercase())
            && part
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    bare.contains('/') && parts.all(is_word)
}

pub(crate) fn pages(root: &Path) -> Vec<PathBuf> {
    let names = [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
    ];
    let mut pages: Vec<_> = names.iter().map(|name| root.join(name)).collect();
    for entry in fs::read_dir(root.join("docs")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "md") {
            pages.push(path);
        }
    }
    pages
}

/// A page of `docs/` is read as a file of the repository and as a module of `guide`. In rustdoc no file lies
/// beside it, and elsewhere nobody knows the paths of Rust.
#[test]
fn a_page_of_the_guide_leads_to_another_by_an_address_that_works_everywhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = root.join("docs");
    let mut broken = BTreeSet::new();
    for page in pages(root).iter().filter(|page| page.starts_with(&docs)) {
        let text = fs::read_to_string(page).unwrap();
        for link in local_links(&text) {
            broken.insert(format!("{} leads to `{link}`", page.display()));
        }
    }
    assert_none(&broken);
}

/// Links that work in one place only: to Markdown files without a host, and to items of Rust.
fn local_links(text: &str) -> Vec<&str> {
    let links = text.split("](").skip(1);
    let links = links.map(|rest| rest.split(')').next().unwrap_or_default());
    let is_local = |link: &&str| {
        let path = link.split('#').next().unwrap_or_default();
        !link.contains("://") && (path.ends_with(".md") || path.contains("::"))
    };
    links.filter(is_local).collect()
}

#[test]
fn local_links_are_recognised() {
    let text = "[a](b.md), [c](d.md#e), ![f](g.svg), [h](#i), [j](https://k/l.md), [m](crate::n)";
    assert_eq!(local_links(text), ["b.md", "d.md#e", "crate::n"]);
}

#[test]
fn paths_are_recognised() {
    let text =
        "`layer/span.rs`, `a/b::c`, `https://x/y`, `Accept: a/b`, `word`, `tests/graphs`, `docs/`";
    assert_eq!(paths(text), ["layer/span.rs", "a/b", "tests/graphs"]);
}
