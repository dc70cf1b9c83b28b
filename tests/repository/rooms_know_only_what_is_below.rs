//! The rules of the house (ARCHITECTURE.md): a span walks downhill, and so do imports.
//!
//! Every path that begins with `crate::` in `src/` is read, in tests too, and so is every foreign
//! crate that is named. What breaks a rule needs a line in a table below, with its reason; a line
//! that is not needed any more fails too.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A room imports from lower floors only: never from its own, never upward.
const FLOORS: &[(u8, &[&str])] = &[
    (12, &["bin", "fuzzing", "guide", "lib"]),
    (11, &["init"]),
    (10, &["builder"]),
    (9, &["graceful", "otel"]),
    (8, &["middleware"]),
    (7, &["fmt", "span_ext"]),
    (6, &["guard", "layer"]),
    (5, &["tail"]),
    (4, &["runtime_config", "processor", "viewer"]),
    (
        3,
        &["export", "propagation", "sampler", "resource", "testing"],
    ),
    (
        2,
        &["config", "context", "diagnostics", "pool", "stats", "wire"],
    ),
    (
        1,
        &[
            "attribute",
            "clock",
            "crypto",
            "drawing",
            "error",
            "fork",
            "semconv",
            "signal",
            "span_data",
            "suppress",
            "sync",
        ],
    ),
    (0, &["text"]),
];

/// Room, what it imports against the rule, why.
const AGAINST_THE_RULE: &[(&str, &str, &str)] = &[
    ("fork", "error", "a handler may be refused"),
    (
        "diagnostics",
        "stats",
        "it speaks of the counters, which know nothing of it",
    ),
];

/// Foreign crate, the only files or folders that may name it.
const FOREIGN: &[(&str, &[&str])] = &[
    ("axum", &["middleware/from_axum.rs"]),
    (
        "tonic",
        &["export/grpc.rs", "export/grpc", "middleware/from_tonic.rs"],
    ),
    ("reqwest_middleware", &["middleware/client/reqwest.rs"]),
    ("async_trait", &["middleware/client/reqwest.rs"]),
    (
        "hyper",
        &["export", "middleware/from_tonic.rs", "testing", "viewer"],
    ),
    ("hyper_util", &["export", "testing", "viewer"]),
    (
        "h2",
        &["export/grpc", "middleware/from_tonic.rs", "testing"],
    ),
    ("ring", &["crypto"]),
    ("rustls", &["crypto", "export", "testing"]),
    ("webpki", &["crypto/builtin"]),
    ("tokio_rustls", &["export", "testing"]),
    (
        "opentelemetry_proto",
        &[
            "export/json.rs",
            "otel/metrics/exporter.rs",
            "testing",
            "fuzzing",
            "fuzzing.rs",
        ],
    ),
    (
        "prost",
        &[
            "export/json.rs",
            "otel/metrics/exporter.rs",
            "testing",
            "fuzzing",
            "fuzzing.rs",
        ],
    ),
    ("flate2", &["export", "testing", "viewer/receiver.rs"]),
    ("serde", &["export/json.rs"]),
    (
        "serde_json",
        &["export/json.rs", "viewer", "wire/json", "wire/json.rs"],
    ),
    ("terminal_size", &["export/console.rs"]),
    ("socket2", &["export/dial.rs", "export/no_sigpipe.rs"]),
    ("parking_lot", &["sync.rs"]),
    (
        "tokio",
        &[
            "export",
            "graceful",
            "graceful.rs",
            "guard.rs",
            "otel/exporter.rs",
            "otel/metrics/exporter.rs",
            "processor",
            "testing",
            "viewer",
        ],
    ),
    (
        "tokio_util",
        &[
            "export",
            "graceful.rs",
            "middleware/in_flight.rs",
            "otel/exporter.rs",
            "otel/metrics/exporter.rs",
            "processor",
            "testing",
            "viewer",
        ],
    ),
    (
        "tracing_subscriber",
        &[
            "builder",
            "clock",
            "context/registry_lookup.rs",
            "fmt.rs",
            "fuzzing",
            "init",
            "layer",
        ],
    ),
    ("opentelemetry", &["otel"]),
    ("opentelemetry_sdk", &["otel"]),
    (
        "arc_swap",
        &[
            "context/layer_registry.rs",
            "layer/callsite.rs",
            "runtime_config",
            "middleware/known.rs",
            "pool/budget.rs",
            "propagation/global.rs",
        ],
    ),
    ("forkguard", &["fork.rs"]),
    ("signal_hook", &["graceful"]),
    ("loom", &["sync.rs"]),
];

/// A file of `src/`: its path from there, and its code without comments and texts.
struct File {
    path: String,
    code: String,
    /// Lines of its `#[cfg(test)]` modules, or all of a file of tests.
    tests: String,
}

impl File {
    fn room(&self) -> &str {
        self.path.split('/').next().unwrap().trim_end_matches(".rs")
    }

    fn is_in(&self, place: &str) -> bool {
        self.path == place || self.path.starts_with(&format!("{place}/"))
    }
}

fn files() -> Vec<File> {
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
    assert!(files.len() > 50, "{} files are not the house", files.len());
    files
}

/// What is left without comments: words about code are no code.
fn code_of(text: &str) -> String {
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
fn names_after<'a>(code: &'a str, prefix: &str) -> Vec<&'a str> {
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
                // Only the outermost braces: what is inside others belongs to a room.
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

fn floor_of(room: &str) -> Option<u8> {
    let floor = FLOORS.iter().find(|(_, rooms)| rooms.contains(&room))?;
    Some(floor.0)
}

fn is_said(broken: &BTreeSet<String>) {
    let list: Vec<&str> = broken.iter().map(String::as_str).collect();
    assert!(list.is_empty(), "\n{}\n", list.join("\n"));
}

#[test]
fn imports_go_downstairs() {
    let mut broken = BTreeSet::new();
    let mut used = BTreeSet::new();
    for file in files() {
        let room = file.room();
        let Some(floor) = floor_of(room) else {
            broken.insert(format!("{}: on which floor is `{room}`?", file.path));
            continue;
        };
        for target in names_after(&file.code, "crate::") {
            if target == room {
                continue;
            }
            // What is on no floor is the next test's business.
            let Some(above) = floor_of(target).filter(|of| *of >= floor) else {
                continue;
            };
            let mut exceptions = AGAINST_THE_RULE.iter();
            match exceptions.find(|e| e.0 == room && e.1 == target) {
                Some(exception) => {
                    used.insert((exception.0, exception.1));
                }
                None => {
                    broken.insert(format!(
                        "{}: floor {floor} imports `{target}` of floor {above}",
                        file.path
                    ));
                }
            }
        }
    }
    for (room, target, why) in AGAINST_THE_RULE {
        if !used.contains(&(room, target)) {
            broken.insert(format!("`{room}` no longer imports `{target}` ({why})"));
        }
    }
    is_said(&broken);
}

#[test]
fn names_come_from_the_room_that_owns_them_not_through_the_front_door() {
    let mut broken = BTreeSet::new();
    for file in files() {
        for code in [&file.code, &file.tests] {
            for target in names_after(code, "crate::") {
                if floor_of(target).is_none() {
                    broken.insert(format!("{}: crate::{target}", file.path));
                }
            }
        }
    }
    is_said(&broken);
}

/// A fork may leave the thread behind that fills one, and whoever asks waits for ever. `once_cell::race` has
/// the kind that nobody waits for.
#[test]
fn what_is_made_once_makes_nobody_wait() {
    /// File, why nobody there waits in a fork.
    const ALLOWED: &[(&str, &str)] = &[
        ("builder/assemble.rs", "set by the thread that made it"),
        ("fuzzing/requests.rs", "no part of the crate"),
    ];
    let mut broken = BTreeSet::new();
    for file in files() {
        let is_allowed = ALLOWED.iter().any(|(path, _)| *path == file.path);
        for kind in ["OnceLock", "LazyLock", "std::sync::Once", "OnceCell<"] {
            let is_local = kind == "OnceCell<" && file.code.contains("cell::OnceCell");
            if file.code.contains(kind) && !is_allowed && !is_local {
                broken.insert(format!("{} has a {kind}", file.path));
            }
        }
    }
    is_said(&broken);
}

#[test]
fn foreign_types_stay_in_their_rooms() {
    let mut broken = BTreeSet::new();
    for file in files() {
        for (krate, places) in FOREIGN {
            let is_named = !names_after(&file.code, &format!("{krate}::")).is_empty();
            if is_named && !places.iter().any(|place| file.is_in(place)) {
                broken.insert(format!(
                    "{} names {krate}, which is for {places:?}",
                    file.path
                ));
            }
        }
    }
    is_said(&broken);
}

#[test]
fn wire_knows_bytes_and_attributes_only() {
    let mut broken = BTreeSet::new();
    for file in files().iter().filter(|file| file.room() == "wire") {
        for target in names_after(&file.code, "crate::") {
            if !["attribute", "span_data", "wire"].contains(&target) {
                broken.insert(format!("{}: crate::{target}", file.path));
            }
        }
        for krate in [
            "tracing::",
            "tracing_core::",
            "tracing_subscriber::",
            "tokio::",
        ] {
            if !names_after(&file.code, krate).is_empty() {
                broken.insert(format!("{} names {krate}", file.path));
            }
        }
    }
    is_said(&broken);
}

#[test]
fn the_environment_is_read_in_one_place() {
    let allowed = [
        "config/env.rs",
        "resource/detect.rs",
        "init/mod.rs",
        // It is what it carries.
        "propagation/environment.rs",
    ];
    let mut broken = BTreeSet::new();
    for file in files() {
        if file.code.contains("env::var") && !allowed.contains(&file.path.as_str()) {
            broken.insert(format!("{} reads the environment", file.path));
        }
    }
    is_said(&broken);
}

#[test]
fn the_reader_of_this_test_can_read() {
    let code = code_of(
        "use crate::a::B;\nuse crate::{c::{D, e}, F};\n// crate::g::H\nlet x = crate::i::j();\nmycrate::k",
    );
    assert_eq!(names_after(&code, "crate::"), ["a", "c", "F", "i"]);
}
