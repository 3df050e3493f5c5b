//! bot_policy: the programs in a room (R§6.7).

use crate::mimi::{participants::RoleIndex, tls::tls_struct};

/// The `bot_policy` component; an update is the whole of it anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BotPolicy {
    pub allowed_bots: Vec<Bot>,
}
tls_struct!(BotPolicy { allowed_bots });

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bot {
    pub name: String,
    pub description: String,
    /// A URI.
    pub homepage: String,
    /// It sees the room through a person's client.
    pub local_client_bot: bool,
    pub bot_role_index: RoleIndex,
    pub can_target_message_in_group: bool,
    pub per_user_content: bool,
}
tls_struct!(Bot {
    name,
    description,
    homepage,
    local_client_bot,
    bot_role_index,
    can_target_message_in_group,
    per_user_content,
});

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mimi::wire::samples::{hold, octets};

    #[test]
    fn a_policy_has_these_octets() {
        let bot = Bot {
            name: "n".into(),
            description: "d".into(),
            homepage: "h".into(),
            local_client_bot: true,
            bot_role_index: 7,
            can_target_message_in_group: false,
            per_user_content: true,
        };
        hold(&BotPolicy { allowed_bots: vec![bot] }, &octets("0d 016e 0164 0168 01 00000007 00 01"));
    }
}
