//! Sources and pages use the field's words: one that was replaced does not come back, and neither do names of
//! documents that are no part of this repository.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::sources::assert_none;

/// A word, and what stands in its place.
const REPLACED: &[(&str, &str)] = &[
    ("AfterShutdown", "AlreadyShutdown"),
    ("Ancestry", "RegistryLookup"),
    ("DESIGN.md", "ARCHITECTURE.md"),
    ("Desk", "RequestQueue, SpanEditor"),
    ("Door", "LayerHandle"),
    ("Episode", "Throttle"),
    ("Fate", "ExportMode"),
    ("Fault", "FlushError"),
    ("FreeSpans", "ManualSpans"),
    ("GLANCE", "POLL"),
    ("GLOSSARY", "the words themselves"),
    ("HOUSE.md", "ARCHITECTURE.md"),
    ("Obituary", "CloseOnExit"),
    ("Outlet", "SpanSink"),
    ("PAIN.md", "docs/rules.md"),
    ("Promises", "PendingFlushes"),
    ("SPEC §", "an id of docs/rules.md"),
    ("SPEC.md", "docs/rules.md"),
    ("Spares", "SpanPool"),
    ("Surroundings", "PipelineParts"),
    ("Ticket", "FlushRequest"),
    (
        "Verdict",
        "Retryability, TailDecision, CallStatus, FlushResult",
    ),
    ("Who is speaking", "The resource"),
    ("Wish", "Command"),
    ("ask_for_trouble", "probe_exporter"),
    ("disown", "mark_unknown_method"),
    ("door", "layer registry"),
    ("doors", "layer registry"),
    ("fate", "outcome, decision"),
    ("floor", "tier"),
    ("greet", "write_response_headers"),
    ("hear_of_trouble", "note_health"),
    ("hushed", "filtered"),
    ("is_hushed", "is_filtered"),
    ("is_unheard", "is_unknown_method"),
    ("obituary", "end of the worker"),
    ("reparent", "set_parent"),
    ("save on", "except on"),
    ("seen from the queue", "before the worker cancels it"),
    ("untold", "untraced"),
    ("verdict", "decision, status, outcome"),
];

#[test]
fn no_page_and_no_source_has_a_word_that_was_replaced() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = BTreeSet::new();
    for file in files(root) {
        let text = fs::read_to_string(&file).unwrap();
        for (number, line) in text.lines().enumerate() {
            for (word, instead) in words_in(line) {
                let place = file.strip_prefix(root).unwrap().display();
                found.insert(format!("{place}:{}: `{word}`: {instead}", number + 1));
            }
        }
    }
    assert_none(&found);
}

fn words_in(line: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let replaced = REPLACED.iter().copied();
    replaced.filter(move |(word, _)| has_word(line, word))
}

/// Whether a line has the word, and not as a part of another.
fn has_word(line: &str, word: &str) -> bool {
    let goes_on = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    // What ends with a sign is over there.
    let is_open = goes_on(word.chars().next_back());
    line.match_indices(word).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + word.len()..]);
        let is_part =
            goes_on(before.chars().next_back()) || (is_open && goes_on(after.chars().next()));
        !is_part
    })
}

/// Sources and pages, without the pages' own history.
fn files(root: &Path) -> Vec<PathBuf> {
    let pages = [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
    ];
    let mut files: Vec<_> = pages.iter().map(|page| root.join(page)).collect();
    let mut folders = vec![root.join("src"), root.join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs" || e == "md") {
                files.push(path);
            }
        }
    }
    assert!(files.len() > 300, "{} files are too few", files.len());
    files
}

#[test]
fn words_are_found_whole() {
    assert!(has_word("the door, closed", "door"));
    assert!(has_word("see SPEC §3", "SPEC §"));
    assert!(!has_word("indoor doors door_way", "door"));
    assert_eq!(words_in("a Verdict").count(), 1);
}
