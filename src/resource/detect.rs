//! Detects attributes of this process and its host. Reads small local files only; an attribute that
//! cannot be detected is left out (RES-5).

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rand::TryRng;
use rand::rngs::SysRng;

use crate::attribute::{KeyValue, Value};
use crate::config::ResourceConfig;
use crate::semconv;

/// `opentelemetry` is reserved for OpenTelemetry's own SDKs (RES-2).
const SDK_NAME: &str = env!("CARGO_PKG_NAME");

/// The groups that are on in `config`, the SDK and the service's default name.
pub(super) fn detect(config: &ResourceConfig) -> Vec<KeyValue> {
    let mut found = vec![
        KeyValue::new(semconv::SERVICE_NAME, unknown_service()),
        KeyValue::new(semconv::TELEMETRY_SDK_NAME, SDK_NAME),
        KeyValue::new(semconv::TELEMETRY_SDK_LANGUAGE, "rust"),
        KeyValue::new(semconv::TELEMETRY_SDK_VERSION, env!("CARGO_PKG_VERSION")),
    ];
    let mut add = |key: &'static str, value: Option<Value>| {
        found.extend(value.map(|value| KeyValue::new(key, value)));
    };
    if config.instance_id {
        add(semconv::SERVICE_INSTANCE_ID, instance_id().map(Value::from));
    }
    if config.process {
        add(semconv::PROCESS_PID, Some(std::process::id().into()));
        add(
            semconv::PROCESS_EXECUTABLE_NAME,
            executable_name().map(Value::from),
        );
    }
    if config.executable_path {
        let path = executable().map(|path| path.to_string_lossy().into_owned());
        add(semconv::PROCESS_EXECUTABLE_PATH, path.map(Value::from));
    }
    if config.command_args {
        add(semconv::PROCESS_COMMAND_ARGS, Some(command_args()));
    }
    if config.host {
        add(semconv::HOST_NAME, host_name().map(Value::from));
        add(semconv::HOST_ID, host_id().map(Value::from));
        add(
            semconv::HOST_ARCH,
            Some(arch(std::env::consts::ARCH).into()),
        );
    }
    if config.os {
        add(semconv::OS_TYPE, Some(os_type(std::env::consts::OS).into()));
    }
    found
}

/// The name of a service without one (RES-1).
pub(super) fn unknown_service() -> Value {
    match executable_name() {
        Some(name) => format!("unknown_service:{name}").into(),
        None => "unknown_service".into(),
    }
}

fn executable_name() -> Option<String> {
    let path = executable()?;
    Some(path.file_name()?.to_string_lossy().into_owned())
}

fn executable() -> Option<PathBuf> {
    let path = std::env::current_exe().ok().map(PathBuf::into_os_string);
    let path = path.or_else(|| std::env::args_os().next())?;
    Some(PathBuf::from(without_deleted(path)))
}

/// Linux marks an executable that was replaced while it runs, as deployments do.
fn without_deleted(path: OsString) -> OsString {
    match path.to_str().and_then(|p| p.strip_suffix(" (deleted)")) {
        Some(path) => path.into(),
        None => path,
    }
}

fn command_args() -> Value {
    let args = std::env::args_os().map(|arg| Value::from(arg.to_string_lossy().into_owned()));
    Value::Array(args.collect())
}

/// The id of this process, the same for all its pipelines. A fork is a process of its own. No lock, which a
/// fork may inherit taken.
fn instance_id() -> Option<String> {
    static DRAWN: ArcSwapOption<(u32, String)> = ArcSwapOption::const_empty();
    let pid = std::process::id();
    let mut drawn = None;
    let known = DRAWN.rcu(|known| match known {
        Some(known) if known.0 == pid => Some(Arc::clone(known)),
        _ => {
            drawn = drawn
                .take()
                .or_else(|| Some(Arc::new((pid, random_uuid()?))));
            drawn.clone()
        }
    });
    let is_known = known.filter(|known| known.0 == pid);
    is_known.or(drawn).map(|of_process| of_process.1.clone())
}

/// A UUID of version 4 (RES-6); `None` if the system has no randomness to give.
fn random_uuid() -> Option<String> {
    let mut bytes = [0; 16];
    SysRng.try_fill_bytes(&mut bytes).ok()?;
    let random = u128::from_be_bytes(bytes);
    // RFC 9562: four bits of version, two of variant.
    let versioned = random & !(0xf << 76) | 0x4 << 76;
    let v4 = versioned & !(0x3 << 62) | 0x2 << 62;
    let hex = format!("{v4:032x}");
    let (a, rest) = hex.split_at(8);
    let (b, rest) = rest.split_at(4);
    let (c, rest) = rest.split_at(4);
    let (d, e) = rest.split_at(4);
    Some(format!("{a}-{b}-{c}-{d}-{e}"))
}

/// From the kernel, else from the variable that shells and Windows set.
fn host_name() -> Option<String> {
    let variable = if cfg!(windows) {
        "COMPUTERNAME"
    } else {
        "HOSTNAME"
    };
    read_small(Path::new("/proc/sys/kernel/hostname"))
        .or_else(|| std::env::var(variable).ok().filter(|name| !name.is_empty()))
}

/// The machine id of systemd or D-Bus: 32 hexadecimal digits, else it is not set up.
fn host_id() -> Option<String> {
    ["/etc/machine-id", "/var/lib/dbus/machine-id"]
        .into_iter()
        .filter_map(|path| read_small(Path::new(path)))
        .find(|id| is_machine_id(id))
}

fn is_machine_id(id: &str) -> bool {
    id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()) && id.bytes().any(|b| b != b'0')
}

/// The text of a small file, trimmed; `None` if it is empty or no plain file: a pipe would block.
fn read_small(path: &Path) -> Option<String> {
    if !path.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = String::new();
    let mut file = File::open(path).ok()?.take(1024);
    file.read_to_string(&mut text).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// Rust's name of an architecture to the convention's.
fn arch(rust: &'static str) -> &'static str {
    match rust {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "arm" => "arm32",
        "powerpc" => "ppc32",
        "powerpc64" => "ppc64",
        other => other,
    }
}

/// Rust's name of an operating system to the convention's.
fn os_type(rust: &'static str) -> &'static str {
    match rust {
        "macos" | "ios" | "tvos" | "watchos" | "visionos" => "darwin",
        "android" => "linux",
        "dragonfly" => "dragonflybsd",
        "illumos" => "solaris",
        other => other,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn uuids_are_of_version_4_and_differ() {
        // RES-6
        let uuids: Vec<_> = (0..64).map(|_| random_uuid().unwrap()).collect();
        for uuid in &uuids {
            assert_eq!(uuid.len(), 36, "{uuid}");
            for (i, c) in uuid.char_indices() {
                match i {
                    8 | 13 | 18 | 23 => assert_eq!(c, '-', "{uuid}"),
                    14 => assert_eq!(c, '4', "{uuid}"),
                    19 => assert!("89ab".contains(c), "{uuid}"),
                    _ => assert!(c.is_ascii_hexdigit() && !c.is_ascii_uppercase(), "{uuid}"),
                }
            }
        }
        let distinct: std::collections::HashSet<_> = uuids.iter().collect();
        assert_eq!(distinct.len(), uuids.len());
    }

    #[test]
    fn conventions_name_architectures_and_systems() {
        // RES-8
        assert_eq!(arch("x86_64"), "amd64");
        assert_eq!(arch("aarch64"), "arm64");
        assert_eq!(arch("riscv64"), "riscv64");
        assert_eq!(os_type("macos"), "darwin");
        assert_eq!(os_type("linux"), "linux");
    }

    #[test]
    fn a_machine_id_that_is_not_set_up_is_none() {
        assert!(is_machine_id("0123456789abcdef0123456789abcdef"));
        for id in ["uninitialized", "0123", &"0".repeat(32), &"g".repeat(32)] {
            assert!(!is_machine_id(id), "{id}");
        }
    }

    #[test]
    fn a_replaced_executable_keeps_its_name() {
        assert_eq!(without_deleted("/bin/shop (deleted)".into()), "/bin/shop");
        assert_eq!(without_deleted("/bin/shop".into()), "/bin/shop");
    }

    #[test]
    fn only_small_plain_files_are_read() {
        assert_eq!(read_small(Path::new("/dev/zero")), None);
        assert_eq!(read_small(Path::new("/")), None);
        assert_eq!(read_small(Path::new("/no/such/file")), None);
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let start = read_small(Path::new(manifest)).unwrap();
        assert!(start.starts_with("[package]") && start.len() <= 1024);
    }
}
