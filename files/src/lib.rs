//! What is made of files, and made again when one of them has changed: secrets, keys, certificates.
//!
//! There is no watcher to set up and none that can miss a change: the files are looked at whenever what is in them is
//! used. A file that cannot be used any more leaves what was made before in use, with a warning.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;

/// A `T` made of files.
pub struct FromFiles<T, E> {
    files: Vec<PathBuf>,
    make: Box<dyn Fn() -> Result<T, E> + Send + Sync>,
    known: Mutex<Known<T>>,
}

struct Known<T> {
    value: Arc<T>,
    /// What the files looked like: when these change, they are read again.
    seen: Vec<Option<Appearance>>,
    /// What they looked like when that failed: warned of once.
    warned: Option<Vec<Option<Appearance>>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Appearance {
    modified: SystemTime,
    length: u64,
    inode: u64,
}

impl<T, E: fmt::Display> FromFiles<T, E> {
    /// What `make` makes of `files`, now and whenever they have changed.
    ///
    /// # Errors
    /// That of `make`.
    pub fn new(files: Vec<PathBuf>, make: impl Fn() -> Result<T, E> + Send + Sync + 'static) -> Result<Self, E> {
        // Looked at before they are read: a change in between is seen at the next use.
        let seen = appearances(&files);
        let known = Known { value: Arc::new(make()?), seen, warned: None };
        Ok(Self { files, make: Box::new(make), known: Mutex::new(known) })
    }

    /// The same for what cannot wait until the files are of use: until then it is `value`.
    pub fn beginning_with(
        value: T,
        files: Vec<PathBuf>,
        make: impl Fn() -> Result<T, E> + Send + Sync + 'static,
    ) -> Self {
        let known = Known { value: Arc::new(value), seen: Vec::new(), warned: None };
        Self { files, make: Box::new(make), known: Mutex::new(known) }
    }

    /// What the files are worth now. When they have become unusable, what they were worth before.
    pub fn current(&self) -> Arc<T> {
        let seen = appearances(&self.files);
        let mut known = self.known.lock();
        if known.seen != seen {
            match (self.make)() {
                Ok(value) => *known = Known { value: Arc::new(value), seen, warned: None },
                Err(error) => {
                    if known.warned.as_ref() != Some(&seen) {
                        tracing::warn!(files = ?self.files, %error, "changed files are of no use; what they were before stays in use");
                    }
                    known.warned = Some(seen);
                }
            }
        }
        known.value.clone()
    }
}

fn appearances(files: &[PathBuf]) -> Vec<Option<Appearance>> {
    let appearance = |file: &PathBuf| -> io::Result<Appearance> {
        use std::os::unix::fs::MetadataExt as _;
        let metadata = file.metadata()?;
        Ok(Appearance { modified: metadata.modified()?, length: metadata.len(), inode: metadata.ino() })
    };
    files.iter().map(|file| appearance(file).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_any_file_counts_and_one_for_the_worse_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let files = vec![folder.path().join("one"), folder.path().join("two")];
        std::fs::write(&files[0], "1").unwrap();
        std::fs::write(&files[1], "2").unwrap();
        let paths = files.clone();
        let both = FromFiles::new(files.clone(), move || {
            Ok::<_, io::Error>(std::fs::read_to_string(&paths[0])? + &std::fs::read_to_string(&paths[1])?)
        })
        .unwrap();
        assert_eq!(*both.current(), "12");
        std::fs::write(&files[1], "22").unwrap();
        assert_eq!(*both.current(), "122");
        std::fs::remove_file(&files[0]).unwrap();
        assert_eq!(*both.current(), "122");
        std::fs::write(&files[0], "3").unwrap();
        assert_eq!(*both.current(), "322");
    }

    #[test]
    fn what_is_not_there_yet_is_taken_up_when_it_comes() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("one");
        let path = file.clone();
        let read =
            FromFiles::beginning_with("none".to_owned(), vec![file.clone()], move || std::fs::read_to_string(&path));
        assert_eq!(*read.current(), "none");
        std::fs::write(&file, "1").unwrap();
        assert_eq!(*read.current(), "1");
    }

    #[test]
    fn what_is_unchanged_is_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("one");
        std::fs::write(&file, "1").unwrap();
        let made = FromFiles::new(vec![file], || Ok::<_, io::Error>(())).unwrap();
        assert!(Arc::ptr_eq(&made.current(), &made.current()));
    }
}
