//! The gauges of `/metrics`, in Prometheus' text format.

use std::fmt::Write;

use super::{AdapterState, AdapterStatus, DeadStatus, Status};

pub(super) fn render(status: &Status, ready: bool) -> String {
    let mut text = String::new();
    let mut gauge = |name: &str, help: &str, samples: &[(String, u64)]| {
        let _ = writeln!(text, "# HELP mimi_gateway_{name} {help}\n# TYPE mimi_gateway_{name} gauge");
        for (labels, value) in samples {
            let _ = writeln!(text, "mimi_gateway_{name}{labels} {value}");
        }
    };
    let info = labels(&[("version", &status.version), ("domain", status.domain.as_str())]);
    gauge("info", "Which gateway this is.", &[(info, 1)]);
    gauge("ready", "1 if the gateway can do its work.", &[(String::new(), ready.into())]);
    let in_state = |it: &AdapterStatus, state: AdapterState| {
        (labels(&[("adapter", &it.name), ("kind", &it.kind), ("state", state.word())]), (it.state == state).into())
    };
    let adapters: Vec<_> =
        status.adapters.iter().flat_map(|it| AdapterState::ALL.map(|state| in_state(it, state))).collect();
    gauge("adapter", "1 for the state in which the adapter's session with its network is.", &adapters);
    gauge("outbox_queued", "Deliveries accepted and not yet settled.", &[(String::new(), status.outbox.queued)]);
    let oldest = status.outbox.oldest_age_s.unwrap_or(0);
    gauge("outbox_oldest_age_seconds", "How long the oldest of them has waited.", &[(String::new(), oldest)]);
    let failing = status.outbox.failing;
    gauge("outbox_failing", "Destinations that take nothing at the moment.", &[(String::new(), failing)]);
    let dead = |value: fn(&DeadStatus) -> u64| -> Vec<_> {
        status.outbox.dead.iter().map(|it| (labels(&[("cause", &it.cause)]), value(it))).collect()
    };
    gauge("dead_letters", "What could not be delivered and is kept, by cause.", &dead(|it| it.count));
    let help = "How long ago the oldest of them was given up.";
    gauge("dead_letters_oldest_age_seconds", help, &dead(|it| it.oldest_age_s));
    let held = status.breaker.held;
    gauge("breaker_held", "Leaves, removals and deletions that wait for an admin.", &[(String::new(), held)]);
    text
}

fn labels(labels: &[(&str, &str)]) -> String {
    let escaped = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let pairs: Vec<_> = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
    format!("{{{}}}", pairs.join(","))
}
