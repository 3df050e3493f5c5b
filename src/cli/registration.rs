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
    use mimi_adapter::{Context, toml::Value};

    let config = crate::config::Config::parse(file)?;
    let of_the_kind = config.adapters.iter().filter(|(_, it)| it.kind == "matrix");
    let mut found: Vec<_> = of_the_kind.filter(|(it, _)| name.is_none_or(|name| name == *it)).collect();
    let (name, adapter) = match (found.pop(), name) {
        (Some(only), _) if found.is_empty() => only,
        (Some(_), _) => {
            let what = "has several adapters of kind \"matrix\" (name one with --adapter)";
            return Err(Failure::Usage(format!("{} {what}", file.display())));
        }
        (None, name) => {
            let called = name.map(|name| format!(" called {name:?}")).unwrap_or_default();
            return Err(Failure::Usage(format!("{} has no adapter of kind \"matrix\"{called}", file.display())));
        }
    };
    let mut table = adapter.table.clone();
    if let Some(url) = url {
        table.insert("url".into(), Value::String(url.into()));
    }
    let context = Context { name: name.clone(), domain: config.provider.domain.clone() };
    mimi_matrix::registration(table, &context).map_err(|problems| {
        let lines = problems.iter().map(|it| format!("adapters.{name}.{}: {}", it.key, it.problem));
        Failure::Usage(lines.collect::<Vec<_>>().join("\n"))
    })
}

#[cfg(test)]
#[cfg(feature = "matrix")]
mod tests {
    use super::*;

    fn with_adapters(names: &[&str]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "[provider]\ndomain = \"a.example\"\ncertificate_file = \"c\"\nkey_file = \"k\"").unwrap();
        for name in names {
            writeln!(
                file,
                "[adapters.{name}]\nkind = \"matrix\"\nhomeserver = \"http://127.0.0.1:8008\"\n\
                 server_name = \"a.example\"\nlisten = \"127.0.0.1:9008\"\nas_token = \"a\"\nhs_token = \"h-{name}\""
            )
            .unwrap();
        }
        file
    }

    #[test]
    fn the_registration_is_that_of_the_adapter_and_the_url_can_be_another() {
        let one = with_adapters(&["work"]);
        assert!(matrix(one.path(), None, None).unwrap().contains("url: \"http://127.0.0.1:9008\""));
        assert!(matrix(one.path(), None, Some("http://gateway:9")).unwrap().contains("url: \"http://gateway:9\""));
        let two = with_adapters(&["work", "home"]);
        assert!(matrix(two.path(), Some("home"), None).unwrap().contains("h-home"));
    }

    #[test]
    fn an_adapter_that_is_not_meant_or_not_there_is_a_usage_error() {
        let why = |names: &[&str], name| match matrix(with_adapters(names).path(), name, None) {
            Err(Failure::Usage(why)) => why,
            other => panic!("{other:?}"),
        };
        assert!(why(&["work", "home"], None).ends_with("(name one with --adapter)"));
        assert!(why(&["work"], Some("home")).ends_with("has no adapter of kind \"matrix\" called \"home\""));
        assert!(why(&[], None).ends_with("has no adapter of kind \"matrix\""));
    }
}
