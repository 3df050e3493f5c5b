//! `registration`: what a messenger's server has to be told about the gateway.

use std::{io::Write, path::PathBuf};

use clap::Subcommand;

use super::{DEFAULT_CONFIG, Failure};

#[derive(Debug, Subcommand)]
pub(super) enum RegistrationCommand {
    /// Print the registration file for a Matrix homeserver, with both tokens in it.
    ///
    /// Name the file in the homeserver's configuration (in Synapse: app_service_config_files) and restart it.
    ///
    /// Example:
    ///   mimi-gateway registration matrix --config gateway.toml > mimi-registration.yaml
    #[command(verbatim_doc_comment)]
    Matrix {
        /// The configuration file.
        #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
        config: PathBuf,
        /// Which adapter, if the configuration has several of this kind.
        #[arg(long, value_name = "NAME")]
        adapter: Option<String>,
        /// Where the homeserver reaches the gateway, if that isn't what the configuration says.
        #[arg(long)]
        url: Option<String>,
    },
}

pub(super) fn print(command: &RegistrationCommand, out: &mut impl Write) -> Result<(), Failure> {
    let RegistrationCommand::Matrix { config, adapter, url } = command;
    let text = matrix(config, adapter.as_deref(), url.as_deref())?;
    Ok(out.write_all(text.as_bytes())?)
}

#[cfg(not(feature = "matrix"))]
fn matrix(_: &std::path::Path, _: Option<&str>, _: Option<&str>) -> Result<String, Failure> {
    Err(Failure::Usage(crate::adapters::not_built_in("matrix")))
}

#[cfg(feature = "matrix")]
fn matrix(file: &std::path::Path, name: Option<&str>, url: Option<&str>) -> Result<String, Failure> {
    use crate::config::{AdapterTable, Config};
    use mimi_adapter::{Context, toml::Value};

    let config = Config::parse(file)?;
    let mut tables = config.adapters.iter().filter(|(_, it)| it.kind == "matrix");
    let (name, AdapterTable { table, .. }) = match (name, tables.next(), tables.next()) {
        (None, Some(only), None) => only,
        (None, None, _) => {
            return Err(Failure::Usage(format!("{} has no adapter of kind \"matrix\"", file.display())));
        }
        (None, Some(_), Some(_)) => {
            return Err(Failure::Usage(format!(
                "{} has several adapters of kind \"matrix\": name one with --adapter",
                file.display()
            )));
        }
        (Some(name), ..) => match config.adapters.get_key_value(name) {
            Some(found) if found.1.kind == "matrix" => found,
            _ => return Err(Failure::Usage(format!("{} has no adapter {name:?} of kind \"matrix\"", file.display()))),
        },
    };
    let mut table = table.clone();
    if let Some(url) = url {
        table.insert("url".into(), Value::String(url.into()));
    }
    let context = Context { name: name.clone(), domain: config.provider.domain.clone() };
    mimi_matrix::registration(table, &context).map_err(|problems| {
        let lines = problems.iter().map(|it| format!("adapters.{name}.{}: {}", it.key, it.problem));
        Failure::Usage(lines.collect::<Vec<_>>().join("\n"))
    })
}
