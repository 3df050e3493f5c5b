//! Out: the server that carries what we send (RFC 6409). The only user of lettre's transport.

use std::time::Duration;

use lettre::{
    Address, AsyncSmtpTransport, AsyncTransport, Tokio1Executor,
    address::Envelope,
    transport::smtp::{
        self, PoolConfig,
        authentication::Credentials,
        client::{Tls as LettreTls, TlsParameters},
        extension::ClientId,
    },
};
use mimi_adapter::{BoxError, Refusal};

use crate::config::{Submission as Config, Tls};

/// How long the server may take to say something.
const PATIENCE: Duration = Duration::from_secs(25);

pub struct Submission(AsyncSmtpTransport<Tokio1Executor>);

impl Submission {
    /// `name` is what we call ourselves (EHLO).
    pub fn new(config: &Config, name: &str) -> Result<Self, smtp::Error> {
        let tls = match config.tls {
            Tls::None => LettreTls::None,
            Tls::Implicit => LettreTls::Wrapper(TlsParameters::new(config.host.clone())?),
            Tls::Upgraded => LettreTls::Required(TlsParameters::new(config.host.clone())?),
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&config.host)
            .port(config.port)
            .tls(tls)
            .timeout(Some(PATIENCE))
            .hello_name(ClientId::Domain(name.to_owned()))
            .pool_config(PoolConfig::new().max_size(8).idle_timeout(Duration::from_secs(30)));
        if let Some((user, password)) = &config.credentials {
            builder = builder.credentials(Credentials::new(user.clone(), password.clone()));
        }
        Ok(Self(builder.build()))
    }

    /// Hands a mail over for one recipient. `Reject` is about this recipient or this mail; whatever else is wrong
    /// with the server or our account there is an admin's to mend, and means `Retry`.
    pub async fn send(&self, from: &str, to: &str, mail: &[u8]) -> Result<(), Refusal> {
        let address = |text: &str| {
            let problem =
                |error| Refusal::reject(format!("{text} is not an address that mail can be sent to: {error}"));
            text.parse::<Address>().map_err(problem)
        };
        let envelope = Envelope::new(Some(address(from)?), vec![address(to)?]).map_err(BoxError::from);
        let envelope = envelope.map_err(Refusal::retry)?;
        // What happens while we connect and sign in is never about the mail.
        self.check().await?;
        match self.0.send_raw(&envelope, mail).await {
            Ok(_) => Ok(()),
            Err(error) if is_final(&error) => {
                Err(Refusal::reject(format!("the mail server refused it ({})", in_words(&error))))
            }
            Err(error) => Err(retry(&error)),
        }
    }

    /// Is the server there, and are we let in?
    pub async fn check(&self) -> Result<(), Refusal> {
        match self.0.test_connection().await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Refusal::retry("the mail server has closed the connection")),
            Err(error) => Err(retry(&error)),
        }
    }
}

/// 5yz, but for what says that our account is at fault (RFC 4954 §6), and what the server can't do for this mail.
fn is_final(error: &smtp::Error) -> bool {
    let account = error.status().is_some_and(|code| ["530", "534", "535", "538"].contains(&code.to_string().as_str()));
    (error.is_permanent() && !account) || error.is_client()
}

fn retry(error: &smtp::Error) -> Refusal {
    Refusal::retry(format!("the mail server does not take mail at the moment: {}", in_words(error)))
}

/// With what it comes from.
fn in_words(error: &smtp::Error) -> String {
    let mut words = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        let more = error.to_string();
        if !words.contains(&more) {
            words = format!("{words}: {more}");
        }
        source = error.source();
    }
    words
}
