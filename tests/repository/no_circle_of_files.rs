//! No file of `src/` depends on itself by way of others, inside a module either.
//!
//! The test reads each path that begins with `crate::`, `super::`, `self::`, a child module or an
//! imported module, and follows it to the file that defines the item. A `pub use` alone is no
//! dependency: it gives a name a second place. An exception is a line in [`CLOSES_A_CIRCLE`]; a line
//! without use fails too.

use std::collections::{BTreeMap, BTreeSet};

use crate::sources::{assert_none, files};

/// File, file that it depends on against the rule, reason.
const CLOSES_A_CIRCLE: &[(&str, &str, &str)] = &[
    ("layer/event.rs", "layer/mod.rs", "methods of OtlpLayer"),
    (
        "layer/after_fork.rs",
        "layer/recorder.rs",
        "a recorder makes its successor in a fork",
    ),
    (
        "layer/attributes.rs",
        "layer/callsite.rs",
        "a callsite has attributes, and attributes may be those of a callsite",
    ),
    (
        "layer/edit.rs",
        "layer/mod.rs",
        "methods of `OtlpLayer` behind the interface of late changes",
    ),
    (
        "layer/log/callsite.rs",
        "layer/callsite.rs",
        "what a callsite keeps for its records is made from its fields",
    ),
    (
        "layer/parent.rs",
        "layer/mod.rs",
        "the methods of `OtlpLayer` that find a parent",
    ),
    (
        "layer/parent.rs",
        "layer/recorder.rs",
        "a parent is adopted by its recorder, which knows the kind of parent",
    ),
];

#[test]
fn no_file_depends_on_itself() {
    let edges = Crate::read().edges();
    let mut kept = edges.clone();
    let mut broken = BTreeSet::new();
    for (file, target, _) in CLOSES_A_CIRCLE {
        kept.entry((*file).to_owned()).or_default().remove(*target);
    }
    for circle in circles(&kept) {
        broken.insert(format!("a circle: {}", circle.join(" → ")));
    }
    for (file, target, reason) in CLOSES_A_CIRCLE {
        let is_there = edges.get(*file).is_some_and(|of| of.contains(*target));
        if !is_there || !reaches(&kept, target, file) {
            broken.insert(format!(
                "`{file}` → `{target}` closes no circle any more ({reason})"
            ));
        }
    }
    assert_none(&broken);
}

type Edges = BTreeMap<String, BTreeSet<String>>;

/// The module paths of a crate, `["export", "tls"]`, and what each file says.
struct Crate {
    modules: BTreeMap<Vec<String>, Module>,
}

#[derive(Default)]
struct Module {
    file: String,
    /// Paths in code, as they are written.
    paths: Vec<Vec<String>>,
    /// Name in this module, path of the item that it stands for, and whether it is public.
    imports: Vec<(String, Vec<String>, bool)>,
    /// Words of the code outside of `use`.
    words: BTreeSet<String>,
    /// Items that the file itself defines.
    items: BTreeSet<String>,
}

impl Crate {
    fn read() -> Self {
        let sources = files().into_iter();
        Self::of(sources.map(|file| (file.path, file.code)))
    }

    fn of(sources: impl Iterator<Item = (String, String)>) -> Self {
        let modules = sources.filter(|(_, code)| !code.is_empty());
        let modules = modules.map(|(path, code)| {
            let name = path.trim_end_matches(".rs").trim_end_matches("/mod");
            let at = match name {
                "lib" => Vec::new(),
                _ => name.split('/').map(str::to_owned).collect(),
            };
            (at, Module::read(path.clone(), &code))
        });
        Self {
            modules: modules.collect(),
        }
    }

    /// For each file the files that define what it names.
    fn edges(&self) -> Edges {
        let mut edges = Edges::new();
        for (at, module) in &self.modules {
            let targets = edges.entry(module.file.clone()).or_default();
            // An import of a module counts where it is used: by the path behind it.
            let imports = module.imports.iter().filter(|(name, path, is_public)| {
                !self.is_module(at, path) && (!is_public || module.words.contains(name))
            });
            let paths = imports.map(|(_, path, _)| path).chain(&module.paths);
            for path in paths {
                if let Some(target) = self.resolve(at, path, 0)
                    && target != module.file
                {
                    targets.insert(target);
                }
            }
        }
        edges
    }

    fn is_module(&self, at: &[String], path: &[String]) -> bool {
        let start = self.start(at, path);
        start.is_some_and(|(mut from, rest)| {
            from.extend(rest.iter().cloned());
            self.modules.contains_key(&from)
        })
    }

    /// Module at which a path begins, and the rest of the path.
    fn start<'a>(&self, at: &[String], path: &'a [String]) -> Option<(Vec<String>, &'a [String])> {
        let (head, rest) = path.split_first()?;
        match head.as_str() {
            "crate" => Some((Vec::new(), rest)),
            "self" => Some((at.to_vec(), rest)),
            "super" => {
                let (mut at, mut rest) = (at.to_vec(), path);
                while let Some((first, more)) = rest.split_first()
                    && first == "super"
                {
                    at.pop()?;
                    rest = more;
                }
                Some((at, rest))
            }
            _ => {
                let child = [at, std::slice::from_ref(head)].concat();
                if self.modules.contains_key(&child) {
                    return Some((child, rest));
                }
                let module = self.modules.get(at)?;
                let import = module.imports.iter().find(|(name, ..)| name == head)?;
                let from = &import.1;
                if from.first() == Some(head) || !self.is_module(at, from) {
                    return None;
                }
                let (mut at, behind) = self.start(at, from)?;
                at.extend(behind.iter().cloned());
                Some((at, rest))
            }
        }
    }

    /// The file that defines the item at `path`, as seen from the module `at`.
    fn resolve(&self, at: &[String], path: &[String], depth: usize) -> Option<String> {
        let (mut at, mut rest) = self.start(at, path)?;
        while let Some((name, more)) = rest.split_first() {
            let child = [at.as_slice(), std::slice::from_ref(name)].concat();
            if self.modules.contains_key(&child) {
                at = child;
                rest = more;
                continue;
            }
            let module = self.modules.get(&at)?;
            if module.items.contains(name) || depth > 8 {
                break;
            }
            let import = module.imports.iter().find(|(as_name, ..)| as_name == name);
            if let Some((_, path, _)) = import {
                let path = [path.as_slice(), more].concat();
                return self.resolve(&at, &path, depth + 1);
            }
            break;
        }
        Some(self.modules.get(&at)?.file.clone())
    }
}

impl Module {
    fn read(file: String, code: &str) -> Self {
        let tokens = tokens(code);
        let mut module = Self {
            file,
            ..Self::default()
        };
        // Depths of the braces of modules in the file itself: `super` in them is the file.
        let (mut depth, mut inline) = (0_usize, Vec::new());
        let mut i = 0;
        while i < tokens.len() {
            let token = tokens[i];
            if token == "{" {
                depth += 1;
                if i > 1 && tokens[i - 2] == "mod" {
                    inline.push(depth);
                }
            } else if token == "}" {
                if inline.last() == Some(&depth) {
                    inline.pop();
                }
                depth = depth.saturating_sub(1);
            } else if token == "use" {
                let is_public = i > 0 && (tokens[i - 1] == "pub" || tokens[i - 1] == ")");
                let end = tokens[i..].iter().position(|t| *t == ";");
                let end = i + end.unwrap_or(tokens.len() - i);
                let mut leaves = Vec::new();
                leaves_of(&tokens[i + 1..end], &[], &mut leaves);
                for (name, path) in leaves {
                    let path = outside(path, inline.len());
                    module.imports.push((name, path, is_public));
                }
                i = end;
            } else if is_word(token) {
                const ITEMS: [&str; 9] = [
                    "struct",
                    "enum",
                    "trait",
                    "type",
                    "union",
                    "fn",
                    "const",
                    "static",
                    "macro_rules",
                ];
                if i > 0 && ITEMS.contains(&tokens[i - 1]) {
                    module.items.insert(token.to_owned());
                }
                let start = i;
                let mut path = vec![token.to_owned()];
                while tokens.get(i + 1) == Some(&"::")
                    && tokens.get(i + 2).is_some_and(|t| is_word(t))
                {
                    path.push(tokens[i + 2].to_owned());
                    i += 2;
                }
                let is_inside = start > 0 && ["::", "."].contains(&tokens[start - 1]);
                if start == 0 || tokens[start - 1] != "mod" {
                    module.words.extend(path.first().cloned());
                }
                // `pub(in crate::layer)` depends on nothing.
                let is_visibility = start > 0 && tokens[start - 1] == "in";
                if path.len() > 1 && !is_inside && !is_visibility {
                    module.paths.push(outside(path, inline.len()));
                }
            }
            i += 1;
        }
        module
    }
}

/// A path in a module of the file itself, as the file would write it.
fn outside(path: Vec<String>, depth: usize) -> Vec<String> {
    let steps = path.iter().take(depth).take_while(|name| *name == "super");
    match steps.count() {
        0 => path,
        steps => {
            let rest = path.into_iter().skip(steps);
            std::iter::once("self".to_owned()).chain(rest).collect()
        }
    }
}

/// Words and signs of code; what stands in texts is left out.
fn tokens(code: &str) -> Vec<&str> {
    let bytes = code.as_bytes();
    let mut tokens = Vec::new();
    let mut i = 0;
    while i < bytes.len() {
        let start = i;
        match bytes[i] {
            b if b.is_ascii_alphanumeric() || b == b'_' => {
                while i < bytes.len() && (bytes[i].is_ascii_alphanumeric() || bytes[i] == b'_') {
                    i += 1;
                }
                tokens.push(&code[start..i]);
            }
            b'"' => {
                let is_raw = tokens.last().is_some_and(|t| ["r", "br"].contains(t))
                    && code[..i].ends_with(['r']);
                i += 1;
                while i < bytes.len() && bytes[i] != b'"' {
                    i += if bytes[i] == b'\\' && !is_raw { 2 } else { 1 };
                }
                i += 1;
            }
            // A character, and no lifetime.
            b'\'' if bytes.get(i + 1) == Some(&b'\\') => {
                i += 3;
                while i < bytes.len() && bytes[i] != b'\'' {
                    i += 1;
                }
                i += 1;
            }
            b'\'' if bytes.get(i + 2) == Some(&b'\'') => i += 3,
            b':' if bytes.get(i + 1) == Some(&b':') => {
                i += 2;
                tokens.push("::");
            }
            b if b.is_ascii() => {
                i += 1;
                if !b.is_ascii_whitespace() {
                    tokens.push(&code[start..i]);
                }
            }
            _ => i += 1,
        }
    }
    tokens
}

fn is_word(token: &str) -> bool {
    let first = token.bytes().next();
    first.is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
}

/// Names and paths of a `use`, `a::{b, c as d, self}`.
fn leaves_of(tree: &[&str], prefix: &[String], leaves: &mut Vec<(String, Vec<String>)>) {
    let (mut depth, mut start) = (0, 0);
    for (i, token) in tree.iter().chain(&[","]).enumerate() {
        match *token {
            "{" => depth += 1,
            "}" => depth -= 1,
            "," if depth == 0 => {
                leaf_of(&tree[start..i], prefix, leaves);
                start = i + 1;
            }
            _ => {}
        }
    }
}

fn leaf_of(branch: &[&str], prefix: &[String], leaves: &mut Vec<(String, Vec<String>)>) {
    let mut path = prefix.to_vec();
    for (i, token) in branch.iter().enumerate() {
        match *token {
            "::" => {}
            "{" => return leaves_of(&branch[i + 1..branch.len() - 1], &path, leaves),
            "as" => {
                let name = branch.get(i + 1).copied().unwrap_or_default();
                return leaves.push((name.to_owned(), path));
            }
            "self" if i > 0 || !prefix.is_empty() => {}
            word => path.push(word.to_owned()),
        }
    }
    if let Some(name) = path.last().filter(|_| !branch.is_empty()) {
        leaves.push((name.clone(), path));
    }
}

fn reaches(edges: &Edges, from: &str, to: &str) -> bool {
    reached(edges, from).contains(to)
}

fn reached<'a>(edges: &'a Edges, from: &str) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    let mut open: Vec<&str> = edges
        .get(from)
        .into_iter()
        .flatten()
        .map(|s| s.as_str())
        .collect();
    while let Some(file) = open.pop() {
        if seen.insert(file) {
            open.extend(edges.get(file).into_iter().flatten().map(|s| s.as_str()));
        }
    }
    seen
}

/// One circle, the shortest, for each group of files that depend on each other.
fn circles(edges: &Edges) -> Vec<Vec<String>> {
    let mut circles = Vec::new();
    let mut told = BTreeSet::new();
    for file in edges.keys() {
        let seen = reached(edges, file);
        if !seen.contains(file.as_str()) || told.contains(file.as_str()) {
            continue;
        }
        let group = seen.into_iter().filter(|other| reaches(edges, other, file));
        let group: Vec<&str> = group.collect();
        told.extend(group.iter().copied());
        let shortest = group.iter().map(|file| shortest(edges, file));
        circles.extend(shortest.min_by_key(Vec::len));
    }
    circles
}

fn shortest(edges: &Edges, file: &str) -> Vec<String> {
    let mut ways = std::collections::VecDeque::from([vec![file.to_owned()]]);
    let mut seen = BTreeSet::new();
    while let Some(way) = ways.pop_front() {
        let last = &way[way.len() - 1];
        for next in edges.get(last).into_iter().flatten() {
            let mut further = way.clone();
            further.push(next.clone());
            if next == file {
                return further;
            }
            if seen.insert(next.clone()) {
                ways.push_back(further);
            }
        }
    }
    Vec::new()
}

#[test]
fn paths_lead_to_the_file_that_defines_the_item() {
    let sources = [
        ("lib.rs", "mod a;\nmod b;\npub use a::Deep;"),
        (
            "a/mod.rs",
            "mod deep;\nmod other;\npub(crate) use deep::{Deep, Twin as Two};\npub(crate) struct Here;",
        ),
        (
            "a/deep.rs",
            "use super::Here;\npub struct Deep;\nstruct Twin;",
        ),
        (
            "a/other.rs",
            "use super::{Two, deep};\nfn f() { deep::g(\"crate::b::X\"); }",
        ),
        (
            "b.rs",
            "use crate::a::{self, Deep};\nfn g() { a::Here; }\nmod inside { use super::g; }",
        ),
    ];
    let sources = sources.map(|(path, code)| (path.to_owned(), code.to_owned()));
    let edges = Crate::of(sources.into_iter()).edges();
    let of = |file: &str| edges[file].iter().map(String::as_str).collect::<Vec<_>>();
    assert!(of("lib.rs").is_empty());
    assert!(of("a/mod.rs").is_empty());
    assert_eq!(of("a/deep.rs"), ["a/mod.rs"]);
    assert_eq!(of("a/other.rs"), ["a/deep.rs"]);
    assert_eq!(of("b.rs"), ["a/deep.rs", "a/mod.rs"]);
    assert!(circles(&edges).is_empty());
}
