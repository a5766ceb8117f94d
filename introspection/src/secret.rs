//! Secrets from files and the environment. A file is looked at again whenever its secret is used, so that a rotated secret
//! counts from then on.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use phantomgate_files::FromFiles;
use zeroize::Zeroizing;

/// A text that is shown to nobody. Cheap to clone; clones share what was read.
#[derive(Clone)]
pub struct Secret(Source);

#[derive(Clone)]
enum Source {
    Fixed(Arc<Zeroizing<String>>),
    File { path: PathBuf, content: Arc<FromFiles<Zeroizing<String>, io::Error>> },
}

impl Secret {
    /// A secret that never changes: from the environment.
    pub fn fixed(text: Zeroizing<String>) -> Self {
        Self(Source::Fixed(Arc::new(text)))
    }

    /// The secret in the file at `path`, without its final line break.
    ///
    /// # Errors
    /// When the file cannot be read, or has nothing in it.
    pub fn file(path: &Path) -> io::Result<Self> {
        let path = path.to_owned();
        let content = FromFiles::new(vec![path.clone()], {
            let path = path.clone();
            move || read(&path)
        })?;
        Ok(Self(Source::File { path, content: Arc::new(content) }))
    }

    /// The secret as it is now. When its file has become unreadable or empty, as it was before.
    pub fn current(&self) -> Arc<Zeroizing<String>> {
        match &self.0 {
            Source::Fixed(text) => text.clone(),
            Source::File { content, .. } => content.current(),
        }
    }
}

/// Two secrets are the same when they come from the same place: a file that changes is followed by all that know it.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Source::Fixed(one), Source::Fixed(other)) => one == other,
            (Source::File { path: one, .. }, Source::File { path: other, .. }) => one == other,
            (Source::Fixed(_), Source::File { .. }) | (Source::File { .. }, Source::Fixed(_)) => false,
        }
    }
}

impl Eq for Secret {}

/// What is made of a secret, and made again when the secret has changed: a key.
pub(crate) struct FromSecret<T> {
    secret: Secret,
    make: Make<T>,
    known: Mutex<Made<T>>,
}

type Make<T> = Box<dyn Fn(&str) -> Option<T> + Send + Sync>;

struct Made<T> {
    value: Arc<T>,
    /// The secret that was looked at last. One that nothing could be made of is looked at, and warned of, once.
    seen: Arc<Zeroizing<String>>,
}

impl<T> FromSecret<T> {
    /// What `make` makes of `secret`; `None` when it makes nothing of it.
    pub(crate) fn new(secret: Secret, make: impl Fn(&str) -> Option<T> + Send + Sync + 'static) -> Option<Self> {
        let seen = secret.current();
        let value = Arc::new(make(&seen)?);
        Some(Self { secret, make: Box::new(make), known: Mutex::new(Made { value, seen }) })
    }

    /// What the secret is worth now. When it has become unusable, what it was worth before.
    pub(crate) fn current(&self) -> Arc<T> {
        let secret = self.secret.current();
        let mut known = self.known.lock();
        if !Arc::ptr_eq(&known.seen, &secret) {
            match (self.make)(&secret) {
                Some(value) => known.value = Arc::new(value),
                None => tracing::warn!("a changed key is of no use; the one before stays in use"),
            }
            known.seen = secret;
        }
        known.value.clone()
    }
}

fn read(path: &Path) -> io::Result<Zeroizing<String>> {
    let text = Zeroizing::new(std::fs::read_to_string(path)?);
    let secret = text.strip_suffix('\n').unwrap_or(&text);
    let secret = secret.strip_suffix('\r').unwrap_or(secret);
    if secret.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the secret is empty"));
    }
    Ok(Zeroizing::new(secret.to_owned()))
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotated_file_counts_from_its_next_use_and_a_broken_one_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, "one\r\n").unwrap();
        let secret = Secret::file(&path).unwrap();
        assert_eq!(**secret.current(), "one");
        std::fs::write(&path, "second").unwrap();
        assert_eq!(**secret.current(), "second");
        std::fs::write(&path, "\n").unwrap();
        assert_eq!(**secret.current(), "second");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(**secret.clone().current(), "second");
    }

    #[test]
    fn what_is_made_of_a_secret_follows_it_unless_nothing_can_be_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("number");
        let number = |text: &str| text.parse::<u32>().ok();
        std::fs::write(&path, "seven").unwrap();
        assert!(FromSecret::new(Secret::file(&path).unwrap(), number).is_none());
        std::fs::write(&path, "7").unwrap();
        let made = FromSecret::new(Secret::file(&path).unwrap(), number).unwrap();
        assert!(Arc::ptr_eq(&made.current(), &made.current()));
        std::fs::write(&path, "nine").unwrap();
        assert_eq!(*made.current(), 7);
        std::fs::write(&path, "11").unwrap();
        assert_eq!(*made.current(), 11);
    }

    #[test]
    fn an_empty_file_and_none_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("empty"), "\n").unwrap();
        assert!(Secret::file(&folder.path().join("empty")).is_err());
        assert!(Secret::file(&folder.path().join("none")).is_err());
    }

    #[test]
    fn a_secret_does_not_show_itself() {
        let secret = Secret::fixed(Zeroizing::new("hunter2".to_owned()));
        assert_eq!(format!("{secret:?}"), "Secret(hidden)");
    }
}
