//! How often another provider may ask what is dear to answer, or what somebody could learn from by asking much.
//!
//! Each provider has a bucket for each such endpoint: so many at once, and then one every so often. Whoever asks more
//! is told when to come again (429). Only in memory: a restart forgives.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use mimi_adapter::Domain;

use crate::mimi::directory::Endpoint;

/// Buckets that are full again are forgotten when there are more than this many.
const BUCKETS: usize = 1024;

#[derive(Default)]
pub struct Limits {
    /// When a bucket will be full again, in milliseconds since the epoch.
    full_at: Mutex<HashMap<(Domain, Endpoint), u64>>,
}

/// How many at once, and after how many milliseconds one more.
fn limit(endpoint: Endpoint) -> Option<(u64, u64)> {
    match endpoint {
        // A provider that has lost its database comes back with all its rooms; each may be a megabyte of tree.
        Endpoint::GroupInfo => Some((256, 1_000)),
        // Each answer makes keys that are kept until somebody joins with them.
        Endpoint::KeyMaterial => Some((1024, 200)),
        // Nobody types faster, and a dictionary of names takes weeks.
        Endpoint::IdentifierQuery => Some((60, 2_000)),
        Endpoint::ReportAbuse => Some((30, 10_000)),
        _ => None,
    }
}

impl Limits {
    /// Counts one request, or says how long to wait.
    pub fn admit(&self, from: &Domain, endpoint: Endpoint, now: u64) -> Result<(), Duration> {
        let Some((burst, every)) = limit(endpoint) else { return Ok(()) };
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        if full_at.len() > BUCKETS {
            full_at.retain(|_, at| *at > now);
        }
        let at = full_at.entry((from.clone(), endpoint)).or_default();
        // A clock that was set back must not lock anybody out.
        *at = (*at).clamp(now, now + burst * every);
        let (next, most) = (*at + every, now + burst * every);
        if next > most {
            return Err(Duration::from_millis(next - most));
        }
        *at = next;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(name: &str) -> Domain {
        Domain::parse(name).unwrap()
    }

    #[test]
    fn so_many_at_once_and_then_one_every_so_often() {
        let (limits, b, now) = (Limits::default(), domain("b.example"), 1_000_000);
        for n in 0..60 {
            assert_eq!(limits.admit(&b, Endpoint::IdentifierQuery, now), Ok(()), "{n}");
        }
        assert_eq!(limits.admit(&b, Endpoint::IdentifierQuery, now), Err(Duration::from_secs(2)));
        assert_eq!(limits.admit(&b, Endpoint::IdentifierQuery, now + 1_999), Err(Duration::from_millis(1)));
        assert_eq!(limits.admit(&b, Endpoint::IdentifierQuery, now + 2_000), Ok(()));
        assert_eq!(limits.admit(&b, Endpoint::IdentifierQuery, now + 2_000), Err(Duration::from_secs(2)));
        // Others, and other endpoints, have buckets of their own, and most have none.
        assert_eq!(limits.admit(&domain("c.example"), Endpoint::IdentifierQuery, now), Ok(()));
        assert_eq!(limits.admit(&b, Endpoint::GroupInfo, now), Ok(()));
        for _ in 0..10_000 {
            assert_eq!(limits.admit(&b, Endpoint::Notify, now), Ok(()));
        }
    }

    #[test]
    fn a_clock_that_was_set_back_locks_nobody_out() {
        let (limits, b) = (Limits::default(), domain("b.example"));
        assert_eq!(limits.admit(&b, Endpoint::ReportAbuse, 9_000_000_000), Ok(()));
        assert_eq!(limits.admit(&b, Endpoint::ReportAbuse, 1_000_000), Err(Duration::from_secs(10)));
        assert_eq!(limits.admit(&b, Endpoint::ReportAbuse, 1_010_000), Ok(()));
    }

    #[test]
    fn who_has_not_asked_for_long_is_forgotten() {
        let limits = Limits::default();
        for n in 0..5_000 {
            let from = domain(&format!("p{n}.example"));
            assert_eq!(limits.admit(&from, Endpoint::GroupInfo, 10_000 * n), Ok(()));
        }
        assert!(limits.full_at.lock().unwrap().len() <= BUCKETS + 1);
    }
}
