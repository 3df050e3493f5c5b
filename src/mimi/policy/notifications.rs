//! status_notification_policy: what is told about what became of messages (R§6.1).

use super::Optionality;
use crate::mimi::tls::tls_struct;

/// The `status_notification_policy` component; an update is the whole of it anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusNotificationPolicy {
    pub delivery_notifications: Optionality,
    pub read_receipts: Optionality,
}
tls_struct!(StatusNotificationPolicy { delivery_notifications, read_receipts });

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mimi::{
        tls::Tls,
        wire::samples::{hold, octets},
    };

    #[test]
    fn a_policy_has_these_octets() {
        let policy = StatusNotificationPolicy {
            delivery_notifications: Optionality::Required,
            read_receipts: Optionality::Forbidden,
        };
        hold(&policy, &octets("01 02"));
        assert!(StatusNotificationPolicy::decode(&octets("01 03")).is_err());
    }
}
