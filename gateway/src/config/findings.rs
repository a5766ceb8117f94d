//! What is wrong with a configuration: collected, then told all at once.

use std::fmt;
use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;

use super::tree::{Node, Place, Step};

/// One error: where, what, and how to mend it.
#[derive(Debug)]
pub(crate) struct Finding {
    place: Option<Place>,
    key: String,
    reason: String,
}

/// The errors found so far.
#[derive(Debug, Default)]
pub(crate) struct Findings(Vec<Finding>);

impl Findings {
    /// An error of the file as a whole, where a place may be known but no key is.
    pub(crate) fn of_file(place: Option<Place>, reason: String) -> Self {
        Self(vec![Finding { place, key: String::new(), reason }])
    }

    /// Notes that what stands at `path` in `tree` is wrong.
    pub(crate) fn add(&mut self, tree: &Node, path: &[Step], reason: impl Into<String>) {
        let (place, key) = tree.describe(path);
        self.0.push(Finding { place: Some(place), key, reason: reason.into() });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn into_report(mut self, file: &Path) -> Report {
        self.0.sort_by_key(|finding| finding.place);
        Report { file: file.display().to_string(), findings: self.0 }
    }
}

/// One error, for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ConfigError {
    /// Counted from 1, where a place is known.
    pub line: Option<u64>,
    /// Counted from 1, where a place is known.
    pub column: Option<u64>,
    /// The path to what is wrong; empty for the file as a whole.
    pub key: String,
    /// What is wrong, and how to mend it.
    pub reason: String,
}

/// Everything that is wrong with a configuration file, one line each: `file:line:column: key: what and how to mend it`.
#[derive(Debug)]
pub struct Report {
    file: String,
    findings: Vec<Finding>,
}

impl Report {
    /// The report of a file that cannot be read.
    pub(crate) fn unreadable(file: &Path, error: &std::io::Error) -> Self {
        Findings::of_file(None, format!("cannot read the configuration: {error}")).into_report(file)
    }

    /// All of them, in the order of the file.
    pub fn errors(&self) -> Vec<ConfigError> {
        let errors = self.findings.iter().map(|finding| ConfigError {
            line: finding.place.map(|place| place.line),
            column: finding.place.map(|place| place.column),
            key: finding.key.clone(),
            reason: finding.reason.clone(),
        });
        errors.collect()
    }

    /// How many errors there are; at least one.
    pub fn count(&self) -> usize {
        self.findings.len()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, finding) in self.findings.iter().enumerate() {
            if position > 0 {
                formatter.write_str("\n")?;
            }
            formatter.write_str(&self.file)?;
            if let Some(place) = finding.place {
                write!(formatter, ":{}:{}", place.line, place.column)?;
            }
            if !finding.key.is_empty() {
                write!(formatter, ": {}", finding.key)?;
            }
            write!(formatter, ": {}", finding.reason)?;
        }
        Ok(())
    }
}

impl std::error::Error for Report {}

/// ` (did you mean "search"?)` when one of `names` is close to `name`, else nothing.
pub(crate) fn did_you_mean<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    let similarity = |candidate: &str| strsim::jaro_winkler(name, candidate);
    let best = names.into_iter().max_by(|one, other| similarity(one).total_cmp(&similarity(other)));
    match best.filter(|best| similarity(best) > 0.8) {
        Some(best) => format!("; did you mean {best:?}?"),
        None => String::new(),
    }
}
