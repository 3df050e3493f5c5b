//! `inspect`: octets of MIMI as JSON, and back.

use std::{
    io::{self, Read, Write},
    path::PathBuf,
};

use clap::Args;

use super::{Failure, table};
use crate::{
    inspect::{KINDS, Kind, MISSING, Origin, from_json, kind, to_json},
    mimi::uri::{RoomUri, UserUri},
};

pub(super) const EXAMPLES: &str = "\
Examples:
  printf '02 0b 68747470733a2f2f612f74' | mimi-gateway inspect --kind RatchetTreeOption --hex
      {
        \"representation\": \"httpsUri\",
        \"ratchet_tree_url\": \"https://a/t\"
      }
  mimi-gateway inspect --kind notify body.bin
  mimi-gateway inspect --kind mimi-content message.cbor
  mimi-gateway inspect --kind notify body.bin | mimi-gateway inspect --kind notify --encode | cmp - body.bin

The names are those of the drafts. Octets are lowercase hex; strings and URIs are texts. A value of an enum is its
name, or a number if it has none. An optional that is not there is null. What starts with _ is said about the octets
beside it, and --encode does not look at it.";

#[derive(Debug, Args)]
pub(super) struct InspectArgs {
    /// What to read; stdin if there is none, or `-`.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// What the octets are: the name of a struct. Case and hyphens don't matter.
    #[arg(long, value_name = "KIND", value_parser = known, required_unless_present = "list")]
    kind: Option<&'static Kind>,
    /// Name every kind, where it is defined, and what it is.
    #[arg(long, conflicts_with_all = ["kind", "file", "hex", "encode", "sender", "room"])]
    list: bool,
    /// Read JSON and write the octets.
    #[arg(long, conflicts_with_all = ["sender", "room"])]
    encode: bool,
    /// The octets are hex as people paste it, with blanks and colons wherever they like. With --encode: write hex.
    #[arg(long)]
    hex: bool,
    /// Who sent the content; otherwise its extension 1 says it.
    #[arg(long, value_name = "USER")]
    sender: Option<UserUri>,
    /// The room it was sent to; otherwise its extension 2 says it.
    #[arg(long, value_name = "ROOM")]
    room: Option<RoomUri>,
}

fn known(name: &str) -> Result<&'static Kind, String> {
    kind(name)
}

pub(super) fn run(args: InspectArgs, out: &mut impl Write) -> Result<(), Failure> {
    let Some(kind) = args.kind else { return list(out) };
    let (input, name) = match args.file.filter(|file| file.as_os_str() != "-") {
        None => {
            let mut input = Vec::new();
            io::stdin().read_to_end(&mut input)?;
            (input, "stdin".to_owned())
        }
        Some(file) => {
            let input = std::fs::read(&file).map_err(|e| Failure::Failed(format!("{}: {e}", file.display())))?;
            (input, file.display().to_string())
        }
    };
    if args.encode {
        let tree = from_json(&input).map_err(|error| Failure::Failed(format!("{name} is not such JSON: {error}")))?;
        let octets = kind.write(&tree).map_err(|why| Failure::Failed(format!("{name} is no {}: {why}", kind.name)))?;
        match args.hex {
            true => writeln!(out, "{}", hex::encode(octets))?,
            false => out.write_all(&octets)?,
        }
        return Ok(out.flush()?);
    }
    let octets = match args.hex {
        true => from_hex(&input).map_err(|why| Failure::Failed(format!("{name} is not hex: {why}")))?,
        false => input,
    };
    let origin = Origin { sender: args.sender, room: args.room };
    let inspected = kind.read(&octets, &origin).map_err(|why| {
        let hint = match !args.hex && from_hex(&octets).is_ok_and(|octets| !octets.is_empty()) {
            true => "\nThe input looks like hex; should there be --hex?",
            false => "",
        };
        Failure::Failed(format!("{name} ({} octets) is no {}: {why}{hint}", octets.len(), kind.name))
    })?;
    writeln!(out, "{}", to_json(&inspected.tree))?;
    for remark in inspected.remarks {
        eprintln!("{name}: {remark}");
    }
    Ok(())
}

fn list(out: &mut impl Write) -> Result<(), Failure> {
    let rows = KINDS.iter().map(|kind| [kind.name, kind.source, kind.about].map(str::to_owned));
    table::print(out, ["KIND", "DEFINED IN", "WHAT IT IS"], rows.collect())?;
    writeln!(out, "\nP mimi-protocol-06, C mimi-content-09, R mimi-room-policy-04, X mls-extensions-10,")?;
    writeln!(out, "T mls-ratchet-tree-options-00.\n\nNot here:")?;
    for (name, why) in MISSING {
        writeln!(out, "  {name}: {why}")?;
    }
    Ok(())
}

/// Hex as people paste it.
fn from_hex(text: &[u8]) -> Result<Vec<u8>, String> {
    let text = std::str::from_utf8(text).map_err(|_| "it is not a text".to_owned())?;
    let digits: String = text.chars().filter(|c| !c.is_whitespace() && *c != ':').collect();
    let digits = digits.strip_prefix("0x").unwrap_or(&digits);
    hex::decode(digits).map_err(|error| error.to_string())
}
