//! What crosses the wire, for people who want to watch: endpoint, sizes, epoch, message ID. Never content.

use mimi_adapter::Domain;

/// A line-by-line watcher. Off unless somebody asked.
#[derive(Clone, Default)]
pub struct Trace(Option<std::sync::Arc<dyn Fn(String) + Send + Sync>>);

impl Trace {
    pub fn to(watcher: impl Fn(String) + Send + Sync + 'static) -> Self {
        Self(Some(std::sync::Arc::new(watcher)))
    }

    /// One request from us to `peer`, and how it was answered.
    pub fn request(&self, from: &Domain, to: &Domain, endpoint: &str, sent: usize, answer: &str, about: &str) {
        if let Some(watcher) = &self.0 {
            watcher(format!("{from} → {to}  POST {endpoint}  {sent} octets  {about}  ⇒ {answer}"));
        }
    }
}
