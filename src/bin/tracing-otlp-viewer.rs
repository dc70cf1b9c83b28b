//! The viewer as a program: takes spans and log records by OTLP and shows them in the browser.
//!
//! ```text
//! cargo install tracing-otlp --features viewer
//! tracing-otlp-viewer
//! tracing-otlp-viewer trace.jsonl
//! ```
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program talks to who started it"
)]

use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;

const HELP: &str = "\
Takes the spans and log records of programs in any language by OTLP and shows them in the browser, or
those of files.

Usage: tracing-otlp-viewer [OPTIONS] [FILE]...

  FILE                OTLP as lines of JSON, as the Collector's file exporter writes it
  --address ADDRESS   where the page is served [default: 127.0.0.1:4316, or a free port]
  --otlp ADDRESS      where spans are taken, over gRPC and HTTP (protobuf or JSON); may be given several times
                      [default: 127.0.0.1:4317 and 127.0.0.1:4318; with a FILE nowhere]
  --max-memory MIB    traces are kept within this [default: 16]
  --help, --version

The address of the page is printed on standard error. Ctrl-C ends the program.
An address that is not of the loopback serves other machines too, without encryption.
";

struct Options {
    address: Option<SocketAddr>,
    otlp: Vec<SocketAddr>,
    files: Vec<String>,
    max_memory: Option<usize>,
}

fn main() -> ExitCode {
    let options = match read(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => return ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("tracing-otlp-viewer: {why}; --help lists the options");
            return ExitCode::from(2);
        }
    };
    let mut viewer = tracing_otlp::viewer();
    if let Some(address) = options.address {
        viewer = viewer.with_address(address);
    }
    if let Some(mib) = options.max_memory {
        viewer = viewer.with_max_memory(mib.saturating_mul(1 << 20));
    }
    for address in &options.otlp {
        viewer = viewer.with_otlp_address(*address);
    }
    for file in &options.files {
        viewer = viewer.with_file(file);
    }
    match viewer.build() {
        Ok(viewer) => {
            let addresses: Vec<_> = viewer
                .otlp_addresses()
                .iter()
                .map(|a| format!("http://{a}"))
                .collect();
            if !addresses.is_empty() {
                eprintln!(
                    "tracing-otlp-viewer: spans are taken at {}",
                    addresses.join(" and ")
                );
            }
            loop {
                // Ctrl-C ends the process; what it holds is for nobody else.
                std::thread::park();
            }
        }
        Err(error) => {
            eprintln!("tracing-otlp-viewer: {}", with_causes(&error));
            ExitCode::FAILURE
        }
    }
}

/// The error and what caused it: that a file is not there, that a port is taken.
fn with_causes(error: &dyn Error) -> String {
    let mut told = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        told = format!("{told}: {error}");
        cause = error.source();
    }
    told
}

/// `None` where help was all that was asked for.
fn read(mut arguments: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
    let mut options = Options {
        address: None,
        otlp: Vec::new(),
        files: Vec::new(),
        max_memory: None,
    };
    while let Some(argument) = arguments.next() {
        if !argument.starts_with('-') {
            options.files.push(argument);
            continue;
        }
        let (name, given) = match argument.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (argument, None),
        };
        match &*name {
            "--help" | "-h" => {
                print!("{HELP}");
                return Ok(None);
            }
            "--version" | "-V" => {
                println!("tracing-otlp-viewer {}", env!("CARGO_PKG_VERSION"));
                return Ok(None);
            }
            "--address" | "--otlp" | "--max-memory" => {}
            _ => return Err(format!("{name} is no option")),
        }
        let value = given.or_else(|| arguments.next());
        let value = value.ok_or_else(|| format!("{name} needs a value"))?;
        let address = || {
            let address = value.parse::<SocketAddr>();
            address.map_err(|_| format!("{name} {value}: not an address such as 127.0.0.1:4317"))
        };
        match &*name {
            "--address" => options.address = Some(address()?),
            "--otlp" => options.otlp.push(address()?),
            _ => {
                let mib = value.parse();
                options.max_memory =
                    Some(mib.map_err(|_| format!("{name} {value}: not a number of MiB"))?);
            }
        }
    }
    if options.otlp.is_empty() && options.files.is_empty() {
        options.otlp = vec![
            SocketAddr::from(([127, 0, 0, 1], 4317)),
            SocketAddr::from(([127, 0, 0, 1], 4318)),
        ];
    }
    Ok(Some(options))
}
