//! Two gateways, Alice and Bob, in one terminal.

use std::error::Error;

#[derive(Debug, clap::Args)]
pub struct DemoOptions {}

pub async fn run(_: DemoOptions) -> Result<(), Box<dyn Error + Send + Sync>> {
    Err("this build has no demo yet".into())
}
