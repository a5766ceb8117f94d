//! Records as lines of JSON: on standard output, or in a file that others may move away at any time.
//!
//! A file is looked for before each batch: when what stands at its path is not what is written to, it was moved by
//! logrotate or by hand, and a new one is begun. So nothing needs to be told to the gateway, and no line is lost or written
//! in two halves.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::JsonRecord;
use crate::delivery::Destination;

/// How many bytes are written at once: for more of them Linux takes larger pages, of memory that nobody has used for long, and
/// a line costs up to five times as much.
const PIECE: usize = 64 * 1024;

/// Lines of JSON to somewhere.
pub(super) struct Lines {
    place: Place,
    file: File,
    /// The lines of the batch at hand.
    lines: Vec<u8>,
    /// How much of them has been written.
    written: usize,
}

enum Place {
    StandardOutput,
    File(PathBuf),
}

impl Lines {
    /// To standard output.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn to_stdout() -> io::Result<Self> {
        Ok(Self::new(Place::StandardOutput, File::from(io::stdout().as_fd().try_clone_to_owned()?)))
    }

    /// To the file at `path`, after what is in it. It is made when it is not there, for its owner alone.
    ///
    /// # Errors
    /// When it cannot be written to, or is not a file.
    pub(super) fn to_file(path: &Path) -> io::Result<Self> {
        Ok(Self::new(Place::File(path.to_owned()), open(path)?))
    }

    fn new(place: Place, file: File) -> Self {
        Self { place, file, lines: Vec::new(), written: 0 }
    }

    /// Begins another file. What was written of a line is written there again, whole.
    fn begin_file(&mut self) -> io::Result<()> {
        if let Place::File(path) = &self.place {
            self.file = open(path)?;
            let written = self.lines.get(..self.written).unwrap_or_default();
            self.written = written.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        }
        Ok(())
    }

    fn was_moved(&self) -> bool {
        let Place::File(path) = &self.place else { return false };
        let identity = |metadata: &Metadata| (metadata.dev(), metadata.ino());
        match (std::fs::metadata(path), self.file.metadata()) {
            (Ok(there), Ok(here)) => identity(&there) != identity(&here),
            (Err(_), _) => true,
            (Ok(_), Err(_)) => false,
        }
    }

    fn write(&mut self) -> io::Result<()> {
        if self.was_moved() {
            self.begin_file()?;
        }
        while let Some(rest) = self.lines.get(self.written..).filter(|rest| !rest.is_empty()) {
            match self.file.write(whole_lines(rest)) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Destination<JsonRecord> for Lines {
    fn deliver(&mut self, batch: &[JsonRecord]) -> Result<usize, String> {
        // What has failed comes again, and goes on where it broke off.
        if self.written >= self.lines.len() || self.lines == b"\n" {
            for record in batch {
                self.lines.extend_from_slice(record.text().as_bytes());
                self.lines.push(b'\n');
            }
        }
        self.write().map_err(|error| error.to_string())?;
        self.lines.clear();
        self.written = 0;
        Ok(0)
    }

    fn give_up(&mut self) {
        let is_within_a_line = self.written > 0 && self.lines.get(self.written - 1) != Some(&b'\n');
        self.lines.clear();
        self.written = 0;
        if is_within_a_line {
            self.lines.push(b'\n');
        }
    }

    fn reopen(&mut self) {
        // If it cannot be opened, the next batch tells.
        let _ = self.begin_file();
    }
}

/// A piece of `lines` that ends with a line, as another process may append to the same file: after an upgrade, both do.
fn whole_lines(lines: &[u8]) -> &[u8] {
    let piece = lines.get(..PIECE).unwrap_or(lines);
    let end = piece.iter().rposition(|byte| *byte == b'\n');
    end.and_then(|end| lines.get(..=end)).unwrap_or(lines)
}

fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file"));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::AuditRecord;
    use super::super::record::tests::record;
    use super::*;

    fn batch(subjects: &[&str]) -> Vec<JsonRecord> {
        let of = |subject: &&str| JsonRecord::from(&AuditRecord { subject: Some((*subject).into()), ..record() });
        subjects.iter().map(of).collect()
    }

    fn subjects(path: &Path) -> Vec<String> {
        let text = std::fs::read_to_string(path).unwrap();
        let subject = |line: &str| {
            let record: serde_json::Value = serde_json::from_str(line).unwrap();
            record["subject"].as_str().unwrap().to_owned()
        };
        text.lines().map(subject).collect()
    }

    #[test]
    fn pieces_are_whole_lines() {
        let line = format!("{}\n", "a".repeat(999));
        let lines = line.repeat(100).into_bytes();
        assert_eq!(whole_lines(&lines).len(), 65_000);
        assert_eq!(whole_lines(&lines[65_000..]).len(), 35_000);
        let long = format!("{}\n", "a".repeat(100_000)).into_bytes();
        assert_eq!(whole_lines(&long), long);
    }

    #[test]
    fn a_file_is_for_its_owner_alone_and_is_written_to_at_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        Lines::to_file(&path).unwrap().deliver(&batch(&["a", "b"])).unwrap();
        Lines::to_file(&path).unwrap().deliver(&batch(&["c"])).unwrap();
        assert_eq!(subjects(&path), ["a", "b", "c"]);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_was_moved_is_followed_by_another() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("audit.jsonl"), folder.path().join("audit.jsonl.1"));
        let mut lines = Lines::to_file(&path).unwrap();
        lines.deliver(&batch(&["a"])).unwrap();
        std::fs::rename(&path, &moved).unwrap();
        lines.deliver(&batch(&["b"])).unwrap();
        // As `logrotate` does it with `create`.
        std::fs::rename(&path, folder.path().join("audit.jsonl.2")).unwrap();
        std::fs::write(&path, "").unwrap();
        lines.deliver(&batch(&["c"])).unwrap();
        assert_eq!(subjects(&moved), ["a"]);
        assert_eq!(subjects(&folder.path().join("audit.jsonl.2")), ["b"]);
        assert_eq!(subjects(&path), ["c"]);
    }

    #[test]
    fn a_line_that_broke_off_is_whole_in_the_next_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let mut lines = Lines::to_file(&path).unwrap();
        lines.lines = b"{\"subject\":\"a\"}\n{\"subject\":\"b\"}\n".to_vec();
        lines.written = 20;
        std::fs::remove_file(&path).unwrap();
        lines.deliver(&[]).unwrap();
        assert_eq!(subjects(&path), ["b"]);
    }

    #[test]
    fn what_was_given_up_in_the_middle_of_a_line_does_not_spoil_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let mut lines = Lines::to_file(&path).unwrap();
        lines.file.write_all(b"{\"sub").unwrap();
        (lines.lines, lines.written) = (b"{\"subject\":\"a\"}\n".to_vec(), 5);
        lines.give_up();
        lines.deliver(&batch(&["b"])).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 2, "{text}");
    }

    #[test]
    fn what_is_no_file_is_not_written_to() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Lines::to_file(folder.path()).is_err());
        assert!(Lines::to_file(Path::new("/dev/null")).is_err());
        assert!(Lines::to_file(&folder.path().join("missing/audit.jsonl")).is_err());
    }
}
