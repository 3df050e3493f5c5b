//! Whether the homeserver brings us what happens there, and what is done while it does not.
//!
//! Two canaries. The *ping* (Matrix 1.7): we ask the homeserver to call us, and it does, at the address to which it
//! brings transactions. The *echo*: an application service is brought its own users' events too, so after each that was sent
//! a transaction is due. Together they tell three cases apart. The homeserver does not answer: it is down, and what we
//! send waits. It answers, and can't call us, or calls us and brings nothing: then we are deaf, and what people say
//! is read in the timelines of the linked rooms until transactions flow again.

use std::time::Duration;

use matrix_sdk::ruma::api::client::account::whoami;
use mimi_adapter::Session;
use tokio::{
    select,
    sync::watch,
    time::{sleep, timeout, timeout_at},
};

use crate::{
    homeserver::Homeserver,
    transactions::{Transactions, WARY},
};

/// After trouble, until the next canary or the next look.
const PAUSE: Duration = Duration::from_secs(5);
/// Between two looks for what people say while nobody says anything and we are deaf.
const LONG_PAUSE: Duration = Duration::from_secs(60);
/// Between two looks through the rooms while all is well.
const LOOK: Duration = Duration::from_secs(600);

/// What the canaries tell.
enum Sign {
    Heard,
    /// Why not, as the end of a sentence.
    Deaf(String),
    Down(String),
}

impl Homeserver {
    /// Sends out the canaries, and says what became of them.
    pub async fn keep_in_touch(&self, transactions: &Transactions) {
        let mut trouble = transactions.trouble();
        let pause = self.canary.every.min(PAUSE);
        loop {
            let sign = self.sign().await;
            match sign {
                Sign::Heard => {
                    self.pulse.up();
                    self.learn_upload_limit().await;
                }
                Sign::Deaf(reason) => {
                    self.pulse.deaf(reason);
                    transactions.troubled();
                    sleep(pause).await;
                    continue;
                }
                Sign::Down(reason) => {
                    self.pulse.down(reason);
                    transactions.troubled();
                    sleep(pause).await;
                    continue;
                }
            }
            // After a refusal the homeserver waits longer each time. It need not.
            if timeout(self.canary.every, trouble.changed()).await.is_ok() {
                sleep(pause).await;
            }
        }
    }

    async fn sign(&self) -> Sign {
        let failure = match timeout(self.canary.patience, self.ping()).await {
            Ok(Ok(())) => return self.echo(),
            Ok(Err(failure)) => failure.to_string(),
            Err(_) => "the answer to a ping does not come".to_owned(),
        };
        // Is it only the way to us that is broken?
        match timeout(self.canary.patience, self.client.ask(self.names.bot(), whoami::v3::Request::new())).await {
            Ok(Ok(_)) => Sign::Deaf(format!("it can't call us at the `url` of its registration: {failure}")),
            Ok(Err(failure)) => Sign::Down(failure.to_string()),
            Err(_) => Sign::Down("the homeserver can't be reached: it takes too long".into()),
        }
    }

    fn echo(&self) -> Sign {
        let was_deaf = matches!(*self.pulse.watch().borrow(), Session::Deaf { .. });
        match self.has_owed_for() {
            Some(time) if was_deaf || time > self.canary.every + self.canary.patience => {
                Sign::Deaf("its pings reach us, and the transactions that are due do not".into())
            }
            _ => Sign::Heard,
        }
    }

    /// Looks through the rooms for as long as we are deaf, when trouble is over, and every now and then.
    pub async fn keep_up(&self, transactions: &Transactions) {
        let mut trouble = transactions.trouble();
        let mut session = self.pulse.watch();
        loop {
            if is_deaf(&session) {
                self.read_along(transactions, &mut session).await;
            }
            let over = *trouble.borrow_and_update() + WARY;
            if timeout_at(over, changed(&mut trouble, &mut session)).await.is_ok() {
                continue;
            }
            transactions.look_through().await;
            let _ = timeout(LOOK, changed(&mut trouble, &mut session)).await;
        }
    }

    /// While people talk they should not have to wait long for each other.
    async fn read_along(&self, transactions: &Transactions, session: &mut watch::Receiver<Session>) {
        let shortest = self.canary.every.min(PAUSE);
        let mut pause = shortest;
        while is_deaf(session) {
            let found = transactions.look_through().await;
            pause = if found > 0 { shortest } else { LONG_PAUSE.min(pause * 2) };
            let until_heard = session.wait_for(|session| !matches!(session, Session::Deaf { .. }));
            let _ = timeout(pause, until_heard).await;
        }
    }
}

fn is_deaf(session: &watch::Receiver<Session>) -> bool {
    matches!(*session.borrow(), Session::Deaf { .. })
}

/// Either is news for who waits.
async fn changed<T>(trouble: &mut watch::Receiver<T>, session: &mut watch::Receiver<Session>) {
    select! {
        _ = trouble.changed() => {}
        _ = session.changed() => {}
    }
}
