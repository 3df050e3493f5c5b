//! The command line: what an admin types.
//!
//! Four kinds of command. Some need only the configuration file (`check`, `doctor`, `registration`), some
//! talk to the running gateway over its admin socket (`room`, `consent`, `outbox`, `breaker`, `abuse`, `status`), `run` and `demo` are
//! gateways themselves, and some need nothing (`config`, `ca`, `inspect`). Each says what went wrong on stderr, in words, with the next step.
//!
//! Exit codes: 0 done; 1 it failed; 2 the command line or the configuration is wrong, and would be again.

mod abuse;
mod authority;
mod breaker;
mod db;
mod doctor;
mod example;
mod inspect;
mod log;
mod operate;
mod outbox;
mod registration;
mod table;
mod trace;

use std::{fmt::Display, io, path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};

use crate::{
    admin::{Client, OperatorError},
    config::{self, Config, Problems},
};

/// Bridges the messengers an organisation already runs to everybody else, over MIMI.
///
/// To see it work, without any configuration:
///   mimi-gateway demo
///
/// To set it up:
///   mimi-gateway config example minimal > gateway.toml
///   mimi-gateway check --config gateway.toml
///   mimi-gateway doctor --config gateway.toml
///   mimi-gateway run --config gateway.toml
#[derive(Debug, Parser)]
#[command(version, verbatim_doc_comment, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    log: log::LogArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway until SIGTERM or SIGINT (a second one doesn't wait for anything).
    Run(ConfigArgs),
    /// Say everything that is wrong with a configuration file and the files it names. Touches no network.
    Check(ConfigArgs),
    /// Try the configuration out: sign in to each network, look at the certificate. Says what to do next.
    Doctor(ConfigArgs),
    /// Two gateways, Alice and Bob, in this terminal: what one types arrives at the other.
    ///
    /// Reads lines such as `alice: hello` from stdin; piped input works too, and the exit code says
    /// whether everything arrived.
    Demo(crate::demo::DemoOptions),
    /// Print an example to start from, or what the adapters can.
    #[command(subcommand)]
    Config(example::ConfigCommand),
    /// The MIMI rooms of the running gateway, and the conversations they are linked with.
    #[command(after_long_help = operate::ROOM_EXAMPLES)]
    Room(operate::RoomArgs),
    /// Who may reach our users.
    #[command(after_long_help = operate::CONSENT_EXAMPLES)]
    Consent(operate::ConsentArgs),
    /// What waits for delivery, what could not be delivered, and what to do about that.
    #[command(after_long_help = outbox::EXAMPLES)]
    Outbox(outbox::OutboxArgs),
    /// Where a message has been: accepted, taken by whom, delivered, waiting or dead, since when and why.
    #[command(after_long_help = trace::EXAMPLES)]
    Trace(trace::TraceArgs),
    /// What would have taken too much from too many at once, and waits for your word.
    #[command(after_long_help = breaker::EXAMPLES)]
    Breaker(breaker::BreakerArgs),
    /// What is reported about people in rooms of ours, and reporting somebody elsewhere.
    #[command(after_long_help = abuse::EXAMPLES)]
    Abuse(abuse::AbuseArgs),
    /// How the running gateway is.
    Status(Connection),
    /// The database, while no gateway runs on it: bring it up to date, or move to another.
    #[command(subcommand)]
    Db(db::DbCommand),
    /// Print what a messenger's server has to be told about the gateway.
    #[command(subcommand)]
    Registration(registration::RegistrationCommand),
    /// Octets of MIMI as JSON, with the names of the drafts, and JSON as octets. Says where octets are malformed.
    ///
    /// For whoever compares what two providers send, or tries our codecs. Needs no configuration.
    #[command(after_long_help = inspect::EXAMPLES)]
    Inspect(inspect::InspectArgs),
    /// Certificates for trying things out, from an authority that nobody else believes.
    #[command(subcommand)]
    Ca(authority::CaCommand),
}

#[derive(Debug, Args)]
struct ConfigArgs {
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
}

const DEFAULT_CONFIG: &str = "/etc/mimi-gateway/gateway.toml";

/// How to find the running gateway.
#[derive(Debug, Args)]
struct Connection {
    /// The configuration file of the running gateway, which says where its admin socket is.
    #[arg(long, global = true, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
    /// The admin socket itself.
    #[arg(long, global = true, value_name = "PATH", conflicts_with = "config")]
    socket: Option<PathBuf>,
    /// Answer in JSON, for scripts.
    #[arg(long, global = true)]
    json: bool,
}

impl Connection {
    fn open(&self) -> Result<Client, Failure> {
        let socket = match &self.socket {
            Some(socket) => socket.clone(),
            None => Config::parse(&self.config)?.admin.socket,
        };
        Ok(Client::new(&socket)?)
    }
}

/// Why a command didn't do what it was asked for: a sentence for stderr, and whether trying again helps.
#[derive(Debug)]
enum Failure {
    Usage(String),
    Failed(String),
}

impl Failure {
    fn failed(why: impl Display) -> Self {
        Self::Failed(why.to_string())
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self::Usage(problems.to_string())
    }
}

impl From<OperatorError> for Failure {
    fn from(error: OperatorError) -> Self {
        Self::failed(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::failed(error)
    }
}

/// Does what was asked for.
pub async fn run(cli: Cli) -> ExitCode {
    let gateway = matches!(cli.command, Command::Run(_));
    let done = match cli.log.start(gateway) {
        Ok(()) => dispatch(cli.command).await,
        Err(failure) => Err(failure),
    };
    let (why, code) = match done {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Failed(why)) => (why, 1),
        Err(Failure::Usage(why)) => (why, 2),
    };
    eprintln!("{why}");
    ExitCode::from(code)
}

async fn dispatch(command: Command) -> Result<(), Failure> {
    // Not locked: the demo and the log write too.
    let mut out = io::stdout();
    match command {
        Command::Run(ConfigArgs { config }) => {
            let (config, adapters) = config::load(&config)?;
            crate::gateway::run(config, adapters).await.map_err(Failure::failed)
        }
        Command::Check(ConfigArgs { config }) => {
            config::load(&config)?;
            println!("{} is all right.", config.display());
            Ok(())
        }
        Command::Doctor(ConfigArgs { config }) => doctor::run(&config, &mut out).await,
        Command::Demo(options) => crate::demo::run(options).await.map_err(Failure::failed),
        Command::Config(command) => example::print(&command, &mut out),
        Command::Room(args) => operate::room(args, &mut out).await,
        Command::Consent(args) => operate::consent(args, &mut out).await,
        Command::Outbox(args) => outbox::outbox(args, &mut out).await,
        Command::Trace(args) => trace::trace(args, &mut out).await,
        Command::Breaker(args) => breaker::breaker(args, &mut out).await,
        Command::Abuse(args) => abuse::abuse(args, &mut out).await,
        Command::Status(connection) => operate::status(&connection, &mut out).await,
        Command::Db(command) => db::run(command, &mut out).await,
        Command::Registration(command) => registration::print(&command, &mut out),
        Command::Inspect(args) => inspect::run(args, &mut out),
        Command::Ca(command) => authority::run(&command, &mut out),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_makes_no_sense_is_a_usage_error() {
        for typed in [
            "room list --socket a --config b",
            "room invite clubhouse mimi://b.example/u/bob",
            "room show mimi://a.example/u/alice",
            "room find b.example",
            "room find bob@b.example --nick bob",
            "ca issue --out lab",
            "outbox retry",
            "outbox retry 12 --all",
            "outbox retry 12 --room mimi://a.example/r/tea",
            "outbox redirect 12",
            "breaker allow",
            "abuse report mimi://a.example/r/tea",
            "abuse show",
            "inspect",
            "inspect --kind tea",
            "inspect --list --kind notify",
            "inspect --kind mimi-content --room mimi://a.example/u/alice",
            "rum",
        ] {
            let error = Cli::try_parse_from(std::iter::once("mimi-gateway").chain(typed.split(' '))).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{typed}");
        }
    }
}
