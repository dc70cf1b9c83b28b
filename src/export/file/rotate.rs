//! [`Rotating`]: a file of lines with a bound of its size, and its predecessors.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
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
        self.look()?;
        self.mend()?;
        if self.len > 0 && self.len + more > self.max_size {
            self.rotate()?;
        }
        if self.file.is_none() {
            self.reopen()?;
        }
        let Some(file) = &mut self.file else {
            return Err(ErrorKind::NotFound.into());
        };
        self.is_broken = true;
        file.write_all(line)?;
        self.is_broken = false;
        self.len += more;
        Ok(())
    }

    /// Ends or removes an incomplete line, also of a file that gets another name next.
    fn mend(&mut self) -> io::Result<()> {
        if let Some(file) = &mut self.file
            && std::mem::take(&mut self.is_broken)
            && file.set_len(self.len).is_err()
        {
            // No ordinary file: a pipe, for example.
            self.is_broken = true;
            file.write_all(b"\n")?;
            self.is_broken = false;
        }
        Ok(())
    }

    /// Others may have moved, removed or emptied the file: what is written to a file without a name is lost.
    fn look(&mut self) -> io::Result<()> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        let own = file.metadata()?;
        match fs::metadata(&self.path) {
            Err(e) if e.kind() == ErrorKind::NotFound => self.file = None,
            Err(e) => return Err(e),
            Ok(named) if !is_same(&named, &own) => self.file = None,
            Ok(_) => self.len = self.len.min(own.len()),
        }
        if self.file.is_none() {
            self.len = 0;
        }
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

    /// Gives each file the next number, up to the first number that is free; without one the oldest is
    /// overwritten. So a rotation that fails half-way costs no file when it is repeated.
    fn rotate(&mut self) -> io::Result<()> {
        self.file = None;
        if self.max_files < 2 {
            unless_gone(fs::remove_file(&self.path))?;
        } else {
            let numbers = 1..self.max_files - 1;
            let is_free = |number: &usize| !self.numbered(*number).exists();
            let taken = numbers
                .clone()
                .find(is_free)
                .map_or(numbers.end, |free| free);
            for number in (1..taken).rev() {
                fs::rename(self.numbered(number), self.numbered(number + 1))?;
            }
            unless_gone(fs::rename(&self.path, self.numbered(1)))?;
        }
        // Also where the next step fails: there is nothing to rotate any more.
        self.len = 0;
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

/// Others may have taken the file away since it was looked for.
fn unless_gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Whether both are of one file.
#[cfg(unix)]
fn is_same(a: &Metadata, b: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

/// Here an open file keeps its name.
#[cfg(not(unix))]
fn is_same(_: &Metadata, _: &Metadata) -> bool {
    true
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    /// A folder of this test, and a file of at most ten bytes in it.
    fn rotating(name: &str, max_files: usize) -> (PathBuf, Rotating) {
        let name = format!("tracing-otlp-rotate-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        let file = Rotating::open(folder.join("shop.jsonl"), 10, max_files).unwrap();
        (folder, file)
    }

    #[test]
    fn a_file_is_whole_when_it_is_rotated() {
        let (folder, mut file) = rotating("whole", 3);
        file.put(b"12345\n").unwrap();
        // The disk was full in the middle of a line.
        file.file.as_mut().unwrap().write_all(b"123").unwrap();
        file.is_broken = true;
        file.put(b"1234567\n").unwrap();
        let text = |name| fs::read_to_string(folder.join(name)).unwrap();
        assert_eq!(text("shop.1.jsonl"), "12345\n");
        assert_eq!(text("shop.jsonl"), "1234567\n");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_file_that_goes_while_it_is_rotated_is_begun_anew() {
        for max_files in [1, 3] {
            let (folder, mut file) = rotating(&format!("gone-{max_files}"), max_files);
            file.put(b"12345\n").unwrap();
            fs::remove_file(folder.join("shop.jsonl")).unwrap();
            file.rotate().unwrap();
            file.put(b"1234567\n").unwrap();
            let text = fs::read_to_string(folder.join("shop.jsonl")).unwrap();
            assert_eq!(text, "1234567\n");
            fs::remove_dir_all(folder).unwrap();
        }
    }
}
