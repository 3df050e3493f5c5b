//! What is logged, and how: to stderr, ids and never content.

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

use super::Failure;

#[derive(Debug, Args)]
pub(super) struct LogArgs {
    /// What to log, such as `debug`.
    ///
    /// Or per part: `info,mimi_gateway::outbox=debug`. Default: the environment's RUST_LOG, or else `info` for the
    /// gateway itself and `warn` for other commands.
    #[arg(long, global = true, value_name = "FILTER")]
    log: Option<String>,
    /// One JSON object per line instead of text.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text, hide_default_value = true)]
    log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

impl LogArgs {
    pub fn start(&self, gateway: bool) -> Result<(), Failure> {
        let wanted = self.log.clone().or_else(|| std::env::var("RUST_LOG").ok().filter(|filter| !filter.is_empty()));
        let wanted = wanted.unwrap_or_else(|| if gateway { "info" } else { "warn" }.into());
        let filter = EnvFilter::try_new(&wanted)
            .map_err(|e| Failure::Usage(format!("{wanted:?} is not a log filter: {e} (try --log info)")))?;
        let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
        match self.log_format {
            LogFormat::Text => log.init(),
            LogFormat::Json => log.json().init(),
        }
        Ok(())
    }
}
