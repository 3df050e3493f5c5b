//! `ca`: certificates for trying things out.
//!
//! There is no authority to keep: each call makes one, lets it sign, and throws its key away. What isn't
//! there can't be stolen, and an authority for more than a trial belongs to people who run one.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use clap::Subcommand;
use mimi_adapter::Domain;

use super::Failure;
use crate::provider::authority::Authority;

#[derive(Debug, Subcommand)]
pub(super) enum CaCommand {
    /// Make a certificate and a key for each domain, signed by an authority made for the purpose.
    ///
    /// Writes DIR/authority.crt, and DIR/<domain>.crt and DIR/<domain>.key for each domain. The authority's
    /// own key is thrown away. Name all the providers of a trial at once; providers of different trials
    /// believe each other if each has both authority.crt files, one after the other, as authorities_file.
    ///
    /// Example:
    ///   mimi-gateway ca issue --domain a.example --domain b.example --out lab
    #[command(verbatim_doc_comment)]
    Issue {
        /// A provider's domain; can be given several times.
        #[arg(long = "domain", value_name = "DOMAIN", required = true)]
        domains: Vec<Domain>,
        /// Where to put the files. Nothing that is there is overwritten.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
}

pub(super) fn run(CaCommand::Issue { domains, out: dir }: &CaCommand, out: &mut impl Write) -> Result<(), Failure> {
    let authority = Authority::new();
    let mut files = vec![(dir.join("authority.crt"), authority.pem().to_owned(), 0o644)];
    for domain in domains {
        let (certificate, key) = authority.issue(domain);
        files.push((dir.join(format!("{domain}.crt")), certificate, 0o644));
        files.push((dir.join(format!("{domain}.key")), key, 0o600));
    }
    if let Some((file, ..)) = files.iter().find(|(file, ..)| file.exists()) {
        return Err(Failure::failed(format!(
            "{} is there already (choose another --out, or remove it)",
            file.display()
        )));
    }
    fs::create_dir_all(dir).map_err(|e| Failure::failed(format!("{}: {e}", dir.display())))?;
    for (file, pem, mode) in &files {
        write_new(file, pem, *mode).map_err(|e| Failure::failed(format!("{}: {e}", file.display())))?;
        writeln!(out, "{}", file.display())?;
    }
    Ok(())
}

fn write_new(file: &Path, text: &str, mode: u32) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(mode).open(file)?.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Provider;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn two_domains_get_certificates_that_the_authority_vouches_for() {
        let directory = tempfile::tempdir().unwrap();
        let domains = ["a.example", "b.example"].map(|domain| Domain::parse(domain).unwrap());
        let issue = CaCommand::Issue { domains: domains.to_vec(), out: directory.path().join("lab") };
        let mut printed = Vec::new();
        run(&issue, &mut printed).unwrap();
        assert_eq!(String::from_utf8(printed).unwrap().lines().count(), 5);
        for domain in domains {
            let file = |extension: &str| directory.path().join(format!("lab/{domain}.{extension}"));
            assert_eq!(fs::metadata(file("key")).unwrap().permissions().mode() & 0o777, 0o600);
            let provider = Provider {
                domain: domain.clone(),
                listen: ([127, 0, 0, 1], 0).into(),
                public_port: 8443,
                certificate_file: file("crt"),
                key_file: file("key"),
                authorities_file: Some(directory.path().join("lab/authority.crt")),
            };
            assert!(provider.credentials().is_ok());
        }
    }

    #[test]
    fn nothing_is_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("a.example.key"), "precious").unwrap();
        let issue =
            CaCommand::Issue { domains: vec![Domain::parse("a.example").unwrap()], out: directory.path().to_owned() };
        assert!(matches!(run(&issue, &mut Vec::new()), Err(Failure::Failed(_))));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
