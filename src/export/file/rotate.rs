//! [`Rotating`]: a file of lines with a bound of its size, and its predecessors.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;

pub(super) struct Rotating {
    path: PathBuf,
    max_size: u64,
    max_files: usize,
    /// `None` after a rotation that failed half-way.
    file: Option<File>,
    /// Bytes of complete lines.
    len: u64,
    /// Whether the file may end with an incomplete line.
    is_broken: bool,
}

impl Rotating {
    pub(super) fn open(path: PathBuf, max_size: u64, max_files: usize) -> io::Result<Self> {
        let mut rotating = Self {
            path,
            max_size,
            max_files,
            file: None,
            len: 0,
            is_broken: false,
        };
        rotating.reopen()?;
        Ok(rotating)
    }

    /// Appends a line, with its line break.
    pub(super) fn put(&mut self, line: &[u8]) -> io::Result<()> {
        let more = line.len() as u64;
        if self.len > 0 && self.len + more > self.max_size {
            self.rotate()?;
        }
        if self.file.is_none() {
            self.reopen()?;
        }
        let Some(file) = &mut self.file else {
            return Err(io::ErrorKind::NotFound.into());
        };
        if self.is_broken {
            file.set_len(self.len)?;
        }
        self.is_broken = true;
        file.write_all(line)?;
        self.is_broken = false;
        self.len += more;
        Ok(())
    }

    fn reopen(&mut self) -> io::Result<()> {
        let options = |options: &mut OpenOptions| {
            options
                .create(true)
                .append(true)
                .read(true)
                .open(&self.path)
        };
        let mut file = options(&mut OpenOptions::new())?;
        let mut len = file.metadata()?.len();
        // A process that died while it wrote left an incomplete line.
        if len > 0 {
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                file.write_all(b"\n")?;
                len += 1;
            }
        }
        (self.file, self.len, self.is_broken) = (Some(file), len, false);
        Ok(())
    }

    /// Renames each file to the next number, from the oldest on; the oldest is overwritten.
    fn rotate(&mut self) -> io::Result<()> {
        self.file = None;
        if self.max_files < 2 {
            fs::remove_file(&self.path)?;
        } else {
            for number in (1..self.max_files - 1).rev() {
                match fs::rename(self.numbered(number), self.numbered(number + 1)) {
                    Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                    _ => {}
                }
            }
            fs::rename(&self.path, self.numbered(1))?;
        }
        self.reopen()
    }

    /// `shop.1.jsonl` for `shop.jsonl`, so that `shop*.jsonl` means all of them.
    fn numbered(&self, number: usize) -> PathBuf {
        let mut name = self.path.file_stem().unwrap_or_default().to_owned();
        name.push(format!(".{number}"));
        if let Some(ending) = self.path.extension() {
            name.push(".");
            name.push(ending);
        }
        self.path.with_file_name(name)
    }
}
