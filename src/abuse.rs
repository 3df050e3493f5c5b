//! Abuse: what is reported to us as a hub, and what our side reports to others (P§5.9).
//!
//! A message that is reported proves itself: the hub has franked it when it came by, and nobody else could have. So a
//! report is kept with those of its messages that are proven, and one that claims others has them taken out. What a
//! report says beside that is its reporter's word. Nothing follows from a report by itself: an admin reads it.
//!
//! To report with proof, a message has to be kept after it has been delivered. That is content at rest, so it is only
//! done where the configuration says so ([`Core::keep_evidence`]); otherwise a report has words and no messages.

use mimi_adapter::{Domain, UserUri};
use tracing::info;

use crate::{
    admin::{AbuseDetail, AbuseSummary, KeptMessage, ReportAbuse, ReportedMessage},
    core::{Core, Fault, hash},
    event,
    hub::HubError,
    mimi::{
        content::MessageId,
        framing::ApplicationFraming,
        franking::{self, FrankingIntegrityTbs, ServerFrankingContext},
        tls::Tls,
        uri::{IdentifierUri, RoomUri},
        wire::{AbuseReport, AbusiveMessage, AppDataDictionary},
    },
    mls::{CIPHER_SUITE, verify_with_label},
    outbox::{Destination, Payload},
    store::{Tx, abuse::Report},
};

/// The messages in one report, and their octets in all.
const MESSAGES: usize = 32;
const OCTETS: usize = 256 * 1024;

/// The reports that are kept of one provider: a flood of them drives out its own.
const REPORTS: i64 = 64;

/// For this long a report is kept, in milliseconds.
pub const KEEP: u64 = 90 * 24 * 3600 * 1000;

/// The kept messages that are shown of a room.
const SHOWN: i64 = 200;

impl Core {
    /// `POST /reportAbuse/{roomId}`.
    pub async fn abuse_reported(
        &self,
        tx: &mut Tx,
        from: &Domain,
        room: &RoomUri,
        body: &[u8],
    ) -> Result<(), HubError> {
        let mut report = AbuseReport::decode(body).map_err(|e| HubError::Malformed(e.to_string()))?;
        let octets: usize = report.messages.iter().map(|message| message.message_content.len()).sum();
        if report.messages.len() > MESSAGES || octets + report.note.len() > OCTETS {
            return Err(HubError::Malformed("a report of too much at once".into()));
        }
        let never = |reason: &str| HubError::Fault(Fault::never(reason));
        if report.reporting_user.as_ref().is_some_and(|user| user.domain() != from) {
            return Err(never("the reporting user is of another provider"));
        }
        let abuser = report.alleged_abuser_uri.user().ok_or_else(|| never("nobody is named whose user can be told"))?;
        let hub = tx.hub_room(room).await?.ok_or(HubError::NoSuchRoom)?;
        let given = report.messages.len();
        report.messages.retain(|message| self.is_proven(room, &abuser, message));
        let (proven, is_here) = (report.messages.len(), self.has_participants(tx, &hub, from).await?);
        // Who was in the room once has messages of it. Who never was is not told that there is one.
        match (proven, given) {
            (0, _) if !is_here => return Err(HubError::NoSuchRoom),
            (0, 1..) => return Err(never("none of the messages is one that this hub has franked")),
            _ => {}
        }
        tx.add_abuse_report(room, from.as_str(), &hash(body), &report, REPORTS, self.now()).await?;
        info!(%room, %from, %abuser, proven, given, "Abuse is reported.");
        Ok(())
    }

    /// Has this hub seen this very message, by this sender in this room?
    fn is_proven(&self, room: &RoomUri, abuser: &UserUri, message: &AbusiveMessage) -> bool {
        let context = ServerFrankingContext {
            sender_uri: abuser.clone(),
            room_uri: room.clone(),
            accepted_timestamp: message.accepted_timestamp,
        };
        let frank = &message.frank;
        if frank.franking_signature_ciphersuite != CIPHER_SUITE
            || franking::is_genuine(self.hub_keys.frank(), &message.message_content, frank, &context).is_none()
        {
            return false;
        }
        let tbs = FrankingIntegrityTbs {
            server_frank: frank.server_frank,
            franking_signature_ciphersuite: frank.franking_signature_ciphersuite,
            context,
        };
        let (key, signature) = (self.hub_keys.franking_public(), &frank.franking_integrity_signature);
        verify_with_label(key, FrankingIntegrityTbs::LABEL, &tbs.encode(), signature).is_ok()
    }

    /// An admin reports somebody to the hub of a room.
    pub async fn report_abuse(&self, tx: &mut Tx, new: ReportAbuse) -> Result<(), Fault> {
        let ReportAbuse { room, user, messages, note, reporter } = new;
        if reporter.as_ref().is_some_and(|reporter| !self.is_ours(reporter)) {
            return Err(Fault::never("the reporter is not one of our users"));
        }
        if messages.len() > MESSAGES {
            return Err(Fault::never(format!("a report has at most {MESSAGES} messages")));
        }
        let mut proof = Vec::new();
        for id in &messages {
            let kept = match message_named(id) {
                Some(id) => tx.evidence_of(&room, &id).await?,
                None => None,
            };
            let kept =
                kept.ok_or_else(|| Fault::never(format!("the message {id} is not kept (`abuse kept {room}`)")))?;
            if kept.sender != user {
                return Err(Fault::never(format!("the message {id} is by {}", kept.sender)));
            }
            proof.push(kept.message);
        }
        let uri = |user: &UserUri| IdentifierUri::parse(user.as_str()).map_err(Fault::broken);
        let report = AbuseReport {
            reporting_user: reporter.as_ref().map(uri).transpose()?,
            alleged_abuser_uri: uri(&user)?,
            // D47: the draft has no other reason yet.
            reason_code: 0,
            note,
            messages: proof,
            abuse_extensions: AppDataDictionary::default(),
        }
        .encode();
        if *room.domain() == self.domain {
            return Ok(self.abuse_reported(tx, &self.domain, &room, &report).await?);
        }
        let to = Destination::Peer(room.domain().clone());
        self.enqueue(tx, &to, &Payload::ReportAbuse { room, report }).await
    }

    /// The messages of a room that could be reported.
    pub async fn kept(&self, tx: &mut Tx, room: &RoomUri) -> Result<Vec<KeptMessage>, Fault> {
        let kept = tx.evidence(room, SHOWN).await?.into_iter().map(|it| KeptMessage {
            message: hex::encode(it.id.as_bytes()),
            sender: it.sender,
            accepted: it.message.accepted_timestamp / 1000,
        });
        Ok(kept.collect())
    }
}

impl AbuseSummary {
    pub fn of(it: &Report) -> Self {
        Self {
            id: it.id,
            room: it.room.clone(),
            provider: it.provider.clone(),
            reporter: it.report.reporting_user.as_ref().map(|user| user.as_str().to_owned()),
            user: it.report.alleged_abuser_uri.as_str().to_owned(),
            messages: it.report.messages.len() as u64,
            since: it.at / 1000,
        }
    }
}

impl AbuseDetail {
    /// With what the messages say, if `content` asks for it.
    pub fn of(it: &Report, content: bool) -> Self {
        let message = |message: &AbusiveMessage| ReportedMessage {
            accepted: message.accepted_timestamp / 1000,
            content: content.then(|| words(&message.message_content)),
        };
        Self {
            summary: AbuseSummary::of(it),
            note: it.report.note.clone(),
            messages: it.report.messages.iter().map(message).collect(),
        }
    }
}

/// What a message that has been proven says.
fn words(message_content: &[u8]) -> String {
    let framed = ApplicationFraming::decode(message_content).ok();
    let inner = framed.as_ref().map_or(message_content, |framed| &framed.inner_application_content);
    event::words(inner).unwrap_or_else(|| "(it has no words)".into())
}

fn message_named(id: &str) -> Option<MessageId> {
    MessageId::new(hex::decode(id).ok()?.try_into().ok()?).ok()
}
