//! Whether the network is there, and whether we hear it: two questions, and a session can answer them differently.
//!
//! A connection that is open and brings nothing looks like a quiet evening. So an adapter does not infer that it hears
//! from not having noticed otherwise: it proves it, again and again, with a *canary* ([`Canary`]): something harmless
//! that has to come back on the way on which people's messages come. When the canary stays out the session is
//! [`Session::Deaf`], and the adapter mends that by itself: it reads what it has missed, and connects anew if that helps.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use tokio::sync::watch;

/// How it stands between an adapter and its network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Session {
    /// Since the start there has been neither a proof nor a failure.
    #[default]
    Starting,
    /// A canary has come back, and none has failed since.
    Up,
    /// The network takes what we send, or answers when it is asked, but what happens there does not reach us in time.
    /// Nobody has to act: the adapter tries to make up for it until it hears again. People's messages are late, not lost.
    Deaf { since: SystemTime, reason: String },
    /// The network does not answer. The adapter goes on trying.
    Down { since: SystemTime, reason: String },
}

impl Session {
    /// `starting`, `up`, `deaf` or `down`: for logs, metrics and tables.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Up => "up",
            Self::Deaf { .. } => "deaf",
            Self::Down { .. } => "down",
        }
    }

    /// Since when something is wrong, and what: lower case, without a full stop.
    pub fn trouble(&self) -> Option<(SystemTime, &str)> {
        match self {
            Self::Deaf { since, reason } | Self::Down { since, reason } => Some((*since, reason)),
            Self::Starting | Self::Up => None,
        }
    }
}

impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.trouble() {
            Some((_, reason)) => write!(f, "{} ({reason})", self.word()),
            None => f.write_str(self.word()),
        }
    }
}

/// What an adapter keeps its [`Session`] in: it says what it has found out, and whoever wants to know watches.
#[derive(Debug, Default)]
pub struct Pulse(watch::Sender<Session>);

impl Pulse {
    /// [`Session::Starting`].
    pub fn new() -> Self {
        Self::default()
    }

    pub fn up(&self) {
        self.0.send_if_modified(|session| std::mem::replace(session, Session::Up) != Session::Up);
    }

    /// Deaf since now; or still, and then since it began.
    pub fn deaf(&self, reason: impl Into<String>) {
        self.is_in_trouble(reason.into(), |since, reason| Session::Deaf { since, reason });
    }

    /// Down since now; or still, and then since it began.
    pub fn down(&self, reason: impl Into<String>) {
        self.is_in_trouble(reason.into(), |since, reason| Session::Down { since, reason });
    }

    fn is_in_trouble(&self, reason: String, session: impl FnOnce(SystemTime, String) -> Session) {
        self.0.send_if_modified(|before| {
            let mut now = session(SystemTime::now(), reason);
            if let (Session::Deaf { since, .. }, Session::Deaf { since: begun, .. })
            | (Session::Down { since, .. }, Session::Down { since: begun, .. }) = (&mut now, &*before)
            {
                *since = *begun;
            }
            let changed = *before != now;
            *before = now;
            changed
        });
    }

    /// What [`Adapter::session`](crate::Adapter::session) answers.
    pub fn watch(&self) -> watch::Receiver<Session> {
        self.0.subscribe()
    }
}

/// How often a sign of life is asked for, and how long it may take.
#[derive(Clone, Copy, Debug)]
pub struct Canary {
    pub every: Duration,
    pub patience: Duration,
}

impl Canary {
    /// Half a minute between two signs, twenty seconds for each: deafness is noticed within a minute.
    pub const USUAL: Self = Self { every: Duration::from_secs(30), patience: Duration::from_secs(20) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_begins_once_whatever_its_reasons_are() {
        let pulse = Pulse::new();
        let mut session = pulse.watch();
        assert_eq!(*session.borrow_and_update(), Session::Starting);
        pulse.deaf("nothing comes back");
        let Session::Deaf { since, .. } = session.borrow_and_update().clone() else { panic!("it is deaf") };
        pulse.deaf("still nothing");
        assert_eq!(*session.borrow_and_update(), Session::Deaf { since, reason: "still nothing".into() });
        pulse.deaf("still nothing");
        assert!(!session.has_changed().unwrap(), "that is no news");
        pulse.up();
        assert_eq!(*session.borrow_and_update(), Session::Up);
        pulse.up();
        assert!(!session.has_changed().unwrap());
        pulse.down("nobody answers");
        assert_eq!(session.borrow_and_update().to_string(), "down (nobody answers)");
        pulse.deaf("it answers, and brings nothing");
        let Session::Deaf { since: later, .. } = session.borrow_and_update().clone() else { panic!("it is deaf") };
        assert!(later >= since);
    }
}
