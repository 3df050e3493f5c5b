//! The loopback adapter keeps its word, in process and over the socket, and the suite notices who doesn't.

#![allow(clippy::unwrap_used)] // The helpers of tests are tests as well.

mod liars;
mod people;

mod in_process {
    mimi_adapter::conformance!(crate::people::People::in_process());
}

mod over_the_socket {
    mimi_adapter::conformance!(crate::people::People::over_a_socket());
}
