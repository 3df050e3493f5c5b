//! What `doctor` finds out about the homeserver, by trying it.

use matrix_sdk::ruma::api::{client::account::whoami, error::ErrorKind};
use mimi_adapter::Problem;

use crate::{client::Failure, homeserver::Homeserver};

impl Homeserver {
    pub async fn problems(&self, url: &str) -> Vec<Problem> {
        // Each of these needs the one before.
        match self.probe(url).await {
            Ok(()) => Vec::new(),
            Err(problem) => vec![problem],
        }
    }

    async fn probe(&self, url: &str) -> Result<(), Problem> {
        let bot = self.names.bot();
        let me = self.client.ask(bot, whoami::v3::Request::new()).await.map_err(unanswered)?.user_id;
        if me != bot {
            return Err(Problem {
                what: format!("the homeserver takes us for {me}, not for {bot}"),
                next_step:
                    "correct `server_name` and `bot`, or generate the registration again and give it to the homeserver"
                        .into(),
            });
        }
        self.register(bot).await.map_err(unanswered)?;
        self.ping().await.map_err(|failure| match failure.kind() {
            Some(ErrorKind::UrlNotSet) => Problem {
                what: "the registration at the homeserver has no url".into(),
                next_step: "generate the registration again, give it to the homeserver and restart that".into(),
            },
            _ => Problem {
                what: format!("the homeserver can't reach the gateway: {failure}"),
                next_step: format!(
                    "start the gateway, if it isn't running; then see that the homeserver gets through to {url}"
                ),
            },
        })
    }
}

fn unanswered(failure: Failure) -> Problem {
    let next_step = match &failure {
        _ if matches!(failure.kind(), Some(ErrorKind::Unrecognized)) => {
            "see that `homeserver` is the address of its client API; if so, the homeserver is too old (Matrix 1.1 or \
             later is needed)"
        }
        Failure::Unreachable(_) => "see that the homeserver is running and `homeserver` is its address",
        Failure::Unusable { .. } => {
            "see that `homeserver` is the address of its client API, and what the proxy before it does"
        }
        Failure::Refused { .. } => {
            "generate the registration again, name it in the homeserver's configuration (Synapse: \
             app_service_config_files) and restart the homeserver"
        }
    };
    Problem { what: failure.to_string(), next_step: next_step.into() }
}
