//! `db`: the database, while no gateway runs on it.

use std::{io::Write, path::PathBuf};

use clap::{Args, Subcommand};

use super::{ConfigArgs, DEFAULT_CONFIG, Failure};
use crate::{
    config::Config,
    store::{self, Place},
};

#[derive(Debug, Subcommand)]
pub(super) enum DbCommand {
    /// Bring the database to the schema of this version, and say what that took.
    ///
    /// `run` does the same by itself; this is for those who want to see it done before.
    Migrate(ConfigArgs),
    /// Move everything to another, empty database. The old one can't be started any more.
    ///
    /// For whoever outgrows one machine: from an SQLite file to PostgreSQL, or back. The gateway has to be stopped.
    /// Nothing is kept of a copy that is not whole, and after an interruption the same command goes on.
    ///
    /// Example:
    ///   mimi-gateway db copy --config gateway.toml --to postgres://mimi@db.a.example/mimi
    #[command(verbatim_doc_comment)]
    Copy(CopyArgs),
}

#[derive(Debug, Args)]
pub(super) struct CopyArgs {
    /// The configuration file that names the database to be copied.
    #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
    /// The new database: a postgres:// URL (its password in PGPASSWORD or ~/.pgpass), or the path of a file.
    #[arg(long, value_name = "URL|PATH")]
    to: String,
}

pub(super) async fn run(command: DbCommand, out: &mut impl Write) -> Result<(), Failure> {
    match command {
        DbCommand::Migrate(ConfigArgs { config }) => {
            let (place, domain) = database(&config)?;
            let applied = store::migrate(&place, &domain).await.map_err(Failure::failed)?;
            for step in &applied {
                writeln!(out, "{place}: schema {}, {}", step.version, step.description)?;
            }
            writeln!(out, "{place} has the current schema, {}.", store::current_schema())?;
        }
        DbCommand::Copy(CopyArgs { config, to }) => {
            let (from, domain) = database(&config)?;
            let to = match to.contains("://") {
                true => Place::Server(to.parse().map_err(|problem| Failure::Usage(format!("--to {problem}")))?),
                false => Place::File(std::path::absolute(to)?),
            };
            let tables = store::copy(&from, &to, &domain, |copied| {
                // Only progress: who reads it from a closed pipe still gets the copy.
                let digest = hex::encode(&copied.digest[..8]);
                let _ = writeln!(
                    out,
                    "{:<16} {:>9} rows  sha256 {digest}…  the same on both sides",
                    copied.table, copied.rows
                );
            })
            .await
            .map_err(Failure::failed)?;
            let rows: u64 = tables.iter().map(|copied| copied.rows).sum();
            writeln!(out, "\nEverything is in {to} ({rows} rows in {} tables).", tables.len())?;
            writeln!(out, "{from} can't be started any more; keep it until you have a backup of the new one.")?;
            let key = match to {
                Place::Server(_) => "url (or url_file, if there is a password in it)",
                Place::File(_) => "path",
            };
            writeln!(out, "Next: in {}, name {to} as {key} in [store], and start the gateway.", config.display())?;
        }
    }
    Ok(())
}

fn database(config: &std::path::Path) -> Result<(Place, String), Failure> {
    let config = Config::parse(config)?;
    let place = config.store.place().map_err(|e| Failure::Usage(format!("store.{}: {}", e.key, e.problem)))?;
    Ok((place, config.provider.domain.as_str().to_owned()))
}
