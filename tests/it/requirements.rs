//! The table of requirements says the truth as far as a program can see it: every requirement is in it, what it names
//! is there, and the document that people read is made of it. That the named tests pass is what the rest of a run shows.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    fs,
    path::Path,
};

use serde::Deserialize;

/// The groups, with the number of their last requirement. An ID that is gone from the table is missed by these.
const GROUPS: [(char, usize, &str); 5] = [
    ('T', 13, "Transport and directory"),
    ('H', 47, "The hub"),
    ('F', 25, "The follower, and providers as such"),
    ('C', 45, "Clients and content"),
    ('R', 40, "Room policy"),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    source: String,
    asks: String,
    status: Status,
    /// `path: name`
    #[serde(default)]
    r#where: Vec<String>,
    #[serde(default)]
    tests: Vec<String>,
    lacks: Option<String>,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
enum Status {
    #[serde(rename = "met")]
    Met,
    #[serde(rename = "partly")]
    Partly,
    #[serde(rename = "not met")]
    NotMet,
    #[serde(rename = "not ours")]
    NotOurs,
}

impl Status {
    const ALL: [Self; 4] = [Self::Met, Self::Partly, Self::NotMet, Self::NotOurs];

    fn name(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::Partly => "partly",
            Self::NotMet => "not met",
            Self::NotOurs => "not ours",
        }
    }
}

type Table = BTreeMap<String, Row>;

fn text(path: &str) -> Option<String> {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).ok()
}

fn table() -> Table {
    // A key that stands there twice is no TOML.
    toml::from_str(&text("tests/requirements.toml").unwrap()).unwrap()
}

fn ids() -> impl Iterator<Item = String> {
    GROUPS.into_iter().flat_map(|(group, last, _)| (1..=last).map(move |n| format!("{group}-{n:02}")))
}

#[test]
fn every_requirement_is_in_the_table_and_what_it_names_is_there() {
    let table = table();
    let mut problems: Vec<String> =
        ids().filter(|id| !table.contains_key(id)).map(|id| format!("{id}: no row")).collect();
    let known: Vec<String> = ids().collect();
    for (id, row) in &table {
        let mut problem = |what: String| problems.push(format!("{id}: {what}"));
        if !known.contains(id) {
            problem("there is no such requirement".into());
        }
        if row.source.is_empty() || row.asks.is_empty() {
            problem("it says neither where it comes from nor what it asks".into());
        }
        let (has_where, has_tests) = (!row.r#where.is_empty(), !row.tests.is_empty());
        match (row.status, has_where, has_tests, &row.lacks) {
            (Status::Met, true, true, None) | (Status::Partly, true, _, Some(_)) => {}
            (Status::NotMet, _, false, Some(_)) | (Status::NotOurs, _, _, Some(_)) => {}
            (Status::Met, ..) => problem("what is met has a place, a test, and lacks nothing".into()),
            (Status::Partly, ..) => problem("what is partly met has a place, and says what it lacks".into()),
            (Status::NotMet, ..) => problem("what is not met has no test, and says why".into()),
            (Status::NotOurs, ..) => problem("what is not ours says why".into()),
        }
        for place in &row.r#where {
            if let Err(what) = is_there(place) {
                problem(what);
            }
        }
        for test in &row.tests {
            if let Err(what) = is_a_test(test) {
                problem(what);
            }
        }
    }
    assert!(problems.is_empty(), "tests/requirements.toml:\n{}", problems.join("\n"));
}

/// The file `path: name`, and the name.
fn named(place: &str) -> Result<(String, &str), String> {
    let (path, name) = place.split_once(": ").ok_or(format!("{place:?} is not `path: name`"))?;
    Ok((text(path).ok_or(format!("there is no {path}"))?, name))
}

/// What is named is defined there, `Type::function` in both its parts.
fn is_there(place: &str) -> Result<(), String> {
    let (source, name) = named(place)?;
    let words: Vec<_> = source.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|it| !it.is_empty()).collect();
    let defines = |keyword: &str| ["fn", "struct", "enum", "const", "trait", "type"].contains(&keyword);
    let defined = |part: &str| words.windows(2).any(|pair| defines(pair[0]) && pair[1] == part);
    match name.split("::").find(|part| !defined(part)) {
        Some(part) => Err(format!("{place:?}: the file defines no {part}")),
        None => Ok(()),
    }
}

fn is_a_test(test: &str) -> Result<(), String> {
    let (source, name) = named(test)?;
    let python = test.contains(".py: ");
    let head = if python { format!("def {name}(") } else { format!("fn {name}(") };
    let lines: Vec<&str> = source.lines().map(str::trim_start).collect();
    let at = lines
        .iter()
        .position(|line| line.trim_start_matches("async ").starts_with(&head))
        .ok_or(format!("{test:?}: there is no such function"))?;
    // What stands above a function belongs to it up to the first line that is neither an attribute nor a comment.
    let belongs = |line: &&&str| ["#[", "//", "@"].iter().any(|start| line.starts_with(start));
    let above: Vec<_> = lines[..at].iter().rev().take_while(belongs).collect();
    let is_test = match python {
        true => name.starts_with("test_"),
        false => above.iter().any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test")),
    };
    if !is_test {
        return Err(format!("{test:?} is no test"));
    }
    match above.iter().any(|line| line.starts_with("#[ignore") || line.contains("mark.skip")) {
        true => Err(format!("{test:?} is not run")),
        false => Ok(()),
    }
}

const DIFFERENCES: &str = "deploy/DIFFERENCES.md";

/// A decision is cited by its number where the code takes it, and stands with its reason in one document.
#[test]
fn every_decision_that_the_code_cites_is_explained_and_no_other() {
    let mut cited = BTreeSet::new();
    for directory in ["src", "adapters"] {
        numbers_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join(directory), &mut cited);
    }
    let document = text(DIFFERENCES).unwrap();
    let cell = |line: &str| line.strip_prefix("| D")?.split_once(' ').map(|(number, _)| format!("D{number}"));
    let explained: BTreeSet<String> = document.lines().filter_map(cell).collect();
    let missing: Vec<_> = cited.difference(&explained).collect();
    let idle: Vec<_> = explained.difference(&cited).collect();
    assert!(missing.is_empty() && idle.is_empty(), "{DIFFERENCES}: without a row {missing:?}, cited nowhere {idle:?}");
}

/// The `D20`s in the Rust files of a directory.
fn numbers_in(directory: &Path, cited: &mut BTreeSet<String>) {
    let digits = |number: &str| !number.is_empty() && number.chars().all(|c| c.is_ascii_digit());
    let is_decision = |word: &&str| word.strip_prefix('D').is_some_and(|rest| digits(rest.trim_end_matches('a')));
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            numbers_in(&path, cited);
        } else if path.extension().is_some_and(|it| it == "rs") {
            let source = fs::read_to_string(&path).unwrap();
            let words = source.split(|c: char| !c.is_alphanumeric() && c != '_');
            cited.extend(words.filter(is_decision).map(str::to_owned));
        }
    }
}

const DOCUMENT: &str = "tests/REQUIREMENTS.md";

#[test]
fn the_document_says_what_the_table_says() {
    let document = document(&table());
    if std::env::var_os("MIMI_REWRITE").is_some() {
        fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join(DOCUMENT), &document).unwrap();
    }
    let there = text(DOCUMENT).unwrap_or_default();
    assert!(
        there == document,
        "{DOCUMENT} is out of date: `MIMI_REWRITE=1 cargo test --test it requirements` writes it"
    );
}

fn document(table: &Table) -> String {
    let mut out = String::from(INTRODUCTION);
    let count = |group: Option<char>, status: Status| {
        let of = |id: &&String| group.is_none_or(|group| id.starts_with(group));
        table.keys().filter(of).filter(|id| table[*id].status == status).count()
    };
    out.push_str("\n| | met | partly | not met | not ours | in all |\n|---|---|---|---|---|---|\n");
    let groups = GROUPS.into_iter().map(|(group, _, title)| (Some(group), format!("[{group}](#{group}): {title}")));
    for (group, title) in groups.chain([(None, "**all**".into())]) {
        let counts = Status::ALL.map(|status| count(group, status));
        let [met, partly, not_met, not_ours] = counts;
        let all: usize = counts.iter().sum();
        writeln!(out, "| {title} | {met} | {partly} | {not_met} | {not_ours} | {all} |").unwrap();
    }
    for (group, _, title) in GROUPS {
        write!(out, "\n## <a name=\"{group}\"></a>{group}: {title}\n\n").unwrap();
        out.push_str("| | source | what it asks | | where | shown by |\n|---|---|---|---|---|---|\n");
        for (id, row) in table.iter().filter(|(id, _)| id.starts_with(group)) {
            let status = match &row.lacks {
                Some(lacks) => format!("**{}**: {lacks}", row.status.name()),
                None => row.status.name().into(),
            };
            let Row { source, asks, .. } = row;
            let (places, tests) = (cell(&row.r#where), cell(&row.tests));
            writeln!(out, "| {id} | {source} | {asks} | {status} | {places} | {tests} |").unwrap();
        }
    }
    out
}

/// `path: name` of the same file in one paragraph, with a link to the file.
fn cell(places: &[String]) -> String {
    let mut files: Vec<(&str, Vec<&str>)> = Vec::new();
    for (path, name) in places.iter().filter_map(|place| place.split_once(": ")) {
        match files.iter_mut().find(|(file, _)| *file == path) {
            Some((_, names)) => names.push(name),
            None => files.push((path, vec![name])),
        }
    }
    let file = |(path, names): &(&str, Vec<&str>)| {
        let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
        format!("[{path}](../{path}): {}", names.join(", "))
    };
    files.iter().map(file).collect::<Vec<_>>().join("<br>")
}

const INTRODUCTION: &str = "\
# What the drafts ask of a provider, and what of it is here

One row for each requirement of draft-ietf-mimi-protocol-06 (`P§`), draft-ietf-mimi-content-09 (`C§`),
draft-ietf-mimi-room-policy-04 (`R§`), draft-ietf-mls-extensions-10 (`X§`) and draft-mahy-mimi-message-status-01
(`status-01`), in our own words; `D…` are decisions where the drafts leave something open, which stand in
[DIFFERENCES](../deploy/DIFFERENCES.md).

**met**: it is done, and the tests named here fail if it is not. **partly**: some of it is done, and what is missing is
said. **not met**: it is not done. **not ours**: it does not concern a gateway.

This file is made of [requirements.toml](requirements.toml) by [a test](it/requirements.rs), which also checks that every
requirement has its row and that everything named in it exists. All of it runs in `tests/run`.
";
