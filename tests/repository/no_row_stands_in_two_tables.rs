//! A row of one table of a page says nothing in another one: there it would be the answer to a different question.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::pages_name_files_that_exist::pages;
use crate::sources::assert_none;

#[test]
fn no_row_stands_twice_on_a_page() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut twice = BTreeSet::new();
    let mut seen = 0;
    for page in pages(root) {
        let text = fs::read_to_string(&page).unwrap();
        seen += rows(&text).count();
        twice.extend(repeated(&text).map(|row| format!("{}: {row}", page.display())));
    }
    assert!(seen > 300, "{seen} rows are too few");
    assert_none(&twice);
}

/// The rows of all tables, without their heads and rules.
fn rows(text: &str) -> impl Iterator<Item = &str> {
    let follows = text.lines().skip(1).map(Some).chain([None]);
    let is_rule = |line: &str| line.starts_with("| ---");
    let rows = text.lines().zip(follows).filter(move |(line, next)| {
        line.starts_with("| ") && !is_rule(line) && !next.is_some_and(is_rule)
    });
    rows.map(|(line, _)| line)
}

fn repeated(text: &str) -> impl Iterator<Item = &str> {
    let mut seen = BTreeSet::new();
    rows(text).filter(move |row| !seen.insert(*row))
}

#[test]
fn a_row_is_found_in_the_second_table() {
    let table = "| What? | So |\n| --- | --- |\n| a | b |\n";
    let other = table.replace("| a |", "| c |");
    assert_eq!(
        repeated(&format!("{table}\n{table}")).collect::<Vec<_>>(),
        ["| a | b |"]
    );
    assert_eq!(repeated(&format!("{table}\n{other}")).count(), 0);
}
