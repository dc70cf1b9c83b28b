//! What `OTEL_TRACES_EXPORTER=console` prints: trees on a terminal, plain blocks elsewhere, in a
//! format of its own (LOG-76).
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test may panic"
)]

#[path = "../support/child.rs"]
mod child;

use std::process::{Command, Stdio};
use std::time::Duration;

use tracing_subscriber::layer::SubscriberExt as _;

const TEST: &str = "a_terminal_gets_trees_and_a_pipe_blocks";

fn record() {
    let (layer, guard) = tracing_otlp::builder()
        .with_service_name("shop")
        .build()
        .unwrap();
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::with_default(subscriber, || {
        let _root = tracing::info_span!("checkout", who = "\u{1b}[2Jevil").entered();
        tracing::info_span!("a part with a name that is longer than it should be").in_scope(|| {
            tracing::error!(note = "x".repeat(100), "it failed");
        });
    });
    guard.shutdown_blocking(Duration::from_secs(30)).unwrap();
}

/// What the child prints to a terminal of 60 columns; `None` where there is none to be had.
fn on_a_terminal(variables: &[(&str, &str)]) -> Option<String> {
    let exe = std::env::current_exe().unwrap();
    let run = format!(
        "stty rows 40 cols 60; '{}' {TEST} --exact --nocapture --test-threads=1",
        exe.display()
    );
    let script = Command::new("script")
        .args(["-qec", &run, "/dev/null"])
        .env("TRACING_OTLP_TEST_ROLE", "prints")
        .env("OTEL_TRACES_EXPORTER", "console")
        .env("TERM", "xterm")
        .env_remove("NO_COLOR")
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output();
    match script {
        Ok(output) => Some(String::from_utf8_lossy(&output.stdout).replace("\r\n", "\n")),
        Err(_) => {
            println!("SKIPPED: there is no program `script` here, which makes a terminal");
            None
        }
    }
}

#[test]
fn a_terminal_gets_trees_and_a_pipe_blocks() {
    if child::role().is_some() {
        record();
        return;
    }
    let blocks = child::run_with(TEST, "prints", &[("OTEL_TRACES_EXPORTER", "console")]).well();
    assert!(blocks.contains("  scope tracing-otlp"), "{blocks}");
    assert!(
        !blocks.contains('\u{1b}') && !blocks.contains("└─"),
        "{blocks}"
    );

    let Some(tree) = on_a_terminal(&[]) else {
        return;
    };
    assert!(tree.contains("· 2 spans"), "{tree}");
    assert!(tree.contains("└─"), "{tree}");
    assert!(
        tree.contains("\u{1b}[31m") && !tree.contains("[2Jevil\u{1b}"),
        "{tree}"
    );
    let plain = on_a_terminal(&[("NO_COLOR", "1")]).unwrap();
    assert!(plain.contains("└─") && !plain.contains('\u{1b}'), "{plain}");
    assert!(plain.contains("who=\\u{1b}[2Jevil"), "{plain}");
    let begin = plain.find("trace ").unwrap();
    let drawn = plain[begin..].lines().take_while(|l| !l.is_empty());
    for line in drawn {
        assert!(line.chars().count() <= 60, "{line:?} in\n{plain}");
    }
}
