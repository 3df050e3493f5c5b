//! Figures for people: the middle of several runs, and how far apart they were.

use std::{
    fmt, fs,
    io::Write,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use crate::{
    BoxError,
    gateways::Gateways,
    load::{Carried, Verdict, Way},
};

/// The median of several runs.
pub struct Figure {
    pub median: f64,
    lowest: f64,
    highest: f64,
}

impl Figure {
    pub fn of(runs: impl IntoIterator<Item = f64>) -> Self {
        let mut runs: Vec<f64> = runs.into_iter().collect();
        runs.sort_unstable_by(f64::total_cmp);
        let at = |index: usize| runs.get(index).copied().unwrap_or(f64::NAN);
        Self { median: at(runs.len() / 2), lowest: at(0), highest: at(runs.len().saturating_sub(1)) }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(1);
        write!(f, "{:.digits$}", self.median)?;
        if self.lowest < self.highest {
            write!(f, " ({:.digits$}–{:.digits$})", self.lowest, self.highest)?;
        }
        Ok(())
    }
}

/// What the figures depend on.
pub fn print_conditions(directory: &Path, runs: usize) -> Result<(), BoxError> {
    let cores = thread::available_parallelism()?;
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("mimi-gateway: loopback → a.example → MIMI → b.example → loopback");
    println!("Two processes, mutual TLS, SQLite with synchronous=FULL in {}", directory.display());
    println!("(where writing 4 KiB so that it stays takes {:.2} ms).", disk(directory)? * 1000.0);
    println!(
        "{cores} core(s) are shared by both gateways, the load generator and whatever else runs here (load {}).",
        load.split_whitespace().next().unwrap_or("unknown")
    );
    if runs > 1 {
        println!("Each figure is the median of {runs} runs, with the lowest and the highest.");
    }
    println!();
    Ok(())
}

/// Seconds for a write and its sync: what a commit can't be faster than.
fn disk(directory: &Path) -> Result<f64, BoxError> {
    let mut file = fs::File::create(directory.join("disk"))?;
    let mut write = || {
        let begun = Instant::now();
        file.write_all(&[0; 4096])?;
        file.sync_data()?;
        Ok::<_, std::io::Error>(begun.elapsed().as_secs_f64())
    };
    Ok(Figure::of((0..100).map(|_| write()).collect::<Result<Vec<_>, _>>()?).median)
}

/// Answers messages per second.
pub fn print(title: &str, runs: &[Carried], raw: Option<&Figure>) -> f64 {
    let figure = |of: &dyn Fn(&Carried) -> f64| Figure::of(runs.iter().map(of));
    let rate = figure(&|run| run.messages as f64 / run.took.as_secs_f64());
    let late = |share: f64| figure(&|run| percentile(&run.latencies, share).as_secs_f64() * 1000.0);
    let cpu = |who: usize| figure(&|run| run.cpu[who] / run.messages as f64 * 1000.0);
    let of_raw = raw.map(|raw| format!(", {:.1} % of raw openmls", rate.median / raw.median * 100.0));
    println!("{title}");
    println!("    {rate:.0} messages/s{}", of_raw.unwrap_or_default());
    println!("    latency p50 {:.1} ms, p99 {:.1} ms", late(0.5), late(0.99));
    println!(
        "    CPU seconds per 1000 messages: a.example {:.2}, b.example {:.2}, load generator {:.2}\n",
        cpu(0),
        cpu(1),
        cpu(2)
    );
    rate.median
}

/// What a message costs in a room with many of a.example's people, beside what it costs with one.
pub fn print_crowd(way: Way, crowd: usize, two: &[Carried], many: &[Carried]) {
    let cost = |run: &Carried| (run.cpu[0] + run.cpu[1]) / run.messages as f64 * 1000.0;
    let ratio = Figure::of(two.iter().zip(many).map(|(two, many)| cost(many) / cost(two)));
    println!("{way}, a room with {crowd} people of a.example beside a room with one");
    println!("    {ratio:.2} times the CPU of both gateways per message");
    println!(
        "    CPU seconds per 1000 messages: {:.2} and {:.2}\n",
        Figure::of(many.iter().map(cost)),
        Figure::of(two.iter().map(cost))
    );
}

/// The smallest value that this share of all is not above.
fn percentile(ascending: &[Duration], share: f64) -> Duration {
    let rank = (ascending.len() as f64 * share).ceil() as usize;
    ascending.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

pub fn print_memory(gateways: &Gateways) -> Result<(), BoxError> {
    println!("memory (RSS) at the end, and at its highest");
    for gateway in &gateways.both {
        let (now, highest) = gateway.memory()?;
        println!("    {} {now:.1} MiB, {highest:.1} MiB", gateway.domain);
    }
    println!();
    Ok(())
}

/// Answers whether it is as it should be.
pub fn print_verdict(verdict: &Verdict) -> bool {
    let Verdict { said, lost, doubled, disordered, refused } = verdict;
    println!("{said} messages: {lost} lost, {doubled} doubled, {disordered} out of order, {refused} refused");
    lost + doubled + disordered + refused == 0
}
