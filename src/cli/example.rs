//! `config`: examples to start from, and what the adapters can.

use std::io::Write;

use clap::Subcommand;

use super::Failure;
use crate::adapters;

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Print an example.
    ///
    /// Without a name: every option, explained. `minimal`: the least that runs. The kind of an adapter
    /// (`matrix`, `xmpp`, `loopback`): its table, with every key explained.
    ///
    /// Example:
    ///   mimi-gateway config example minimal > gateway.toml
    #[command(verbatim_doc_comment)]
    Example {
        #[arg(value_name = "NAME")]
        name: Option<String>,
    },
    /// Print what people of each network are shown: as it is, as text (and which), or not at all.
    Capabilities,
}

const FULL: &str = include_str!("../../config/gateway.toml");
const MINIMAL: &str = include_str!("../../config/minimal.toml");

pub(super) fn print(command: &ConfigCommand, out: &mut impl Write) -> Result<(), Failure> {
    let text = match command {
        ConfigCommand::Capabilities => adapters::page(adapters::KINDS),
        ConfigCommand::Example { name: None } => FULL.to_owned(),
        ConfigCommand::Example { name: Some(name) } if name == "minimal" => MINIMAL.to_owned(),
        ConfigCommand::Example { name: Some(kind) } => adapters::kind(kind).map_err(Failure::Usage)?.example.to_owned(),
    };
    out.write_all(text.as_bytes())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(name: Option<&str>) -> Result<String, Failure> {
        let mut out = Vec::new();
        print(&ConfigCommand::Example { name: name.map(str::to_owned) }, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn an_example_is_the_file_in_config() {
        let file =
            |name: &str| std::fs::read_to_string(format!("{}/config/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        assert_eq!(printed(None).unwrap(), file("gateway.toml"));
        assert_eq!(printed(Some("minimal")).unwrap(), file("minimal.toml"));
    }

    #[test]
    fn every_adapter_has_an_example_that_is_a_table_of_its_kind() {
        for kind in adapters::KINDS {
            let example: toml::Table = toml::from_str(&printed(Some(kind.name)).unwrap()).unwrap();
            let tables = example["adapters"].as_table().unwrap();
            assert!(tables.values().all(|table| table["kind"].as_str() == Some(kind.name)), "{}", kind.name);
        }
    }

    #[test]
    fn an_example_that_there_is_not_is_a_usage_error() {
        let Err(Failure::Usage(why)) = printed(Some("matrx")) else { panic!() };
        assert!(why.contains("did you mean \"matrix\"?"), "{why}");
    }
}
