//! Everything that can be inspected, in one table: who lists it and who does it look at the same.

use super::{Inspected, Malformed, Origin, content, read, write};
use crate::mimi::{
    disclosure::BridgeDisclosure,
    framing::{ApplicationFraming, MediaTypeList},
    franking::{FrankAad, FrankingAgentData, FrankingIntegrityTbs, ServerFrankingContext},
    metadata::RoomMetaData,
    participants::{ParticipantListData, ParticipantListUpdate},
    policy::*,
    tls::{Reader, Tls, Tree, WireError, Writer},
    wire::*,
};

/// One kind of octets.
#[derive(Debug)]
pub struct Kind {
    /// As its draft calls it.
    pub name: &'static str,
    /// The section of its draft, or of RFC 9420; `ours` if there is none.
    pub source: &'static str,
    pub about: &'static str,
    read: fn(&[u8], &Origin) -> Result<Inspected, Malformed>,
    write: fn(&Tree) -> Result<Vec<u8>, Malformed>,
}

impl Kind {
    /// Reads octets. Who sent them matters for the ID of a content, and for nothing else.
    pub fn read(&self, octets: &[u8], origin: &Origin) -> Result<Inspected, Malformed> {
        (self.read)(octets, origin)
    }

    /// Writes the octets that a tree describes.
    pub fn write(&self, tree: &Tree) -> Result<Vec<u8>, Malformed> {
        (self.write)(tree)
    }

    const fn of<T: Tls>(name: &'static str, source: &'static str, about: &'static str) -> Self {
        Self { name, source, about, read: |octets, _| read::<T>(octets), write: write::<T> }
    }
}

/// The kind of this name, in whatever case and with hyphens or underscores wherever somebody likes them. The error
/// is for people.
pub fn kind(name: &str) -> Result<&'static Kind, String> {
    let bare = |name: &str| name.replace(['-', '_'], "").to_ascii_lowercase();
    let wanted = bare(name);
    KINDS.iter().find(|kind| bare(kind.name) == wanted).ok_or_else(|| {
        if let Some((name, why)) = MISSING.iter().find(|(missing, _)| bare(missing) == wanted) {
            return format!("{name} can't be inspected: {why}");
        }
        let nearest = KINDS.iter().max_by(|one, other| {
            let likeness = |kind: &Kind| strsim::jaro_winkler(&bare(kind.name), &wanted);
            likeness(one).total_cmp(&likeness(other))
        });
        let nearest = nearest.map(|kind| format!(" (did you mean {}?)", kind.name)).unwrap_or_default();
        format!("there is no kind {name:?}{nearest}; --list names all of them")
    })
}

/// The body of `/notify`: FanoutMessages, one after the other.
struct Notify(Vec<FanoutMessage>);

impl Tls for Notify {
    fn write(&self, out: &mut Writer) {
        self.0.iter().for_each(|message| message.write(out));
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        from.row(FanoutMessage::read).map(Self)
    }
}

/// In the order of the reference: what providers say to each other, what is inside MLS, what a room is, content.
pub static KINDS: &[Kind] = &[
    Kind::of::<KeyMaterialRequest>("KeyMaterialRequest", "P§5.2", "the body of keyMaterial"),
    Kind::of::<KeyMaterialRequestTbs>("KeyMaterialRequestTBS", "P§5.2", "what its signature is over"),
    Kind::of::<KeyMaterialResponse>("KeyMaterialResponse", "P§5.2", "its answer"),
    Kind::of::<ClientKeyMaterial>("ClientKeyMaterial", "P§5.2", "one client in the answer"),
    Kind::of::<UpdateRequest>("UpdateRequest", "P§5.3", "the body of update: a HandshakeBundle and nothing else (D6)"),
    Kind::of::<HandshakeBundle>("HandshakeBundle", "P§5.3", "a commit with what belongs to it, or proposals"),
    Kind::of::<UpdateRoomResponse>("UpdateRoomResponse", "P§5.3", "the answer to update"),
    Kind::of::<GroupInfoOption>("GroupInfoOption", "P§5.3", "a GroupInfo, whole or in part"),
    Kind::of::<PartialGroupInfo>("PartialGroupInfo", "T§4", "what a hub can't compute of a GroupInfo"),
    Kind::of::<RatchetTreeOption>("RatchetTreeOption", "T§3", "a ratchet tree, or where it is"),
    Kind::of::<DomainList>("DomainList", "T§3", "the extension ratchet_tree_source_domains"),
    Kind::of::<SubmitMessageRequest>("SubmitMessageRequest", "P§5.4", "the body of submitMessage"),
    Kind::of::<SubmitMessageResponse>("SubmitMessageResponse", "P§5.4", "its answer"),
    Kind::of::<Frank>("Frank", "P§5.4.1", "the hub's stamp on a message"),
    Kind::of::<FrankAad>("FrankAAD", "P§5.4.1", "component frank_aad 0x0020, in a SafeAAD"),
    Kind::of::<FrankingAgentData>("FrankingAgentData", "P§5.4.1", "component franking_agent 0x0021"),
    Kind::of::<ServerFrankingContext>("ServerFrankingContext", "P§5.4.1", "what server_frank is over, behind the tag"),
    Kind::of::<FrankingIntegrityTbs>("FrankingIntegrityTBS", "P§5.4.1", "what the hub's signature is over"),
    Kind::of::<Notify>("notify", "P§5.5", "the body of notify: FanoutMessages, one or several, as a list"),
    Kind::of::<FanoutMessage>("FanoutMessage", "P§5.5", "one of them"),
    Kind::of::<GroupInfoRequest>("GroupInfoRequest", "P§5.6", "the body of groupInfo"),
    Kind::of::<GroupInfoRequestTbs>("GroupInfoRequestTBS", "P§5.6", "what its signature is over"),
    Kind::of::<GroupInfoResponse>("GroupInfoResponse", "P§5.6", "its answer"),
    Kind::of::<GroupInfoResponseTbs>("GroupInfoResponseTBS", "P§5.6", "what the answer's signature is over"),
    Kind::of::<GroupInfoRatchetTreeTbe>("GroupInfoRatchetTreeTBE", "P§5.6", "what is encrypted in the answer"),
    Kind::of::<PendingProposal>("PendingProposal", "P§5.6", "a proposal in it"),
    Kind::of::<ConsentEntry>("ConsentEntry", "P§5.7", "the body of requestConsent and updateConsent"),
    Kind::of::<IdentifierRequest>("IdentifierRequest", "P§5.8", "the body of identifierQuery"),
    Kind::of::<QueryElement>("QueryElement", "P§5.8", "one condition in it"),
    Kind::of::<IdentifierResponse>("IdentifierResponse", "P§5.8", "its answer"),
    Kind::of::<UserProfile>("UserProfile", "P§5.8", "one person in the answer"),
    Kind::of::<AbuseReport>("AbuseReport", "P§5.9", "the body of reportAbuse"),
    Kind::of::<AbusiveMessage>("AbusiveMessage", "P§5.9", "one message in it"),
    Kind::of::<MlsMessage>("MLSMessage", "RFC 9420 §6", "any message of MLS; what needs keys is left as it is"),
    Kind::of::<Welcome>("Welcome", "RFC 9420 §12.4.3.1", "without the header of an MLSMessage"),
    Kind::of::<KeyPackage>("KeyPackage", "RFC 9420 §10", "without the header of an MLSMessage"),
    Kind::of::<GroupInfo>("GroupInfo", "RFC 9420 §12.4.3", "without the header of an MLSMessage"),
    Kind::of::<RatchetTree>("ratchet_tree", "RFC 9420 §12.4.3.3", "optional<Node> ratchet_tree<V>"),
    Kind::of::<Credential>("Credential", "RFC 9420 §5.3", "who somebody is"),
    Kind::of::<Capabilities>("Capabilities", "RFC 9420 §7.2", "what a client understands"),
    Kind::of::<RequiredCapabilities>("RequiredCapabilities", "RFC 9420 §11.1", "what a group's members understand"),
    Kind::of::<Extension>("Extension", "RFC 9420 §13.4", "an extension of MLS"),
    Kind::of::<ExternalSender>("ExternalSender", "RFC 9420 §12.1.8.1", "who may propose from outside"),
    Kind::of::<HpkeCiphertext>("HPKECiphertext", "RFC 9420 §7.6", "something encrypted for one key"),
    Kind::of::<AppDataDictionary>("AppDataDictionary", "X§4.6", "what components have to say"),
    Kind::of::<AppDataUpdate>("AppDataUpdate", "X§4.7", "the proposal 0x0008"),
    Kind::of::<AppEphemeral>("AppEphemeral", "X§4.8", "the proposal 0x0009"),
    Kind::of::<SafeAad>("SafeAAD", "X§4.9", "all of an authenticated_data (D50)"),
    Kind::of::<ComponentsList>("ComponentsList", "X§5", "components app_components 0x0001 and safe_aad 0x0002"),
    Kind::of::<AppAck>("AppAck", "X§6.1", "component app_ack 0x0005"),
    Kind::of::<MediaTypeList>("MediaTypeList", "X§6.2", "component content_media_types 0x0003"),
    Kind::of::<ApplicationFraming>("ApplicationFraming", "X§6.2", "what is around a content in an MLS message"),
    Kind::of::<ParticipantListData>("ParticipantListData", "P§7.5", "component participant_list 0x0022"),
    Kind::of::<ParticipantListUpdate>("ParticipantListUpdate", "P§7.5", "its update"),
    Kind::of::<RoomMetaData>("RoomMetaData", "P§7.6", "component room_metadata 0x0023, and its update"),
    Kind::of::<OperationalParameters>("OperationalParameters", "R§7", "component mls_operational_policy 0x0024"),
    Kind::of::<RoleData>("RoleData", "R§3", "component roles_list 0x0025"),
    Kind::of::<PreAuthData>("PreAuthData", "R§4", "component preauth_list 0x0026"),
    Kind::of::<BaseRoomPolicy>("BaseRoomPolicy", "R§5", "component base_room_policy 0x0027"),
    Kind::of::<StatusNotificationPolicy>(
        "StatusNotificationPolicy",
        "R§6.1",
        "component status_notification_policy 0x0028",
    ),
    Kind::of::<JoinLinkPolicy>("JoinLinkPolicy", "R§6.2", "component join_link_policy 0x0029"),
    Kind::of::<JoinLinksData>("JoinLinksData", "R§6.2", "component join_links 0x002a"),
    Kind::of::<JoinLinksUpdate>("JoinLinksUpdate", "R§6.2", "its update"),
    Kind::of::<LinkPreviewPolicy>("LinkPreviewPolicy", "R§6.3", "component link_preview_policy 0x002b"),
    Kind::of::<AssetPolicy>("AssetPolicy", "R§6.4", "component asset_policy 0x002c"),
    Kind::of::<LoggingPolicy>("LoggingPolicy", "R§6.5", "component logging_policy 0x002d"),
    Kind::of::<ChatHistoryPolicy>("ChatHistoryPolicy", "R§6.6", "component chat_history_policy 0x002e"),
    Kind::of::<BotPolicy>("BotPolicy", "R§6.7", "component bot_policy 0x002f"),
    Kind::of::<MessageExpirationPolicy>(
        "MessageExpirationPolicy",
        "R§6.8",
        "component message_expiration_policy 0x0030",
    ),
    Kind::of::<BridgeDisclosure>("bridge_disclosure", "ours", "component 0xf4b0: end-to-end encryption ends here"),
    Kind {
        name: "mimiContent",
        source: "C§4",
        about: "a message, in CBOR; with its ID",
        read: content::read,
        write: content::write,
    },
    Kind {
        name: "MessageStatusReport",
        source: "draft-mahy-mimi-message-status",
        about: "what became of messages, in CBOR",
        read: content::read_report,
        write: content::write_report,
    },
];

/// What the drafts have and we don't, and why.
pub const MISSING: &[(&str, &str)] = &[
    ("PseudonymousCredential", "metadata-hiding rooms have no key management yet (D48)"),
    ("PseudonymousCredentialTBS", "as PseudonymousCredential"),
    ("IdentityLinkTBE", "as PseudonymousCredential"),
    ("SemiPrivateMessage", "its wire format has no number yet (D51)"),
    ("directory", "it is JSON already"),
];
