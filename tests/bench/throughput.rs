//! How fast a conversation between two gateways is: loopback → a.example → MIMI → b.example → loopback.
//!
//!     cargo bench --bench throughput [-- --seconds N --rooms N --rate N --crowd N --idle-rooms N --smoke]
//!
//! Both gateways are `mimi-gateway run` as an admin runs it: processes of their own, mutual TLS, SQLite that
//! syncs before it says yes. The people are this process, on the two loopback sockets. a.example is the hub
//! of every room, so what its people say goes out in batches, while what b.example's people say takes a
//! request and an answer each: both directions are measured. What MLS alone would allow is measured in the
//! same run.
//!
//! A figure that was bought with a message is worth nothing: what is lost, doubled, out of order or refused
//! is counted throughout, and the exit code is 1 unless there is none of it.

mod gateways;
mod idle;
mod load;
mod raw;
mod report;

use std::{ops::Range, process::ExitCode, time::Duration};

use clap::Parser;

use crate::{
    gateways::Gateways,
    load::{Conversation, Pace, Way},
    report::Figure,
};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How often everything is measured.
const RUNS: usize = 5;

/// Long enough for what does nothing but compute.
const RAW: Duration = Duration::from_secs(1);

/// Messages under way in each room during a flood.
const WINDOW: usize = 64;

#[derive(Parser)]
struct Options {
    /// How long people talk in each run.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// In how many rooms they talk at once.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    rooms: u16,
    /// Messages per second, over all rooms, for the latency at ease. Can be given several times.
    #[arg(long, default_values_t = [200, 500], value_parser = clap::value_parser!(u32).range(1..))]
    rate: Vec<u32>,
    /// How many people of a.example are in the room whose cost is compared with that of a room of two.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u16).range(2..))]
    crowd: u16,
    /// How many linked rooms a gateway has in which nothing happens.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u16).range(1..))]
    idle_rooms: u16,
    /// One short run of each, to see that all of it still works.
    #[arg(long)]
    smoke: bool,
    /// Cargo says this to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut options = Options::parse();
    if options.smoke {
        options =
            Options { seconds: 1, rooms: options.rooms.min(4), rate: vec![100], crowd: 20, idle_rooms: 50, ..options };
    }
    match measure(&options).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}

/// Answers whether every message arrived once and in order.
async fn measure(options: &Options) -> Result<bool, BoxError> {
    let runs = if options.smoke { 1 } else { RUNS };
    let span = Duration::from_secs(options.seconds);
    let rooms = usize::from(options.rooms);
    // One more, for the crowd.
    let gateways = Gateways::start(rooms + 1).await?;
    report::print_conditions(gateways.directory(), runs)?;

    let raw = (0..runs).map(|_| raw::messages_per_second(RAW)).collect::<Result<Vec<_>, _>>()?;
    let raw = Figure::of(raw);
    println!("raw openmls, one member encrypts and another decrypts\n    {raw:.0} messages/s\n");

    let mut talk = Conversation::begin(&gateways, rooms + 1).await?;
    for way in Way::BOTH {
        // The first messages pay for connections and caches.
        talk.carry(way, 0..rooms, Duration::from_secs(1), Pace::Flood).await?;
        let mut possible = 0.0;
        for rooms in if rooms == 1 { vec![1] } else { vec![1, rooms] } {
            let carried = repeat(&mut talk, runs, way, 0..rooms, span, Pace::Flood).await?;
            possible = report::print(&format!("flood, {way}, {rooms} room(s)"), &carried, Some(&raw));
        }
        for &rate in &options.rate {
            if f64::from(rate) > possible {
                println!("{rate} messages/s, {way}: more than the flood carried\n");
                continue;
            }
            let carried = repeat(&mut talk, runs, way, 0..rooms, span, Pace::Even(rate)).await?;
            report::print(&format!("{rate} messages/s, {way}, {rooms} room(s)"), &carried, None);
        }
    }
    let crowd = usize::from(options.crowd);
    talk.crowd(rooms, crowd - 1).await?;
    for way in Way::BOTH {
        talk.carry(way, rooms..rooms + 1, Duration::from_secs(1), Pace::Flood).await?;
        let (mut two, mut many) = (Vec::new(), Vec::new());
        // By turns, so that whatever else the machine does happens to both.
        for _ in 0..runs {
            two.push(talk.carry(way, 0..1, span, Pace::Flood).await?);
            many.push(talk.carry(way, rooms..rooms + 1, span, Pace::Flood).await?);
        }
        report::print_crowd(way, crowd, &two, &many);
    }
    talk.wait_for_echoes().await?;
    report::print_memory(&gateways)?;
    let complete = report::print_verdict(&talk.verdict());
    drop(talk);
    drop(gateways);
    idle::measure(usize::from(options.idle_rooms), runs).await?;
    Ok(complete)
}

async fn repeat(
    talk: &mut Conversation<'_>,
    runs: usize,
    way: Way,
    rooms: Range<usize>,
    span: Duration,
    pace: Pace,
) -> Result<Vec<load::Carried>, BoxError> {
    let mut carried = Vec::with_capacity(runs);
    for _ in 0..runs {
        carried.push(talk.carry(way, rooms.clone(), span, pace).await?);
    }
    Ok(carried)
}
