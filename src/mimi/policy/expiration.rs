//! message_expiration_policy: how long messages are kept (R§6.8).

use super::Unless;
use crate::mimi::tls::{Reader, Tls, WireError, Writer, tls_struct};

/// The `message_expiration_policy` component; an update is the whole of it anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageExpirationPolicy {
    pub expiring_messages: Unless<ExpirationDurations>,
}

/// In seconds, as the `expires` of a content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpirationDurations {
    pub min_expiration_duration: u32,
    pub max_expiration_duration: u32,
    pub default_expiration_duration: Option<u32>,
}
tls_struct!(ExpirationDurations { min_expiration_duration, max_expiration_duration, default_expiration_duration });

impl Tls for MessageExpirationPolicy {
    fn write(&self, out: &mut Writer) {
        self.expiring_messages.write(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self { expiring_messages: Unless::read("expiring_messages", from)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mimi::wire::samples::{hold, octets};

    #[test]
    fn a_policy_has_these_octets() {
        let durations = |default_expiration_duration| ExpirationDurations {
            min_expiration_duration: 1,
            max_expiration_duration: 258,
            default_expiration_duration,
        };
        let policy = |expiring_messages| MessageExpirationPolicy { expiring_messages };
        hold(&policy(Unless::Required(durations(Some(3)))), &octets("01 00000001 00000102 01 00000003"));
        hold(&policy(Unless::Optional(durations(None))), &octets("00 00000001 00000102 00"));
        hold(&policy(Unless::Forbidden), &octets("02"));
    }
}
