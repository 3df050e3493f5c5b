//! What providers say to each other (draft-ietf-mimi-protocol, "MIMI Endpoints and Framing").
//!
//! Struct order and names are the draft's. Each type is read by [`Tls::decode`], which takes all of the
//! octets and checks what the struct itself promises: which kinds of MLS message may stand where, and that
//! lists are sorted. What depends on anything else (who asks, which room, which epoch) is for others.
//!
//! The draft's slips are repaired here and nowhere else: a `D`-number stands where we chose a reading.

mod abuse;
mod components;
mod consent;
mod fanout;
mod group_info;
mod identifier;
mod key_material;
mod mls;
#[cfg(test)]
pub(crate) mod samples;
mod submit;
mod update;

pub use abuse::{AbuseReport, AbusiveMessage};
pub use components::{AppAck, AppDataUpdate, AppEphemeral, ComponentsList, DomainList, MessageRange, SafeAad};
pub use consent::{ConsentEntry, ConsentOperation};
pub use fanout::{Fanout, FanoutMessage};
pub use group_info::{
    ExternalSender, GroupInfoAnswer, GroupInfoOutcome, GroupInfoRatchetTreeTbe, GroupInfoRequest, GroupInfoRequestTbs,
    GroupInfoResponse, GroupInfoResponseTbs, HpkeCiphertext, PendingProposal,
};
pub use identifier::{
    FieldSource, IdentifierQueryCode, IdentifierRequest, IdentifierResponse, ProfileField, QueryElement, Search,
    UserProfile,
};
pub use key_material::{
    ClientKeyMaterial, ClientMaterial, KeyMaterialRequest, KeyMaterialRequestTbs, KeyMaterialResponse,
    KeyMaterialUserCode,
};
pub use mls::{AppDataDictionary, Capabilities, CipherSuite, Credential, Extension, RequiredCapabilities};
pub use submit::{Frank, SubmitMessageRequest, SubmitMessageResponse};
pub use update::{
    GroupInfoOption, HandshakeBundle, PartialGroupInfo, ProposalRef, RatchetTreeOption, RatchetTreePresence,
    UpdateOutcome, UpdateRequest, UpdateRoomResponse,
};

use crate::mimi::tls::tls_enum;
pub use crate::{
    mimi::tls::{Tls, WireError},
    mls::codec::{GroupInfo, KeyPackage, KeyPackageRef, MlsKind, MlsMessage, RatchetTree, Welcome},
};

tls_enum! {
    /// The room's protocol. Where a struct selects on it without carrying it, nothing is on the wire (D6, D7).
    Protocol: "protocol" { Mls10 = 1 "mls10" }
}
