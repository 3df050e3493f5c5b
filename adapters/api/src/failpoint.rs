//! Named places where a process can be made to end, for the proof that nothing is lost by that.
//!
//! Each step that writes or sends has its place, and `tests/proof/points.toml` lists them all. In a build with
//! the feature `failpoints`, the variable `FAILPOINTS` in the environment arms them, in the syntax of the crate
//! `fail`: `FAILPOINTS='outbox.portal.delivered=3*off->1*return'` ends the process at the fourth pass. Without
//! the feature nothing is left of any of them, not even the names; and a release can't be built with it.

/// A place that a step passes: `failpoint!("store.committed")` ends the process there if it is armed, at once and
/// without any destructor, as `kill -9` would. With a second argument the step fails instead, with that error:
/// `failpoint!("store.commit.fails", full_disk())`.
#[cfg(feature = "failpoints")]
#[macro_export]
macro_rules! failpoint {
    ($name:literal) => {
        $crate::failpoint::pass($name)
    };
    ($name:literal, $error:expr) => {
        if $crate::failpoint::fails($name) {
            return Err($error);
        }
    };
}

/// Nothing: this build has no fail-points.
#[cfg(not(feature = "failpoints"))]
#[macro_export]
macro_rules! failpoint {
    ($name:literal) => {};
    ($name:literal, $error:expr) => {};
}

#[cfg(all(feature = "failpoints", not(debug_assertions)))]
compile_error!("the feature `failpoints` is for tests: no release is built with it");

#[cfg(feature = "failpoints")]
static ARMED: std::sync::Once = std::sync::Once::new();

/// Is the place armed for this pass?
#[cfg(feature = "failpoints")]
pub fn fails(name: &str) -> bool {
    // The scenario would disarm everything when it is dropped.
    ARMED.call_once(|| std::mem::forget(fail::FailScenario::setup()));
    fail::eval(name, |_| ()).is_some()
}

/// Ends the process if the place is armed.
#[cfg(feature = "failpoints")]
pub fn pass(name: &str) {
    if fails(name) {
        eprintln!("fail-point {name}: the process ends here");
        std::process::abort();
    }
}

/// What a constant is made of does nothing while the program runs, so this compiles only if a place is nothing.
#[cfg(not(feature = "failpoints"))]
const _: () = {
    failpoint!("any.place");
};
