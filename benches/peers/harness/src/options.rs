//! The command line: `MODE [--NAME VALUE]...`.

use std::env;
use std::str::FromStr;

use crate::Setup;
use crate::workload::Work;

#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) mode: String,
    pub(crate) work: Work,
    /// Levels of `deep`, open spans of `wide`, attributes of `fields`, `dynamic` and `many`.
    pub(crate) size: Option<u64>,
    /// Recording threads, or workers of the application's runtime.
    pub(crate) threads: u64,
    /// Units of work in the modes with a fixed amount.
    pub(crate) units: Option<u64>,
    /// Spans a second in mode `e2e`.
    pub(crate) rate: u64,
    /// How long mode `peak` records.
    pub(crate) seconds: u64,
    /// The receiver's address.
    pub(crate) sink: String,
    pub(crate) queue: Option<usize>,
    pub(crate) variant: String,
    /// The contender's name in the report.
    pub(crate) label: String,
    pub(crate) round: u64,
}

impl Options {
    pub(crate) fn from_args() -> Result<Self, String> {
        let mut args = env::args().skip(1);
        let mut options = Self {
            mode: args.next().unwrap_or_default(),
            work: Work::Request,
            size: None,
            threads: 1,
            units: None,
            rate: 50_000,
            seconds: 5,
            sink: "127.0.0.1:4317".to_owned(),
            queue: None,
            variant: String::new(),
            label: "unnamed".to_owned(),
            round: 0,
        };
        while let Some(name) = args.next() {
            let value = args.next().ok_or(format!("{name} needs a value"))?;
            match name.as_str() {
                "--work" => options.work = parsed(&name, &value)?,
                "--size" => options.size = Some(parsed(&name, &value)?),
                "--threads" => options.threads = parsed(&name, &value)?,
                "--units" => options.units = Some(parsed(&name, &value)?),
                "--rate" => options.rate = parsed(&name, &value)?,
                "--seconds" => options.seconds = parsed(&name, &value)?,
                "--sink" => options.sink = value,
                "--queue" => options.queue = Some(parsed(&name, &value)?),
                "--variant" => options.variant = value,
                "--label" => options.label = value,
                "--round" => options.round = parsed(&name, &value)?,
                _ => return Err(format!("{name} is not an option")),
            }
        }
        Ok(options)
    }

    pub(crate) fn size(&self) -> u64 {
        self.size.unwrap_or_else(|| self.work.default_size())
    }

    pub(crate) fn setup(&self) -> Setup {
        Setup {
            url: format!("http://{}", self.sink),
            queue: self.queue,
            variant: self.variant.clone(),
        }
    }
}

fn parsed<T: FromStr>(name: &str, value: &str) -> Result<T, String> {
    value
        .parse()
        .map_err(|_| format!("{name} cannot be `{value}`"))
}
