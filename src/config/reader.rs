//! Reads a TOML table key by key, and notes what is wrong instead of stopping at it.
//!
//! Why not serde? It answers with the first error only, and an admin who mends a file one error per start
//! gives up. Here a key that is asked for is thereby known, so the code that reads a table is also the list
//! of its keys: what nobody asked for is unknown ([`Reader::finish`]).

use std::{cell::RefCell, fmt::Display};

use toml::de::{DeTable, DeValue};

use super::problem::{Lines, Problem, did_you_mean, join};

/// The problems of one document while it is being read.
pub(super) struct Notes {
    pub lines: Lines,
    problems: RefCell<Vec<Problem>>,
    #[cfg(test)]
    pub asked: RefCell<std::collections::BTreeSet<String>>,
}

impl Notes {
    pub fn new(lines: Lines) -> Self {
        Self {
            lines,
            problems: RefCell::default(),
            #[cfg(test)]
            asked: RefCell::default(),
        }
    }

    pub fn note(&self, path: impl Into<String>, what: impl Into<String>) {
        self.problems.borrow_mut().push(self.lines.problem(path, what));
    }

    pub fn into_problems(self) -> Vec<Problem> {
        self.problems.into_inner()
    }
}

/// One table. A table that isn't there reads as an empty one.
pub(super) struct Reader<'a> {
    notes: &'a Notes,
    path: String,
    table: Option<&'a DeTable<'a>>,
    asked: Vec<String>,
}

impl<'a> Reader<'a> {
    pub fn new(notes: &'a Notes, path: impl Into<String>, table: Option<&'a DeTable<'a>>) -> Self {
        Self { notes, path: path.into(), table, asked: Vec::new() }
    }

    pub fn path_of(&self, key: &str) -> String {
        join(&self.path, key)
    }

    pub fn note(&self, key: &str, what: impl Into<String>) {
        self.notes.note(self.path_of(key), what);
    }

    /// `None`: it isn't there, or is not what it should be, and that has been noted.
    pub fn required<T>(&mut self, key: &str, parse: impl FnOnce(&DeValue<'_>) -> Result<T, String>) -> Option<T> {
        match self.value(key) {
            Some(value) => self.parsed(self.path_of(key), value, parse),
            None => {
                self.note(key, "is missing");
                None
            }
        }
    }

    pub fn optional<T>(&mut self, key: &str, parse: impl FnOnce(&DeValue<'_>) -> Result<T, String>) -> Option<T> {
        let value = self.value(key)?;
        self.parsed(self.path_of(key), value, parse)
    }

    /// Each item of an array by itself, so that two wrong ones are two problems. Absent is empty.
    pub fn list<T>(&mut self, key: &str, parse: impl Fn(&DeValue<'_>) -> Result<T, String>) -> Vec<T> {
        match self.value(key) {
            None => Vec::new(),
            Some(DeValue::Array(items)) => {
                let path = |i| format!("{}[{i}]", self.path_of(key));
                let items = items.iter().enumerate();
                items.filter_map(|(i, item)| self.parsed(path(i), item.get_ref(), &parse)).collect()
            }
            Some(other) => {
                self.note(key, format!("is {}, but should be an array", kind(other)));
                Vec::new()
            }
        }
    }

    /// A table with fixed keys.
    pub fn table(&mut self, key: &str) -> Reader<'a> {
        let table = match self.value(key) {
            None => None,
            Some(DeValue::Table(table)) => Some(table),
            Some(other) => {
                self.note(key, format!("is {}, but should be a table", kind(other)));
                None
            }
        };
        Reader::new(self.notes, self.path_of(key), table)
    }

    /// A table whose keys are names that the admin chose.
    pub fn names(&mut self, key: &str) -> Vec<(&'a str, &'a DeValue<'a>)> {
        let Some(table) = self.table(key).table else { return Vec::new() };
        table.iter().map(|(name, value)| (name.get_ref().as_ref(), value.get_ref())).collect()
    }

    /// An array of tables, `[[key]]`.
    pub fn tables(&mut self, key: &str) -> Vec<Reader<'a>> {
        let mut tables = Vec::new();
        match self.value(key) {
            None => {}
            Some(DeValue::Array(items)) if items.iter().all(|item| item.get_ref().is_table()) => {
                for (i, item) in items.iter().enumerate() {
                    let path = format!("{}[{i}]", self.path_of(key));
                    tables.push(Reader::new(self.notes, path, item.get_ref().as_table()));
                }
            }
            Some(_) => self.note(key, format!("should be written as [[{key}]], once for each")),
        }
        tables
    }

    /// Notes every key that nobody asked for.
    pub fn finish(self) {
        for (key, _) in self.table.into_iter().flatten() {
            let key = key.get_ref().as_ref();
            if !self.asked.iter().any(|asked| asked == key) {
                let hint = did_you_mean(key, self.asked.iter().map(String::as_str));
                self.note(key, format!("is not a key that mimi-gateway knows{hint}"));
            }
        }
    }

    fn value(&mut self, key: &str) -> Option<&'a DeValue<'a>> {
        self.asked.push(key.into());
        #[cfg(test)]
        self.notes.asked.borrow_mut().insert(self.path_of(key));
        self.table?.get(key).map(|value| value.get_ref())
    }

    fn parsed<T>(
        &self,
        path: String,
        value: &DeValue<'_>,
        parse: impl FnOnce(&DeValue<'_>) -> Result<T, String>,
    ) -> Option<T> {
        parse(value).map_err(|what| self.notes.note(path, what)).ok()
    }
}

/// A string that `parse` understands.
pub(super) fn text<T, E: Display>(parse: impl Fn(&str) -> Result<T, E>) -> impl Fn(&DeValue<'_>) -> Result<T, String> {
    move |value| match value {
        DeValue::String(text) => parse(text).map_err(|e| e.to_string()),
        other => Err(format!("is {}, but should be a string", kind(other))),
    }
}

/// A TCP port.
pub(super) fn port(value: &DeValue<'_>) -> Result<u16, String> {
    match value {
        DeValue::Integer(number) => match u16::from_str_radix(number.as_str(), number.radix()) {
            Ok(port) if port > 0 => Ok(port),
            _ => Err(format!("{number} is not a port (1 to 65535)")),
        },
        other => Err(format!("is {}, but should be a number", kind(other))),
    }
}

pub(super) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}
