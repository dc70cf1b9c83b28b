//! The rules of ARCHITECTURE.md: a module imports from lower tiers only, and a foreign crate has its place.
//!
//! The test reads every path that begins with `crate::` in `src/`, in tests too, and every foreign
//! crate. An exception is a line in a table below, with its reason; a line without use fails too.

use std::collections::BTreeSet;

use crate::sources::{assert_none, files, names_after};

/// A module imports from lower tiers only: never from its own, never upward.
const TIERS: &[(u8, &[&str])] = &[
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
        &[
            "export",
            "propagation",
            "registry",
            "resource",
            "sampler",
            "testing",
        ],
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

/// Module, import against the rule, reason.
const AGAINST_THE_RULE: &[(&str, &str, &str)] = &[
    (
        "context",
        "registry",
        "a subscriber shows its registry by the type alone",
    ),
    ("fork", "error", "the registration of a handler may fail"),
    (
        "diagnostics",
        "stats",
        "it reports losses, which `stats` counts and does not report",
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
    (
        "async_trait",
        &["middleware/client/reqwest.rs", "otel/otlp_exporter.rs"],
    ),
    ("opentelemetry_http", &["otel/otlp_exporter.rs"]),
    ("opentelemetry_otlp", &["otel/otlp_exporter.rs"]),
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
    ("flate2", &["export", "testing", "viewer/unpack.rs"]),
    ("serde", &["export/json.rs"]),
    (
        "serde_json",
        &[
            "export/json.rs",
            "export/json_answer.rs",
            "testing/reply_json.rs",
            "viewer",
            "wire/json",
            "wire/json.rs",
        ],
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
            "guard/panic_hook.rs",
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
            "otel/otlp_exporter.rs",
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
            "context/registry_address.rs",
            "context/registry_lookup.rs",
            "fmt.rs",
            "fuzzing",
            "init",
            "layer",
            "registry",
            "runtime_config",
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
            "resource/detect.rs",
        ],
    ),
    ("forkguard", &["fork.rs"]),
    ("signal_hook", &["graceful"]),
    ("loom", &["sync.rs"]),
];

fn tier_of(module: &str) -> Option<u8> {
    let tier = TIERS
        .iter()
        .find(|(_, modules)| modules.contains(&module))?;
    Some(tier.0)
}

#[test]
fn imports_lead_to_lower_tiers() {
    let mut broken = BTreeSet::new();
    let mut used = BTreeSet::new();
    for file in files() {
        let module = file.module();
        let Some(tier) = tier_of(module) else {
            broken.insert(format!("{}: `{module}` has no tier", file.path));
            continue;
        };
        for target in names_after(&file.code, "crate::") {
            if target == module {
                continue;
            }
            // A target without a tier is the next test's business.
            let Some(above) = tier_of(target).filter(|of| *of >= tier) else {
                continue;
            };
            let mut exceptions = AGAINST_THE_RULE.iter();
            match exceptions.find(|e| e.0 == module && e.1 == target) {
                Some(exception) => {
                    used.insert((exception.0, exception.1));
                }
                None => {
                    broken.insert(format!(
                        "{}: tier {tier} imports `{target}` of tier {above}",
                        file.path
                    ));
                }
            }
        }
    }
    for (module, target, why) in AGAINST_THE_RULE {
        if !used.contains(&(module, target)) {
            broken.insert(format!("`{module}` no longer imports `{target}` ({why})"));
        }
    }
    assert_none(&broken);
}

#[test]
fn names_come_from_their_own_module_and_not_from_the_root() {
    let mut broken = BTreeSet::new();
    for file in files() {
        for code in [&file.code, &file.tests] {
            for target in names_after(code, "crate::") {
                if tier_of(target).is_none() {
                    broken.insert(format!("{}: crate::{target}", file.path));
                }
            }
        }
    }
    assert_none(&broken);
}

/// After a fork the thread that fills one may be missing, and a reader waits for ever. `once_cell::race` has
/// a kind without a wait.
#[test]
fn once_cells_need_no_wait() {
    /// File, why it does not wait in a fork.
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
    assert_none(&broken);
}

#[test]
fn foreign_crates_stay_in_their_modules() {
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
    assert_none(&broken);
}

#[test]
fn wire_knows_bytes_and_attributes_only() {
    let mut broken = BTreeSet::new();
    for file in files().iter().filter(|file| file.module() == "wire") {
        for target in names_after(&file.code, "crate::") {
            if !["attribute", "span_data", "text", "wire"].contains(&target) {
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
    assert_none(&broken);
}

#[test]
fn the_environment_is_read_in_one_place() {
    let allowed = [
        "config/env.rs",
        "resource/detect.rs",
        "init/mod.rs",
        // The carrier is the environment.
        "propagation/environment.rs",
    ];
    let mut broken = BTreeSet::new();
    for file in files() {
        if file.code.contains("env::var") && !allowed.contains(&file.path.as_str()) {
            broken.insert(format!("{} reads the environment", file.path));
        }
    }
    assert_none(&broken);
}
