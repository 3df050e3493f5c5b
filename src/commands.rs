//! What people ask the gateway itself, in their conversation: who reads along, who should come, that it should go.
//!
//! An adapter knows how people of its network speak to the gateway (`!mimi who`) and whether somebody may change the
//! conversation itself there; what the words mean is decided here, for all of them. A command is not carried into the
//! room. It is answered by a notice to whoever gave it, which waits in the conversation's queue like everything else; a
//! network that offers it twice gets one answer.

use std::{collections::BTreeMap, fmt};

use mimi_adapter::{NativeMessageId, SenderProof};
use tracing::info;

use crate::{
    core::{Core, Fault},
    mimi::uri::{Domain, RoomUri, UserUri},
    store::{Tx, invites::InviteState, portals::Portal, rooms::Room},
};

/// So many may be on their way into a room at once by the word of its people. An admin may invite more.
const INVITES: usize = 20;

const HELP: &str = "\
I connect this conversation to people of other providers, by MIMI. You can ask me:
who – who reads along from elsewhere
invite mimi://b.example/u/bob – to bring somebody of another provider in (whoever may change this conversation)
leave – to take this conversation out of the room (whoever may change it)
about – where your messages go, and who can read them";

/// What people can say.
#[derive(Debug, PartialEq, Eq)]
enum Command {
    Help,
    Who,
    About,
    Leave,
    Invite(UserUri),
}

/// Why it can't be done, for whoever asked.
#[derive(Debug, PartialEq, Eq)]
enum Misunderstood {
    Word(String),
    InviteWhom,
    NotAnAddress(String),
}

impl fmt::Display for Misunderstood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(word) => write!(f, "I don't know “{word}”.\n{HELP}"),
            Self::InviteWhom => f.write_str("Whom? Write for example: invite mimi://b.example/u/bob"),
            Self::NotAnAddress(words) => write!(
                f,
                "“{words}” is no MIMI address. Those look like mimi://b.example/u/bob; whoever it is finds theirs at their \
                 own provider."
            ),
        }
    }
}

fn read(words: &str) -> Result<Command, Misunderstood> {
    let (word, rest) = words.trim().split_once(char::is_whitespace).unwrap_or((words.trim(), ""));
    Ok(match (&*word.to_lowercase(), rest.trim()) {
        ("" | "help" | "?", _) => Command::Help,
        ("who", _) => Command::Who,
        ("about", _) => Command::About,
        ("leave", _) => Command::Leave,
        ("invite", "") => return Err(Misunderstood::InviteWhom),
        ("invite", whom) => {
            Command::Invite(UserUri::parse(whom).map_err(|_| Misunderstood::NotAnAddress(shortened(whom)))?)
        }
        _ => return Err(Misunderstood::Word(shortened(word))),
    })
}

/// As much of what somebody wrote as helps them to see what they wrote.
fn shortened(words: &str) -> String {
    words.chars().filter(|c| !c.is_control()).take(100).collect()
}

impl Core {
    /// Does what somebody of ours has asked for in a linked conversation, and puts the answer into its queue.
    pub(crate) async fn command(
        &self,
        tx: &mut Tx,
        portal: &Portal,
        room: &Room,
        sender: &UserUri,
        (native, proof): (&NativeMessageId, SenderProof),
        (words, manages): (&str, bool),
    ) -> Result<(), Fault> {
        let id = self.remember_event(tx, portal, native)?;
        let manages = manages && proof == SenderProof::Verified;
        let answer = match read(words) {
            Ok(Command::Help) => HELP.to_owned(),
            Ok(Command::Who) => self.who(tx, &portal.room).await?,
            Ok(Command::About) => self.about_room(&portal.room),
            Ok(Command::Invite(_) | Command::Leave) if !manages => {
                "Only those who may change this conversation itself can ask me that.".to_owned()
            }
            Ok(Command::Invite(_) | Command::Leave) if room.direct => {
                "This is a conversation of two: nobody else comes into it, and it ends when you no longer write."
                    .to_owned()
            }
            Ok(Command::Invite(whom)) => self.invited(tx, &portal.room, sender, whom).await?,
            Ok(Command::Leave) => {
                // Nothing can be said here after that: people see those from elsewhere go.
                info!(room = %portal.room, %sender, "Unlinked by a command.");
                self.unlink(tx, portal).await?;
                return Ok(());
            }
            Err(misunderstood) => misunderstood.to_string(),
        };
        self.notice(tx, &portal.room, answer, Some(*id.as_bytes()), Some(sender)).await
    }

    async fn who(&self, tx: &mut Tx, room: &RoomUri) -> Result<String, Fault> {
        let mut elsewhere: BTreeMap<Domain, Vec<String>> = BTreeMap::new();
        for (user, _) in tx.participants(room).await? {
            if !self.is_ours(&user) {
                elsewhere.entry(user.domain().clone()).or_default().push(user.short_name());
            }
        }
        let mut lines: Vec<_> =
            elsewhere.into_iter().map(|(provider, people)| format!("{provider}: {}", people.join(", "))).collect();
        for invite in tx.invites_of_room(room).await?.into_iter().filter(|invite| !self.is_ours(&invite.user)) {
            let problem = invite.problem.map_or(String::new(), |problem| format!(": {problem}"));
            lines.push(format!("{} – invited, not here ({}{problem})", invite.user, invite.state.as_str()));
        }
        Ok(match lines.is_empty() {
            true => "Nobody from elsewhere reads along.".to_owned(),
            false => format!("From elsewhere read along:\n{}", lines.join("\n")),
        })
    }

    fn about_room(&self, room: &RoomUri) -> String {
        let hub = room.domain();
        format!(
            "This conversation is the MIMI room {room}. What is written here goes to the providers of those whom “who” \
             lists, by way of {hub}. End-to-end encryption ends at this gateway, which {ours} runs: {ours} and its server \
             can read everything in here, also what people elsewhere have written to their end encrypted.",
            ours = self.domain,
        )
    }

    async fn invited(&self, tx: &mut Tx, room: &RoomUri, by: &UserUri, whom: UserUri) -> Result<String, Fault> {
        if self.is_ours(&whom) {
            return Ok("That is somebody of this side: invite them as you invite everybody here.".to_owned());
        }
        if tx.participant_role(room, &whom).await?.is_some() {
            return Ok(format!("{whom} is here already."));
        }
        let waiting = tx.invites_of_room(room).await?;
        if waiting.iter().filter(|invite| invite.state != InviteState::Failed).count() >= INVITES {
            return Ok(format!("{INVITES} invitations are on their way already. Wait for one of them."));
        }
        self.want(tx, room, &whom).await?;
        info!(%room, %by, %whom, "Invited by a command.");
        Ok(format!("{whom} is invited. They come when they and their provider agree; “who” shows how it stands."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_understood_however_they_are_spaced() {
        for (words, command) in [
            ("", Command::Help),
            (" HELP ", Command::Help),
            ("who", Command::Who),
            ("Who is there?", Command::Who),
            ("about", Command::About),
            ("leave", Command::Leave),
            ("invite  mimi://b.example/u/bob ", Command::Invite(UserUri::parse("mimi://b.example/u/bob").unwrap())),
        ] {
            assert_eq!(read(words), Ok(command), "{words:?}");
        }
        for (words, misunderstood) in [
            ("invite", Misunderstood::InviteWhom),
            ("invite bob@b.example", Misunderstood::NotAnAddress("bob@b.example".into())),
            ("invite mimi://b.example/r/tea", Misunderstood::NotAnAddress("mimi://b.example/r/tea".into())),
            ("dance", Misunderstood::Word("dance".into())),
        ] {
            assert_eq!(read(words), Err(misunderstood), "{words:?}");
        }
    }
}
