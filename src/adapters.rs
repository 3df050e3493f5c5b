//! The table of adapter kinds: the only file that names them.

mod page;

use std::{collections::BTreeMap, sync::Arc};

use mimi_adapter::{Adapter, AdapterKind, Context, Domain};

pub use page::page;

use crate::config::{AdapterTable, Lines, Problem, did_you_mean};

/// The adapters of one gateway by the name of their table.
pub type Adapters = BTreeMap<String, Arc<dyn Adapter>>;

/// What this binary was built with.
pub const KINDS: &[&AdapterKind] = &[
    &mimi_loopback::KIND,
    #[cfg(feature = "matrix")]
    &mimi_matrix::KIND,
    #[cfg(feature = "xmpp")]
    &mimi_xmpp::KIND,
    #[cfg(feature = "email")]
    &mimi_email::KIND,
];

/// Every kind there is. Those that bring libraries of their network with them are cargo features.
const NAMES: [&str; 4] = ["loopback", "matrix", "xmpp", "email"];

/// The value of a `kind` key. Whether this binary has it is another question, which [`build`] answers.
pub fn known(kind: &str) -> Result<String, String> {
    if NAMES.contains(&kind) {
        Ok(kind.to_owned())
    } else {
        let hint = did_you_mean(kind, NAMES);
        Err(format!("there is no adapter of kind {kind:?}{hint}; there are: {}", NAMES.join(", ")))
    }
}

/// The kind, if this binary has it.
pub fn kind(name: &str) -> Result<&'static AdapterKind, String> {
    let name = known(name)?;
    KINDS.iter().find(|kind| kind.name == name).copied().ok_or_else(|| not_built_in(&name))
}

pub fn not_built_in(kind: &str) -> String {
    format!(
        "this mimi-gateway was built without the {kind} adapter \
         (build it with `cargo build --release --features {kind}`)"
    )
}

/// Builds each adapter that can be built, and says of each other why not. Without `domain` (it was wrong)
/// it is only about the problems.
pub fn build(
    tables: &BTreeMap<String, AdapterTable>,
    domain: Option<&Domain>,
    lines: &Lines,
) -> (Adapters, Vec<Problem>) {
    let (mut adapters, mut problems) = (Adapters::new(), Vec::new());
    let unknown = || Domain::parse("unknown.invalid").expect("a domain name");
    let domain = domain.cloned().unwrap_or_else(unknown);
    for (name, AdapterTable { kind, table }) in tables {
        let kind = match self::kind(kind) {
            Ok(kind) => kind,
            Err(what) => {
                problems.push(lines.problem(format!("adapters.{name}.kind"), what));
                continue;
            }
        };
        match (kind.build)(table.clone(), &Context { name: name.clone(), domain: domain.clone() }) {
            Ok(adapter) => drop(adapters.insert(name.clone(), adapter)),
            Err(found) => problems.extend(
                found.into_iter().map(|error| lines.problem(format!("adapters.{name}.{}", error.key), error.problem)),
            ),
        }
    }
    (adapters, problems)
}
