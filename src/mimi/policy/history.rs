//! chat_history_policy: what those who come later may be shown (R§6.6).

use super::Unless;
use crate::mimi::{
    participants::RoleIndex,
    tls::{Reader, Tls, WireError, Writer, tls_struct},
};

/// The `chat_history_policy` component; an update is the whole of it anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatHistoryPolicy {
    pub history_sharing: Unless<HistorySharing>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistorySharing {
    pub roles_that_can_share: Vec<RoleIndex>,
    pub automatically_share: bool,
    /// In seconds.
    pub max_time_period: u32,
}
tls_struct!(HistorySharing { roles_that_can_share, automatically_share, max_time_period });

impl Tls for ChatHistoryPolicy {
    fn write(&self, out: &mut Writer) {
        self.history_sharing.write(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self { history_sharing: Unless::read("history_sharing", from)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mimi::wire::samples::{hold, octets};

    #[test]
    fn a_policy_has_these_octets() {
        let sharing =
            HistorySharing { roles_that_can_share: vec![3, 4], automatically_share: true, max_time_period: 258 };
        let policy = ChatHistoryPolicy { history_sharing: Unless::Optional(sharing) };
        hold(&policy, &octets("00 08 00000003 00000004 01 00000102"));
        hold(&ChatHistoryPolicy { history_sharing: Unless::Forbidden }, &octets("02"));
    }
}
