//! What both sides have in common: command line, JSON output, and what is sent.

use std::time::{Duration, Instant};

use clap::Parser;
use serde_json::json;
use steelmill_meter as meter;

/// The server's answer to each request.
pub(crate) const ANSWER: &str = "an answer of some length, as a small service gives it";

#[derive(Parser)]
pub(crate) struct Options {
    /// Requests, one after the other on one connection
    #[arg(long, default_value_t = 10_000)]
    pub(crate) n: u64,
    /// The least one-way latency between the machines, in milliseconds
    #[arg(long, default_value_t = 1)]
    least: u64,
    /// The greatest
    #[arg(long, default_value_t = 1)]
    greatest: u64,
    /// Counts allocations
    #[arg(long)]
    allocs: bool,
    /// What `cargo bench` adds for every bench
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    pub(crate) fn latency(&self) -> [Duration; 2] {
        [self.least, self.greatest].map(Duration::from_millis)
    }
}

/// Parses the command line, makes the requests and prints the JSON line.
pub(crate) fn main(run: impl FnOnce(&Options)) {
    let options = Options::parse();
    meter::count_allocations(options.allocs);
    #[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
    let begin = Instant::now();
    run(&options);
    #[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
    let wall = begin.elapsed().as_secs_f64();
    meter::count_allocations(false);
    let (cpu, memory) = meter::usage();
    let (allocations, bytes) = meter::allocations();
    let mut line = json!({
        "ops": options.n,
        "wall_seconds": wall,
        "cpu_seconds": cpu,
        "ops_per_wall_second": options.n as f64 / wall,
        "peak_rss_kb": memory,
    });
    if options.allocs {
        line["allocs_per_op"] = (allocations as f64 / options.n as f64).into();
        line["alloc_bytes_per_op"] = (bytes as f64 / options.n as f64).into();
    }
    println!("{line}");
}
