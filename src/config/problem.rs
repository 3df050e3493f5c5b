//! What is wrong with a configuration file, as the admin reads it.

use std::{
    collections::BTreeMap,
    fmt,
    ops::Range,
    path::{Path, PathBuf},
};

use toml::de::{DeTable, DeValue};

/// One problem in one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Counted from one; none if the whole file is meant.
    pub line: Option<usize>,
    /// The key, as it is written in a dotted key: `adapters.matrix.homeserver`, `portals[0].room`.
    pub path: String,
    /// What is wrong and, after it, what to do.
    pub what: String,
}

/// Everything that is wrong with one file, in the order of its lines.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problems {
    pub file: PathBuf,
    pub problems: Vec<Problem>,
}

impl Problems {
    pub fn new(file: &Path, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| problem.line);
        Self { file: file.into(), problems }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.problems.len() == 1 { "" } else { "s" };
        write!(f, "{} has {} problem{plural}:", self.file.display(), self.problems.len())?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.what)
    }
}

/// Where each key of a document is. Problems are found by path, also by those who never see the text (an
/// adapter complains about `homeserver`), and get their line here.
#[derive(Clone, Debug, Default)]
pub struct Lines(BTreeMap<String, usize>);

impl Lines {
    pub(super) fn of(text: &str, document: &DeTable<'_>) -> Self {
        let mut lines = Self::default();
        // Counted once: a file with ten thousand portals has sixty thousand keys.
        let breaks: Vec<_> = text.match_indices('\n').map(|(at, _)| at).collect();
        lines.index(&breaks, "", document);
        lines
    }

    /// `breaks` is where each line ends.
    fn index(&mut self, breaks: &[usize], prefix: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let path = join(prefix, key.get_ref());
            self.0.insert(path.clone(), line_at(breaks, key.span()));
            match value.get_ref() {
                DeValue::Table(table) => self.index(breaks, &path, table),
                DeValue::Array(items) => {
                    for (i, item) in items.iter().enumerate() {
                        let path = format!("{path}[{i}]");
                        self.0.insert(path.clone(), line_at(breaks, item.span()));
                        if let DeValue::Table(table) = item.get_ref() {
                            self.index(breaks, &path, table);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    /// The problem with the line of its key, or of the table that the key is missing from.
    pub fn problem(&self, path: impl Into<String>, what: impl Into<String>) -> Problem {
        let path = path.into();
        let mut known = path.as_str();
        let line = loop {
            match (self.0.get(known), known.rfind(['.', '['])) {
                (Some(line), _) => break Some(*line),
                (None, Some(end)) => known = &known[..end],
                (None, None) => break None,
            }
        };
        Problem { line, path, what: what.into() }
    }
}

fn line_at(breaks: &[usize], span: Range<usize>) -> usize {
    1 + breaks.partition_point(|at| *at < span.start)
}

pub(super) fn line_of(text: &str, span: Range<usize>) -> usize {
    1 + text.as_bytes().iter().take(span.start).filter(|b| **b == b'\n').count()
}

/// `prefix.key`, with the key in quotes if TOML needs them.
pub(super) fn join(prefix: &str, key: &str) -> String {
    let bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    let key = if bare { key.to_owned() } else { format!("{key:?}") };
    if prefix.is_empty() { key } else { format!("{prefix}.{key}") }
}

/// ` (did you mean "listen"?)`, or nothing if no candidate is near enough.
pub fn did_you_mean<'a>(given: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    let near = |candidate: &str| strsim::damerau_levenshtein(&given.to_lowercase(), candidate);
    candidates
        .into_iter()
        .map(|candidate| (near(candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).max(1))
        .min()
        .map_or_else(String::new, |(_, candidate)| format!(" (did you mean {candidate:?}?)"))
}
