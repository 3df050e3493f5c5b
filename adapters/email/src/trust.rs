//! Whether a mail is from whom it says it is from.
//!
//! Anybody can write any `From`. What speaks for it is DMARC (RFC 9989): a DKIM signature (RFC 6376) or an SPF check
//! (RFC 7208) that passed *for the domain in `From`*. It is found out in this order, and the first answer counts:
//!
//! 1. The organisation's own MTA has looked, and says so in `Authentication-Results` (RFC 8601) under the authserv-id
//!    that is configured. Everybody can write such a field, so the MTA has to remove those that come with its own
//!    name (RFC 8601 §5); of several results of one kind the uppermost counts, which is the last written.
//! 2. We look ourselves. SPF needs the address that connected to the MTA; DKIM needs nothing but the mail and DNS.
//! 3. It failed, but somebody on the way whom the configuration trusts has sealed that it was well there (ARC,
//!    RFC 8617).
//!
//! Only a pass means something. A signature that does not fit is no worse than none: mailing lists break them.
//! The time is the clock's: mail-auth asks it itself, and it only matters for signatures that expire.

mod author;
mod results;

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use mail_auth::{
    ArcOutput, AuthenticatedMessage, DkimOutput, DkimResult, DmarcResult, MessageAuthenticator, SpfOutput, SpfResult,
    dmarc::{Policy, verify::DmarcParameters},
    hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts},
    spf::verify::SpfParameters,
};
use mail_parser::HeaderName;
use thiserror::Error;

pub use author::{Author, NobodyError, author};
use results::Results;

use crate::words;

/// Signatures of a mail that are looked at. Each is a question to somebody's DNS server.
const MOST_SIGNATURES: usize = 10;
/// How long all questions about a mail may take.
const LONGEST: Duration = Duration::from_secs(30);

/// How mail reached the organisation's MTA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// The address that connected to it from outside, if the MTA told us; without it there is no SPF of our own.
    pub client: Option<IpAddr>,
    /// What that client called itself.
    pub helo: &'a str,
    /// `MAIL FROM`; empty in `<>`.
    pub sender: &'a str,
}

/// Whether a mail is from whom it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is from the domain in `From`: somebody there answers for it.
    Aligned,
    /// Nothing says that it is, and nothing that it is not.
    Unproven,
    /// The domain says what is from it, and this is not.
    Forged,
    /// DNS does not answer at the moment. The same mail may be judged otherwise later.
    Later,
}

impl Verdict {
    /// Why a mail is not taken, for whoever wrote it: one sentence without a full stop. `None` if it is.
    pub fn refusal(&self, author: &Author) -> Option<String> {
        let domain = &author.domain;
        match self {
            Self::Aligned => None,
            Self::Unproven => Some(format!(
                "nothing proves that your mail is from {domain}: it needs a DKIM signature of that domain, or to come from a \
                 server that its SPF record names"
            )),
            Self::Forged => Some(format!(
                "{domain} asks to refuse mail that is not provably from it (DMARC), and yours is not: it has no valid \
                 DKIM signature of that domain, and did not come from a server that its SPF record names"
            )),
            Self::Later => Some(format!(
                "whether your mail is from {domain} can't be found out at the moment: DNS does not answer"
            )),
        }
    }
}

/// Looks at mail.
pub struct Trust {
    dns: MessageAuthenticator,
    /// Whose `Authentication-Results` are believed.
    authserv_id: Option<String>,
    /// Whose ARC seals are believed, by domain.
    sealers: Vec<String>,
}

/// Why nothing can be looked up. An admin reads it.
#[derive(Debug, Error)]
#[error("can't ask DNS: {0} (look at /etc/resolv.conf, or set the server)")]
pub struct DnsError(String);

impl Trust {
    /// Asks this DNS server, or those of the system.
    pub fn new(dns: Option<SocketAddr>, authserv_id: Option<&str>, sealers: &[String]) -> Result<Self, DnsError> {
        let dns = match dns {
            None => MessageAuthenticator::new_system_conf(),
            Some(server) => {
                let at = |mut connection: ConnectionConfig| {
                    connection.port = server.port();
                    connection
                };
                let connections = vec![at(ConnectionConfig::udp()), at(ConnectionConfig::tcp())];
                let server = NameServerConfig::new(server.ip(), true, connections);
                MessageAuthenticator::new(
                    ResolverConfig::from_parts(None, Vec::new(), vec![server]),
                    ResolverOpts::default(),
                )
            }
        }
        .map_err(|problem| DnsError(problem.to_string()))?;
        let sealers = sealers.iter().map(|sealer| sealer.to_ascii_lowercase()).collect();
        Ok(Self { dns, authserv_id: authserv_id.map(str::to_ascii_lowercase), sealers })
    }

    pub(crate) fn dns(&self) -> &MessageAuthenticator {
        &self.dns
    }

    /// Whether `mail` is from its `author`, who was read from the same octets.
    pub async fn judge(&self, mail: &[u8], author: &Author, envelope: &Envelope<'_>) -> Verdict {
        tokio::time::timeout(LONGEST, self.find_out(mail, author, envelope)).await.unwrap_or(Verdict::Later)
    }

    async fn find_out(&self, mail: &[u8], author: &Author, envelope: &Envelope<'_>) -> Verdict {
        let local = self.local_results(mail);
        let found = dmarc_of(&local, author);
        if let Some(verdict @ (Verdict::Aligned | Verdict::Later)) = found {
            return verdict;
        }
        let Some(mut message) = AuthenticatedMessage::parse(mail) else { return Verdict::Unproven };
        // Two programs have read this field; they have to agree whose it is.
        if !matches!(&message.from[..], [from] if is_same(from, &author.address)) {
            return Verdict::Forged;
        }
        message.dkim_headers.truncate(MOST_SIGNATURES);
        let verdict = match found {
            Some(verdict) => verdict,
            None => self.look(&message, author, envelope, &local).await,
        };
        match verdict {
            Verdict::Unproven | Verdict::Forged => self.sealed(&message, author).await.unwrap_or(verdict),
            verdict => verdict,
        }
    }

    /// What our own MTA has found out; the uppermost field first.
    fn local_results(&self, mail: &[u8]) -> Results {
        let mut local = Results::default();
        let (Some(id), Ok(Some(header))) = (&self.authserv_id, words::header(mail)) else {
            return local;
        };
        for field in header.headers().iter().filter(|field| field.name == HeaderName::AuthenticationResults) {
            let written = mail.get(field.offset_start as usize..field.offset_end as usize).unwrap_or_default();
            let found = results::read(&String::from_utf8_lossy(written));
            if found.authserv_id == *id {
                local.found.extend(found.found);
            }
        }
        local
    }

    async fn look(
        &self,
        message: &AuthenticatedMessage<'_>,
        author: &Author,
        envelope: &Envelope<'_>,
        local: &Results,
    ) -> Verdict {
        let mut dkim = self.dns.verify_dkim(message).await;
        // A signature that leaves `From` out says nothing about it (RFC 6376 §5.4).
        dkim.retain(|output| {
            output.signature().is_none_or(|it| it.h.iter().any(|name| name.eq_ignore_ascii_case("from")))
        });

        let sender_domain = envelope.sender.rsplit_once('@').map_or(envelope.helo, |(_, domain)| domain);
        let spf = match envelope.client {
            Some(client) if envelope.sender.is_empty() => {
                self.dns.verify_spf(SpfParameters::verify_ehlo(client, envelope.helo, &author.domain)).await
            }
            Some(client) => {
                let parameters =
                    SpfParameters::verify_mail_from(client, envelope.helo, &author.domain, envelope.sender);
                self.dns.verify_spf(parameters).await
            }
            None => spf_of(local, sender_domain),
        };
        let dmarc = self
            .dns
            .verify_dmarc(DmarcParameters {
                message,
                dkim_output: &dkim,
                dkim2_output: None,
                rfc5321_mail_from_domain: sender_domain,
                spf_output: &spf,
            })
            .await;
        match (dmarc.result(), dmarc.dmarc_record()) {
            (DmarcResult::Pass, _) => Verdict::Aligned,
            (DmarcResult::TempError(_), _) => Verdict::Later,
            (_, Some(_)) if matches!(dmarc.policy(), Policy::Reject | Policy::Quarantine) => Verdict::Forged,
            (_, Some(_)) => Verdict::Unproven,
            (_, None) => aligned(&dkim, &spf, sender_domain, author),
        }
    }

    /// What a trusted sealer has seen, if one has sealed it and nobody whom we don't trust came after.
    async fn sealed(&self, message: &AuthenticatedMessage<'_>, author: &Author) -> Option<Verdict> {
        let is_trusted = |domain: &str| self.sealers.contains(&domain.to_ascii_lowercase());
        if !message.as_headers.last().is_some_and(|seal| is_trusted(&seal.header.d)) {
            return None;
        }
        let arc: ArcOutput<'_> = self.dns.verify_arc(message).await;
        match arc.result() {
            DkimResult::Pass => {}
            DkimResult::TempError(_) => return Some(Verdict::Later),
            _ => return None,
        }
        // The one that was nearest to the author.
        let first = arc.sets().iter().rev().take_while(|set| is_trusted(&set.seal.header.d)).last()?;
        let written = String::from_utf8_lossy(first.results.value);
        let (_instance, found) = written.split_once(';')?;
        let found = results::read(found);
        let by_dmarc = dmarc_of(&found, author).filter(|verdict| *verdict == Verdict::Aligned);
        let is_signed = || {
            found.found.iter().any(|it| {
                it.method == "dkim"
                    && it.result == "pass"
                    && it.domain("header.d").is_some_and(|d| answers_for(&d, &author.domain))
            })
        };
        by_dmarc.or_else(|| is_signed().then_some(Verdict::Aligned))
    }
}

/// What the DMARC result among these says, if there is one that decides.
fn dmarc_of(results: &Results, author: &Author) -> Option<Verdict> {
    let dmarc = results.found.iter().find(|found| found.method == "dmarc")?;
    if dmarc.domain("header.from").map(|domain| to_ascii(&domain)).as_deref() != Some(author.domain.as_str()) {
        return None;
    }
    match dmarc.result.as_str() {
        "pass" => Some(Verdict::Aligned),
        "temperror" => Some(Verdict::Later),
        "fail" => {
            let policy = dmarc.property("policy.dmarc").map(str::to_ascii_lowercase).unwrap_or_default();
            // OpenDMARC, Gmail and rspamd say it in a comment; `sp` is another domain's.
            let mut comments = dmarc.comments.split(|c: char| c.is_whitespace() || ";,".contains(c));
            let asks_nothing = policy == "none" || comments.any(|word| matches!(word, "p=none" | "policy=none"));
            Some(if asks_nothing { Verdict::Unproven } else { Verdict::Forged })
        }
        _ => None,
    }
}

/// The SPF result among these, for mail-auth to go on with.
fn spf_of(results: &Results, sender_domain: &str) -> SpfOutput {
    let spf = results.found.iter().find(|found| found.method == "spf");
    let is_of_sender = |domain: String| domain.eq_ignore_ascii_case(sender_domain);
    let result = match spf {
        Some(spf) if !["smtp.mailfrom", "smtp.helo"].into_iter().filter_map(|of| spf.domain(of)).any(is_of_sender) => {
            SpfResult::None
        }
        Some(spf) if spf.result == "pass" => SpfResult::Pass,
        Some(spf) if spf.result == "temperror" => SpfResult::TempError,
        _ => SpfResult::None,
    };
    SpfOutput::new(sender_domain.to_owned()).with_result(result)
}

/// The same without DMARC, for domains that have none.
fn aligned(dkim: &[DkimOutput<'_>], spf: &SpfOutput, sender_domain: &str, author: &Author) -> Verdict {
    let signed = |output: &DkimOutput<'_>| output.signature().is_some_and(|it| answers_for(&it.d, &author.domain));
    let sent = answers_for(sender_domain, &author.domain);
    if dkim.iter().any(|output| *output.result() == DkimResult::Pass && signed(output))
        || (sent && spf.result() == SpfResult::Pass)
    {
        return Verdict::Aligned;
    }
    let failed_for_now =
        |output: &DkimOutput<'_>| matches!(output.result(), DkimResult::TempError(_)) && signed(output);
    if dkim.iter().any(failed_for_now) || (sent && spf.result() == SpfResult::TempError) {
        return Verdict::Later;
    }
    Verdict::Unproven
}

/// Whether `domain` may speak for `other`: it is the same, or above it. Not below: who has a name under a domain has
/// not the domain, and where the border between registrants is only a list of all registries would say.
fn answers_for(domain: &str, other: &str) -> bool {
    let domain = to_ascii(domain);
    other == domain
        || (domain.contains('.') && other.strip_suffix(domain.as_str()).is_some_and(|rest| rest.ends_with('.')))
}

/// Whether two addresses are one, however their domain is written.
fn is_same(one: &str, other: &str) -> bool {
    let parts = |address: &str| {
        let (local, domain) = address.rsplit_once('@')?;
        Some((local.to_lowercase(), to_ascii(domain)))
    };
    parts(one).is_some() && parts(one) == parts(other)
}

fn to_ascii(domain: &str) -> String {
    mail_auth::common::to_a_label(domain.trim_end_matches('.')).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn author_of(address: &str) -> Author {
        let domain = address.split('@').nth(1).unwrap().to_owned();
        Author { address: address.to_owned(), domain, name: None }
    }

    /// Nothing answers there: whoever asks DNS finds out that it is `Later`.
    fn trust(authserv_id: Option<&str>) -> Trust {
        Trust::new(Some("127.0.0.1:1".parse().unwrap()), authserv_id, &[]).unwrap()
    }

    async fn judged(trust: &Trust, field: &str) -> Verdict {
        let mail = format!("{field}\r\nFrom: Alice <alice@a.example>\r\n\r\nTea?\r\n");
        let envelope = Envelope { client: None, helo: "mx.a.example", sender: "alice@a.example" };
        trust.judge(mail.as_bytes(), &author_of("alice@a.example"), &envelope).await
    }

    #[tokio::test(start_paused = true)]
    async fn the_results_of_our_own_mta_are_believed() {
        let trust = trust(Some("MX.c.example"));
        for (field, verdict) in [
            ("Authentication-Results: mx.c.example; dmarc=pass header.from=a.example", Verdict::Aligned),
            (
                "Authentication-Results: mx.c.example; dmarc=fail (p=reject dis=none) header.from=a.example",
                Verdict::Forged,
            ),
            (
                "Authentication-Results: mx.c.example; dmarc=fail (p=none dis=none) header.from=a.example",
                Verdict::Unproven,
            ),
            (
                "Authentication-Results: mx.c.example; dmarc=fail policy.dmarc=none header.from=a.example",
                Verdict::Unproven,
            ),
            (
                "Authentication-Results: mx.c.example; dmarc=fail reason=\"no\" header.from=a.example (policy=none)",
                Verdict::Unproven,
            ),
            (
                "Authentication-Results: mx.c.example; dmarc=fail (p=QUARANTINE sp=NONE dis=NONE) header.from=a.example",
                Verdict::Forged,
            ),
            ("Authentication-Results: mx.c.example; dmarc=temperror header.from=a.example", Verdict::Later),
            // The uppermost is the last written.
            (
                "Authentication-Results: mx.c.example; dmarc=fail (p=reject) header.from=a.example\r\n\
                 Authentication-Results: mx.c.example; dmarc=pass header.from=a.example",
                Verdict::Forged,
            ),
        ] {
            assert_eq!(judged(&trust, field).await, verdict, "{field}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_results_of_others_are_not() {
        let trust = trust(Some("mx.c.example"));
        for field in [
            "Authentication-Results: mx.evil.example; dmarc=pass header.from=a.example",
            "Authentication-Results: mx.c.example.evil.example; dmarc=pass header.from=a.example",
            "Authentication-Results: mx.c.example; dmarc=pass header.from=evil.example",
            "Authentication-Results: mx.c.example; dmarc=pass",
            "X-Authentication-Results: mx.c.example; dmarc=pass header.from=a.example",
        ] {
            assert_eq!(judged(&trust, field).await, Verdict::Later, "{field}");
        }
        let nobody = super::tests::trust(None);
        let field = "Authentication-Results: mx.c.example; dmarc=pass header.from=a.example";
        assert_eq!(judged(&nobody, field).await, Verdict::Later);
    }

    #[test]
    fn a_domain_answers_for_what_is_under_it_and_not_for_what_is_above() {
        for (domain, other, expected) in [
            ("a.example", "a.example", true),
            ("A.Example.", "a.example", true),
            ("a.example", "mail.a.example", true),
            ("mail.a.example", "a.example", false),
            ("a.example", "evila.example", false),
            ("example", "a.example", false),
            ("bücher.example", "xn--bcher-kva.example", true),
            ("", "a.example", false),
        ] {
            assert_eq!(answers_for(domain, other), expected, "{domain} {other}");
        }
    }

    #[test]
    fn an_address_is_the_same_however_its_domain_is_written() {
        assert!(is_same("älice@bücher.example", "Älice@xn--bcher-kva.example"));
        assert!(!is_same("alice@a.example", "bob@a.example"));
        assert!(!is_same("alice", "alice"));
    }

    #[test]
    fn a_refusal_is_a_sentence() {
        let author = author_of("alice@a.example");
        assert_eq!(Verdict::Aligned.refusal(&author), None);
        for verdict in [Verdict::Unproven, Verdict::Forged, Verdict::Later] {
            assert!(verdict.refusal(&author).unwrap().contains("a.example"));
        }
    }

    /// Signed and sealed mail with something else somewhere in it.
    #[tokio::test(start_paused = true)]
    async fn whatever_stands_in_a_mail_it_is_judged() {
        let trust =
            Trust::new(Some("127.0.0.1:1".parse().unwrap()), Some("mx.c.example"), &["list.example".into()]).unwrap();
        let mails = [
            include_bytes!("../tests/fixtures/trust/sealed-by-list.eml").as_slice(),
            include_bytes!("../tests/fixtures/trust/signed-ed25519.eml").as_slice(),
        ];
        let others = [
            b"\0".as_slice(),
            b";",
            b"=",
            b"\r\n",
            b"\n\n",
            b"\xff",
            b"<",
            b"(",
            b"\"",
            b"i=2",
            b"99999999999999999999",
            b"",
        ];
        let author = author_of("alice@a.example");
        for mail in mails {
            let header = mail.windows(4).position(|octets| octets == b"\r\n\r\n").unwrap();
            for at in (0..header).step_by(7) {
                let other = others[at % others.len()];
                let changed = [&mail[..at], other, &mail[(at + 1 + at % 5).min(mail.len())..]].concat();
                let envelope = Envelope { client: Some(IpAddr::from([192, 0, 2, 1])), helo: "\0..", sender: "<>@@" };
                assert_ne!(trust.judge(&changed, &author, &envelope).await, Verdict::Aligned);
                let _ = words::header(&changed).unwrap().map(|header| super::author(&header));
                let _ = words::read(&changed);
            }
        }
    }
}
