//! Reads a file of OTLP as lines of JSON into the store.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::Path;

use super::receiver::fits;
use super::store::Store;
use crate::text;
use crate::wire::decode::export_request;
use crate::wire::json::request_of_json;

/// Bytes of a line: what is longer is no line of ours.
const MOST_LINE: usize = 64 << 20;

/// What came of a file.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    spans: u64,
    records: u64,
    /// Spans without ids; spans and log records that are too large.
    rejected: u64,
    /// Lines that could not be read, and why the first could not.
    wrong: u64,
    why: Option<String>,
}

pub(super) fn load(store: &Store, path: &Path) -> io::Result<Loaded> {
    read(store, BufReader::new(File::open(path)?))
}

fn read(store: &Store, mut lines: impl BufRead) -> io::Result<Loaded> {
    let mut loaded = Loaded::default();
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        let read = (&mut lines)
            .take(MOST_LINE as u64)
            .read_until(b'\n', &mut line)?;
        if read == 0 {
            break;
        }
        let is_cut = read == MOST_LINE && line.last() != Some(&b'\n');
        if is_cut {
            skip_line(&mut lines)?;
        }
        let added = match std::str::from_utf8(&line) {
            _ if is_cut => Err("too long".to_owned()),
            Err(_) => Err("no UTF-8".to_owned()),
            // A mark of the byte order is no part of the text.
            Ok(text) => match text.trim_start_matches('\u{feff}').trim() {
                "" => Ok(()),
                text => add(store, text, &mut loaded),
            },
        };
        if let Err(why) = added {
            loaded.wrong += 1;
            let first = || format!("line {number}: {}", text::line(&why, 200, false));
            loaded.why.get_or_insert_with(first);
        }
    }
    Ok(loaded)
}

fn skip_line(lines: &mut impl BufRead) -> io::Result<()> {
    loop {
        let part = lines.fill_buf()?;
        let (len, end) = match part.iter().position(|b| *b == b'\n') {
            Some(at) => (at + 1, true),
            None => (part.len(), part.is_empty()),
        };
        lines.consume(len);
        if end {
            return Ok(());
        }
    }
}

fn add(store: &Store, line: &str, loaded: &mut Loaded) -> Result<(), String> {
    let request = request_of_json(line)?;
    if request.spans.is_none() && request.logs.is_none() {
        return Err("resourceSpans or resourceLogs: not there".to_owned());
    }
    let mut writer = store.writer();
    let mut rejected = 0;
    let spans = request.spans.unwrap_or_default();
    let read_spans = export_request::each_span(&spans, |resource, scope, span| {
        match fits(resource, scope, span) && writer.add(resource, scope, span) {
            true => loaded.spans += 1,
            false => rejected += 1,
        }
    });
    let logs = request.logs.unwrap_or_default();
    let read_logs = export_request::each_record(&logs, |resource, scope, record| {
        match fits(resource, scope, record) && writer.add_record(resource, scope, record) {
            true => loaded.records += 1,
            false => rejected += 1,
        }
    });
    loaded.rejected += rejected;
    read_spans
        .and(read_logs)
        .ok_or_else(|| "no request".to_owned())
}

impl Loaded {
    /// One line for a person.
    pub(super) fn told(&self, path: &Path) -> String {
        let path = path.display().to_string();
        let path = text::shown(&path);
        let mut told = match self.records {
            0 => format!("{} spans of {path}", self.spans),
            records => format!("{} spans and {records} log records of {path}", self.spans),
        };
        if self.rejected > 0 {
            told.push_str(&format!("; {} without ids, or too large", self.rejected));
        }
        if let Some(why) = &self.why {
            told.push_str(&format!(
                "; {} lines are no OTLP as JSON ({why})",
                self.wrong
            ));
        }
        told
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    fn line(span: u8) -> String {
        format!(
            r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"traceId":"{0}","spanId":"00000000000000{span:02x}","name":"s"}}]}}]}}]}}"#,
            "0a".repeat(16)
        )
    }

    #[test]
    fn lines_that_cannot_be_read_are_left_out_and_told() {
        let store = Store::new(1 << 20);
        let text = format!(
            "\u{feff}{}\r\n\n{{\"resourceMetrics\":[]}}\n{}\nnonsense \u{1b}[2J\n{{\"resourceSpans\":[{{\"scopeSpans\":[{{\"spans\":[{{}}]}}]}}]}}\n{}",
            line(1),
            line(2),
            line(3)
        );
        let loaded = read(&store, text.as_bytes()).unwrap();
        assert_eq!(store.held().spans, 3);
        let told = loaded.told(Path::new("a.jsonl"));
        assert_eq!(
            told,
            "3 spans of a.jsonl; 1 without ids, or too large; 2 lines are no OTLP as JSON \
             (line 3: resourceSpans or resourceLogs: not there)"
        );
        let mut broken = text.into_bytes();
        broken.insert(60, 0xff);
        let loaded = read(&store, &*broken).unwrap();
        assert!(loaded.told(Path::new("a")).contains("line 1: no UTF-8"));
    }
}
