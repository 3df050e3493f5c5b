//! The participant list of a room (P§7.5): who is in it, each with one role.
//!
//! The list is in the MLS GroupContext, so every member and the hub must come to the same octets from the
//! same commit. [`apply`] is the one function that says how, and it knows nothing but the list: whether
//! somebody may change it is for [`policy`](crate::mimi::policy).

use std::collections::BTreeSet;

use crate::mimi::{
    tls::{Reader, Tls, WireError, Writer, tls_struct},
    uri::UserUri,
};

/// The index of a role in the room's roles_list. 0 is "not in the list", and is never stored.
pub type RoleIndex = u32;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParticipantListData {
    participants: Vec<UserRolePair>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserRolePair {
    pub user: UserUri,
    pub role_index: RoleIndex,
}
tls_struct!(UserRolePair { user, role_index });

impl ParticipantListData {
    pub fn new(participants: Vec<UserRolePair>) -> Result<Self, ParticipantListError> {
        let mut users = BTreeSet::new();
        for participant in &participants {
            if participant.role_index == 0 {
                return Err(ParticipantListError::RoleZero);
            }
            if !users.insert(&participant.user) {
                return Err(ParticipantListError::Twice);
            }
        }
        Ok(Self { participants })
    }

    pub fn iter(&self) -> impl Iterator<Item = &UserRolePair> {
        self.participants.iter()
    }

    /// The role of somebody who is in the list.
    pub fn role(&self, user: &UserUri) -> Option<RoleIndex> {
        self.iter().find(|it| it.user == *user).map(|it| it.role_index)
    }

    /// By what number updates name somebody.
    pub fn index(&self, user: &UserUri) -> Option<u32> {
        self.participants.iter().position(|it| it.user == *user).map(|at| at as u32)
    }
}

impl Tls for ParticipantListData {
    fn write(&self, out: &mut Writer) {
        self.participants.write(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        Self::new(from.field("participants")?)
            .map_err(|_| WireError::Invalid("a participant list has everybody once, in a role"))
    }
}

/// The update of an AppDataUpdate for this component.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParticipantListUpdate {
    pub changed_role_participants: Vec<UserIndexRolePair>,
    pub removed_indices: Vec<u32>,
    pub added_participants: Vec<UserRolePair>,
}
tls_struct!(ParticipantListUpdate {
    changed_role_participants = "changedRoleParticipants",
    removed_indices = "removedIndices",
    added_participants = "addedParticipants",
});

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserIndexRolePair {
    pub user_index: u32,
    pub role_index: RoleIndex,
}
tls_struct!(UserIndexRolePair { user_index, role_index });

/// Why updates make a list of proposals invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParticipantListError {
    #[error("the participant list has no index {0}")]
    Index(u32),
    #[error("one commit changes the same user twice, or adds one who is there")]
    Twice,
    #[error("role 0 is for those who are not in the list")]
    RoleZero,
}

/// The list after a commit with these updates, in the order of the commit.
///
/// Every index means the list as it was at the start of the epoch. First all roles change, then all
/// removals happen and the rest move up, then all additions are appended. Nobody may be touched twice, by
/// index or by name (D20, R-38).
pub fn apply(
    list: &ParticipantListData,
    updates: &[ParticipantListUpdate],
) -> Result<ParticipantListData, ParticipantListError> {
    let mut participants: Vec<Option<UserRolePair>> = list.participants.iter().cloned().map(Some).collect();
    let mut touched = BTreeSet::new();
    let mut touch = |index: u32| match list.participants.get(index as usize) {
        None => Err(ParticipantListError::Index(index)),
        Some(_) if !touched.insert(index) => Err(ParticipantListError::Twice),
        Some(_) => Ok(index as usize),
    };
    for change in updates.iter().flat_map(|it| &it.changed_role_participants) {
        let index = touch(change.user_index)?;
        participants[index] = Some(UserRolePair { role_index: change.role_index, ..list.participants[index].clone() });
    }
    for removed in updates.iter().flat_map(|it| &it.removed_indices) {
        participants[touch(*removed)?] = None;
    }
    let added: Vec<_> = updates.iter().flat_map(|it| &it.added_participants).cloned().collect();
    // Somebody who is removed and added in one commit is touched twice.
    if added.iter().any(|it| list.index(&it.user).is_some()) {
        return Err(ParticipantListError::Twice);
    }
    ParticipantListData::new(participants.into_iter().flatten().chain(added).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: &str = "mimi://a.example/u/alice";
    const BOB: &str = "mimi://b.example/u/bob";
    const CATHY: &str = "mimi://c.example/u/cathy";

    fn pair(user: &str, role_index: u32) -> UserRolePair {
        UserRolePair { user: user.parse().unwrap(), role_index }
    }

    fn list(people: &[(&str, u32)]) -> ParticipantListData {
        ParticipantListData::new(people.iter().map(|(user, role)| pair(user, *role)).collect()).unwrap()
    }

    fn update(changed: &[(u32, u32)], removed: &[u32], added: &[(&str, u32)]) -> ParticipantListUpdate {
        ParticipantListUpdate {
            changed_role_participants: changed
                .iter()
                .map(|&(user_index, role_index)| UserIndexRolePair { user_index, role_index })
                .collect(),
            removed_indices: removed.to_vec(),
            added_participants: added.iter().map(|(user, role)| pair(user, *role)).collect(),
        }
    }

    // Seed vector §5.4, computed independently.
    #[test]
    fn the_list_has_these_octets() {
        let octets = "38186d696d693a2f2f612e6578616d706c652f752f616c69636500000004166d696d693a2f2f622e6578616d706c652f752f626f6200000002";
        let octets = hex::decode(octets).unwrap();
        let people = list(&[(ALICE, 4), (BOB, 2)]);
        assert_eq!(people.encode(), octets);
        assert_eq!(ParticipantListData::decode(&octets), Ok(people));
        for end in 0..octets.len() {
            assert!(ParticipantListData::decode(&octets[..end]).is_err());
        }
    }

    // Seed vector §5.4, computed independently.
    #[test]
    fn an_update_has_these_octets() {
        let octets =
            hex::decode(format!("0800000001000000030 01d18{}00000002", hex::encode(CATHY)).replace(' ', "")).unwrap();
        assert_eq!(octets.len(), 0x28);
        let update = update(&[(1, 3)], &[], &[(CATHY, 2)]);
        assert_eq!(update.encode(), octets);
        assert_eq!(ParticipantListUpdate::decode(&octets), Ok(update));
        for end in 0..octets.len() {
            assert!(ParticipantListUpdate::decode(&octets[..end]).is_err());
        }
    }

    #[test]
    fn roles_change_then_people_go_then_people_come() {
        let before = list(&[(ALICE, 4), (BOB, 2)]);
        assert_eq!(apply(&before, &[update(&[(1, 3)], &[0], &[(CATHY, 2)])]), Ok(list(&[(BOB, 3), (CATHY, 2)])));
    }

    #[test]
    fn several_updates_all_mean_the_list_of_the_epoch() {
        let before = list(&[(ALICE, 4), (BOB, 2), (CATHY, 2)]);
        let dave = "mimi://a.example/u/dave";
        let updates = [update(&[], &[0], &[(dave, 2)]), update(&[(2, 3)], &[1], &[])];
        assert_eq!(apply(&before, &updates), Ok(list(&[(CATHY, 3), (dave, 2)])));
    }

    #[test]
    fn nothing_changes_nothing() {
        let before = list(&[(ALICE, 4)]);
        assert_eq!(apply(&before, &[]), Ok(before.clone()));
        assert_eq!(apply(&before, &[update(&[], &[], &[])]), Ok(before));
    }

    #[test]
    fn nobody_is_touched_twice() {
        let before = list(&[(ALICE, 4), (BOB, 2)]);
        for updates in [
            vec![update(&[(1, 3), (1, 4)], &[], &[])],
            vec![update(&[(1, 3)], &[1], &[])],
            vec![update(&[], &[1, 1], &[])],
            vec![update(&[], &[1], &[]), update(&[(1, 3)], &[], &[])],
            vec![update(&[], &[], &[(BOB, 3)])],
            vec![update(&[], &[1], &[(BOB, 3)])],
            vec![update(&[], &[], &[(CATHY, 2)]), update(&[], &[], &[(CATHY, 3)])],
        ] {
            assert_eq!(apply(&before, &updates), Err(ParticipantListError::Twice), "{updates:?}");
        }
    }

    #[test]
    fn an_index_is_in_the_list_and_a_role_is_not_zero() {
        let before = list(&[(ALICE, 4), (BOB, 2)]);
        assert_eq!(apply(&before, &[update(&[(2, 3)], &[], &[])]), Err(ParticipantListError::Index(2)));
        assert_eq!(apply(&before, &[update(&[], &[u32::MAX], &[])]), Err(ParticipantListError::Index(u32::MAX)));
        assert_eq!(apply(&before, &[update(&[(1, 0)], &[], &[])]), Err(ParticipantListError::RoleZero));
        assert_eq!(apply(&before, &[update(&[], &[], &[(CATHY, 0)])]), Err(ParticipantListError::RoleZero));
    }

    proptest::proptest! {
        #[test]
        fn any_octets_are_read_or_refused(octets: Vec<u8>) {
            let _ = (ParticipantListData::decode(&octets), ParticipantListUpdate::decode(&octets));
        }
    }
}
