//! `doctor`: `check`, and then the real thing tried out.

use std::{
    fs,
    io::Write,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures::future::join_all;
use mimi_adapter::Problem;
use rustls_pki_types::{CertificateDer, pem::PemObject};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use super::{Failure, table};
use crate::{
    adapters::Adapters,
    admin::{Client, Operator},
    config,
};

/// How long a network may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) async fn run(file: &Path, out: &mut impl Write) -> Result<(), Failure> {
    let (config, adapters) = config::load(file)?;
    writeln!(out, "configuration: ok")?;

    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let certificate = fs::read(&config.provider.certificate_file)?;
    let mut findings = vec![("certificate".to_owned(), expiry(&certificate, now).into_iter().collect())];
    findings.extend(probe(&adapters).await);
    findings.extend(running(&config.admin.socket).await.map(|problems| ("running gateway".to_owned(), problems)));
    report(&findings, out)
}

fn report(findings: &[(String, Vec<Problem>)], out: &mut impl Write) -> Result<(), Failure> {
    for (part, problems) in findings {
        if problems.is_empty() {
            writeln!(out, "{part}: ok")?;
        }
        for Problem { what, next_step } in problems {
            writeln!(out, "{part}: {what}\n  next: {next_step}")?;
        }
    }
    match findings.iter().map(|(_, problems)| problems.len()).sum() {
        0 => Ok(()),
        1 => Err(Failure::failed("1 problem was found.")),
        count => Err(Failure::failed(format!("{count} problems were found."))),
    }
}

/// All adapters at once: each may wait for its network.
async fn probe(adapters: &Adapters) -> Vec<(String, Vec<Problem>)> {
    let probes = adapters.iter().map(async |(name, adapter)| {
        let problems = tokio::time::timeout(PATIENCE, adapter.probe()).await.unwrap_or_else(|_| {
            let what = format!("the network has not answered within {} s", PATIENCE.as_secs());
            vec![Problem { what, next_step: "see whether its server is up and reachable from this machine".into() }]
        });
        (format!("adapter {name}"), problems)
    });
    join_all(probes).await
}

/// Peers stop talking to us the moment our certificate expires.
fn expiry(pem: &[u8], now: Duration) -> Option<Problem> {
    let der = CertificateDer::from_pem_slice(pem).ok()?;
    let (_, certificate) = X509Certificate::from_der(&der).ok()?;
    let end = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0);
    let left = end.saturating_sub(now.as_secs());
    if left > 14 * 86_400 {
        return None;
    }
    let what = if left == 0 { "it has expired".into() } else { format!("it expires in {}", table::duration(left)) };
    Some(Problem { what, next_step: "renew it, put it in the same place and restart the gateway".into() })
}

/// Whether a gateway runs is the admin's business; if one does, it should be ready.
async fn running(socket: &Path) -> Option<Vec<Problem>> {
    let gateway = Client::new(socket).ok()?;
    gateway.status().await.ok()?;
    let problem = |what| Problem { what, next_step: "see `mimi-gateway status`, and its log".into() };
    Some(gateway.not_ready().await.into_iter().map(problem).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_near_its_end_is_a_problem() {
        let mut params = rcgen::CertificateParams::new(["a.example".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(2030, 1, 31);
        let pem = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem();
        // 2030-01-31T00:00:00Z, from `date -u -d 2030-01-31 +%s`.
        let end = 1_896_048_000;
        let day = 86_400;
        let told = |now| expiry(pem.as_bytes(), Duration::from_secs(now)).map(|problem| problem.what);
        assert_eq!(told(end - 15 * day), None);
        assert_eq!(told(end - 14 * day).as_deref(), Some("it expires in 14 days"));
        assert_eq!(told(end - day).as_deref(), Some("it expires in 24 h"));
        assert_eq!(told(end + day).as_deref(), Some("it has expired"));
    }

    #[test]
    fn each_problem_is_told_with_its_next_step_and_fails_the_command() {
        let problem = Problem { what: "the token is not known".into(), next_step: "register it".into() };
        let mut out = Vec::new();
        let findings = [("certificate".to_owned(), vec![]), ("adapter work".to_owned(), vec![problem])];
        let Err(Failure::Failed(why)) = report(&findings, &mut out) else { panic!() };
        let expected = "certificate: ok\nadapter work: the token is not known\n  next: register it\n";
        assert_eq!((String::from_utf8(out).unwrap().as_str(), why.as_str()), (expected, "1 problem was found."));
        assert!(report(&findings[..1], &mut Vec::new()).is_ok());
    }
}
