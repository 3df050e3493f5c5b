//! What `doctor` asks of a mail system: does the server carry our mail, can the MTA reach us, and does DNS say the same?

use mail_auth::{DnsError, Error, MX, RecordSet, Txt, common::cache::NoCache, spf::Spf};
use mimi_adapter::Problem;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    net::{TcpListener, TcpStream, UnixStream},
};

use crate::{
    config::{Config, Listen},
    postman::Postman,
    trust::Trust,
};

pub async fn examine(config: &Config, postman: &Postman, trust: &Trust) -> Vec<Problem> {
    let domain = config.addresses.domain();
    let mx = trust.dns().mx_lookup(domain, None::<&NoCache<Box<str>, RecordSet<MX>>>).await.map(drop);
    let spf = trust.dns().txt_lookup::<Spf>(domain, None::<&NoCache<Box<str>, Txt>>).await.map(drop);
    let records = [
        (
            mx,
            "MX",
            "is sent to the host of that name itself, if there is one: add an MX record that points at your MTA",
        ),
        (spf, "SPF", "is taken for spam: add a TXT record that names who sends, such as \"v=spf1 mx -all\""),
    ];
    let records = records.into_iter().filter_map(|(found, name, next_step)| record(found, domain, name, next_step));
    submission(postman).await.into_iter().chain(listener(&config.listen).await).chain(records).collect()
}

async fn submission(postman: &Postman) -> Option<Problem> {
    let problem = postman.check().await.err()?;
    let next_step = "check server, tls, user and password_file, and that server's log";
    Some(Problem { what: problem.to_string(), next_step: next_step.into() })
}

/// Either the gateway runs and greets, or the place is free.
async fn listener(listen: &Listen) -> Option<Problem> {
    let what = match listen {
        Listen::Tcp(address) => match TcpStream::connect(address).await {
            Ok(stream) => greets(stream).await.err(),
            Err(_) => TcpListener::bind(address).await.err().map(|error| format!("can't listen at {address}: {error}")),
        },
        Listen::Unix(path) => match UnixStream::connect(path).await {
            Ok(stream) => greets(stream).await.err(),
            Err(_) => {
                let directory = path.parent().filter(|directory| !directory.is_dir());
                directory.map(|directory| format!("there is no directory {}", directory.display()))
            }
        },
    };
    let next_step = "set `listen` to a place that is free and may be used, and the same in the MTA's transport";
    Some(Problem { what: what?, next_step: next_step.into() })
}

async fn greets(mut stream: impl AsyncRead + Unpin) -> Result<(), String> {
    let mut greeting = [0; 16];
    let reading = tokio::time::timeout(std::time::Duration::from_secs(5), stream.read_exact(&mut greeting)).await;
    match reading {
        Ok(Ok(_)) if &greeting == b"220 mimi-gateway" => Ok(()),
        _ => Err("where the gateway should listen for mail, some other service does".to_owned()),
    }
}

fn record(found: Result<(), Error>, domain: &str, name: &str, next_step: &str) -> Option<Problem> {
    match found {
        Ok(()) => None,
        Err(Error::Dns(DnsError::RecordNotFound(_))) => Some(Problem {
            what: format!("{domain} has no {name} record"),
            next_step: format!("mail without one {next_step}"),
        }),
        Err(problem) => Some(Problem {
            what: format!("the {name} record of {domain} can't be read: {problem}"),
            next_step: "check that record, and that this machine can ask DNS (or set `dns`)".into(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_place_to_listen_is_free_or_has_the_gateway_in_it() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = Listen::Tcp(taken.local_addr().unwrap().to_string());
        let greeting = async |words: &[u8]| {
            let (mut stream, _) = taken.accept().await.unwrap();
            tokio::io::AsyncWriteExt::write_all(&mut stream, words).await.unwrap();
        };
        let (found, ()) = tokio::join!(listener(&address), greeting(b"220 mimi-gateway LMTP\r\n"));
        assert_eq!(found, None);
        let (found, ()) = tokio::join!(listener(&address), greeting(b"220 mail.c.example ESMTP\r\n"));
        assert!(found.unwrap().what.contains("some other service"));
        drop(taken);
        assert_eq!(listener(&address).await, None);
        let nowhere = Listen::Unix("/nowhere/at/all/lmtp".into());
        assert_eq!(listener(&nowhere).await.unwrap().what, "there is no directory /nowhere/at/all");
    }

    #[test]
    fn a_record_that_is_missing_has_a_next_step() {
        let missing = || {
            Err(Error::Dns(DnsError::RecordNotFound(mail_auth::hickory_resolver::proto::op::ResponseCode::NXDomain)))
        };
        let problem = record(missing(), "mimi.c.example", "MX", "goes astray").unwrap();
        assert_eq!(
            (&*problem.what, &*problem.next_step),
            ("mimi.c.example has no MX record", "mail without one goes astray")
        );
        assert_eq!(record(Ok(()), "mimi.c.example", "MX", ""), None);
    }
}
