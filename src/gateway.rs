//! Builds the parts and runs them.

use std::error::Error;

use crate::{adapters::Adapters, config::Config};

/// Runs until it is told to stop.
pub async fn run(_: Config, _: Adapters) -> Result<(), Box<dyn Error + Send + Sync>> {
    Err("this build can't run a gateway yet".into())
}
