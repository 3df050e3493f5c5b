//! logging_policy: who keeps what is said (R§6.5).

use super::Unless;
use crate::mimi::tls::{Reader, Tls, WireError, Writer, tls_struct};

/// The `logging_policy` component; an update is the whole of it anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggingPolicy {
    pub logging: Unless<Logging>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logging {
    pub logging_clients: Vec<String>,
    pub machine_readable_policy: String,
    pub human_readable_policy: String,
}
tls_struct!(Logging { logging_clients, machine_readable_policy, human_readable_policy });

impl Tls for LoggingPolicy {
    fn write(&self, out: &mut Writer) {
        self.logging.write(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self { logging: Unless::read("logging", from)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mimi::wire::samples::{hold, octets};

    #[test]
    fn a_policy_has_these_octets() {
        let logging = Logging {
            logging_clients: vec!["c".into()],
            machine_readable_policy: "m".into(),
            human_readable_policy: "h".into(),
        };
        hold(&LoggingPolicy { logging: Unless::Required(logging) }, &octets("01 02 0163 016d 0168"));
        hold(&LoggingPolicy { logging: Unless::Forbidden }, &octets("02"));
    }
}
