//! Shared by every simulator in the comparison: command line, JSON output, and the parts of the workloads.
//!
//! | | workload | one operation |
//! |---|---|---|
//! | w1 | one client, one server, 64 B each way, 1 ms one way | a round trip |
//! | w2 | C clients, each a connection of its own to one server | a round trip |
//! | w3 | H nodes, each sends the next a 64 B datagram every second | a datagram |
//! | w4 | one connection, 64 KiB writes | a MiB received |
//! | w5 | tasks that sleep 1 to 100 ms repeatedly | a sleep |
//! | w6 | tasks that yield repeatedly | a yield |
//! | w7 | three nodes, each pair one connection and one round trip, torn down; seed after seed | a seed |
//! | w8 | H machines, each a factory that starts, sends a collector a 64 B datagram every 5 s, and stops | a machine |
//! | p1, p5 | as w1 and w5, by programs on tokio as they are | as there |
//! | turns | two threads of a program that yield to each other | a yield |
//! | starts | a program that makes a runtime of tokio and ends | a program |
//! | writes | a program that writes 4 KiB at a place of a file of 4 MiB, and syncs | a write |
//! | files | a program that makes files of 100 B, a thousand in a directory | a file |
//!
//! The options and the fields of the JSON line are stable, so that other simulators can be compared. (w8 is only for
//! ours, as others have no factories.)

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use clap::Parser;
use serde::Serialize;
use serde_json::{Value, json};

use steelmill_meter as meter;

/// The size of a message, in bytes.
pub(crate) const MESSAGE: usize = 64;
/// The size of a w4 write, in bytes.
pub(crate) const CHUNK: usize = 64 * 1024;
/// The size of a write to a file, in bytes.
pub(crate) const BLOCK: usize = 4096;
/// How many blocks a file has.
pub(crate) const BLOCKS: u64 = 1024;
/// The heartbeat interval of a w8 machine.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(5);
/// The one-way latency between nodes.
pub(crate) const LATENCY: Duration = Duration::from_millis(1);

/// Writes blocks of a file one after the other, and syncs after each.
pub(crate) fn write_blocks(file: &std::fs::File, n: u64) -> std::io::Result<()> {
    use std::os::unix::fs::FileExt as _;
    file.set_len(BLOCKS * BLOCK as u64)?;
    let mut block = [7; BLOCK];
    for number in 0..n {
        block[..8].copy_from_slice(&number.to_ne_bytes());
        file.write_all_at(&block, number % BLOCKS * BLOCK as u64)?;
        file.sync_data()?;
    }
    Ok(())
}

/// Makes small files, a thousand in a directory.
pub(crate) fn make_files(root: &std::path::Path, n: u64) -> std::io::Result<()> {
    for number in 0..n {
        let directory = root.join((number / 1000).to_string());
        if number % 1000 == 0 {
            std::fs::create_dir_all(&directory)?;
        }
        std::fs::write(directory.join(number.to_string()), [7; 100])?;
    }
    Ok(())
}

/// One workload and its size.
#[derive(Parser, Debug)]
pub(crate) struct Options {
    /// w1 to w8, p1, p5, turns, starts, writes, files, redb
    #[arg(long)]
    pub(crate) workload: String,
    /// Round trips: in all (w1, else 100000), of each client (w2, else 100)
    #[arg(long)]
    n: Option<u64>,
    #[arg(long, default_value_t = 10)]
    pub(crate) clients: u64,
    #[arg(long, default_value_t = 3)]
    pub(crate) hosts: u64,
    /// Simulated seconds (w3, w8)
    #[arg(long, default_value_t = 3600)]
    pub(crate) seconds: u64,
    /// MiB to send (w4)
    #[arg(long, default_value_t = 256)]
    pub(crate) mb: u64,
    /// Tasks: w5, else 10000; w6, else 1000
    #[arg(long)]
    tasks: Option<u64>,
    /// Sleeps or yields of each task: w5, else 100; w6, else 1000
    #[arg(long)]
    reps: Option<u64>,
    /// Seeds to run (w7)
    #[arg(long, default_value_t = 2000)]
    pub(crate) seeds: u64,
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Adds a hash over the order, virtual time and number of everything received
    #[arg(long)]
    trace: bool,
    /// Counts allocations
    #[arg(long)]
    allocs: bool,
    /// What `cargo bench` adds for every bench
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    pub(crate) fn n(&self) -> u64 {
        self.n.unwrap_or(if self.workload == "w2" { 100 } else { 100_000 })
    }

    pub(crate) fn tasks(&self) -> u64 {
        self.tasks.unwrap_or(if matches!(&*self.workload, "w5" | "p5") { 10_000 } else { 1000 })
    }

    pub(crate) fn reps(&self) -> u64 {
        self.reps.unwrap_or(if matches!(&*self.workload, "w5" | "p5") { 100 } else { 1000 })
    }

    fn params(&self) -> Value {
        let mut params = match self.workload.as_str() {
            "w1" | "p1" | "turns" | "starts" | "writes" | "files" | "redb" => json!({ "n": self.n() }),
            "w2" => json!({ "clients": self.clients, "n": self.n() }),
            "w3" | "w8" => json!({ "hosts": self.hosts, "seconds": self.seconds }),
            "w4" => json!({ "mb": self.mb }),
            "w5" | "w6" | "p5" => json!({ "tasks": self.tasks(), "reps": self.reps() }),
            _ => json!({ "seeds": self.seeds }),
        };
        params["seed"] = self.seed.into();
        params
    }
}

pub(crate) struct Done {
    pub(crate) ops: u64,
    pub(crate) simulated: Duration,
    /// Handled events or polls, if counted.
    pub(crate) steps: Option<u64>,
}

#[derive(Serialize)]
struct Line {
    peer: &'static str,
    version: &'static str,
    workload: String,
    params: Value,
    ops: u64,
    simulated_seconds: f64,
    wall_seconds: f64,
    cpu_seconds: f64,
    ops_per_wall_second: f64,
    sim_seconds_per_wall_second: f64,
    peak_rss_kb: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    steps: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allocs_per_op: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alloc_bytes_per_op: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<String>,
}

/// Parses the command line, runs the workload and prints the JSON line. The time includes building the simulation.
pub(crate) fn main(peer: &'static str, run: impl FnOnce(&Options) -> Option<Done>) {
    let options = Options::parse();
    TRACING.store(options.trace, Relaxed);
    meter::count_allocations(options.allocs);
    let (cpu_before, _) = meter::usage();
    #[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
    let begin = Instant::now();
    let done = run(&options);
    #[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
    let wall = begin.elapsed().as_secs_f64();
    meter::count_allocations(false);
    let (cpu_after, memory) = meter::usage();
    let (workload, params) = (options.workload.clone(), options.params());
    let Some(done) = done else {
        let why = format!("{peer} has no workload {workload}");
        println!("{}", json!({ "peer": peer, "workload": workload, "params": params, "skipped": why }));
        return;
    };
    let (allocations, bytes) = meter::allocations();
    let simulated = done.simulated.as_secs_f64();
    let per_op = |count: u64| options.allocs.then_some(count as f64 / done.ops as f64);
    let line = Line {
        peer,
        version: env!("CARGO_PKG_VERSION"),
        workload,
        params,
        ops: done.ops,
        simulated_seconds: simulated,
        wall_seconds: wall,
        cpu_seconds: cpu_after - cpu_before,
        ops_per_wall_second: done.ops as f64 / wall,
        sim_seconds_per_wall_second: simulated / wall,
        peak_rss_kb: memory,
        steps: done.steps,
        allocs_per_op: per_op(allocations),
        alloc_bytes_per_op: per_op(bytes),
        trace: options.trace.then(|| format!("{:016x}", TRACE.load(Relaxed))),
    };
    println!("{}", serde_json::to_string(&line).expect("numbers and text are JSON"));
}

static TRACING: AtomicBool = AtomicBool::new(false);
static TRACE: AtomicU64 = AtomicU64::new(0);

/// Hashes one reception into the trace: receiver, virtual time and number. Without `--trace`, one relaxed load.
#[inline]
pub(crate) fn trace(node: u64, at: impl FnOnce() -> Duration, number: u64) {
    if TRACING.load(Relaxed) {
        // A run uses one thread at a time, so a load and a store are enough; only the order matters.
        let mut hash = TRACE.load(Relaxed);
        for word in [node, at().as_nanos() as u64, number] {
            hash = mix(hash ^ word);
        }
        TRACE.store(hash, Relaxed);
    }
}

/// A message: its number, then filler.
#[inline]
pub(crate) fn message(number: u64) -> [u8; MESSAGE] {
    let mut message = [0xA5; MESSAGE];
    message[..8].copy_from_slice(&number.to_le_bytes());
    message
}

/// The number of a message.
#[inline]
pub(crate) fn number(message: &[u8; MESSAGE]) -> u64 {
    let (number, _) = message.split_first_chunk().expect("a message is longer than its number");
    u64::from_le_bytes(*number)
}

/// The sleeps of one w5 task: the same for every simulator.
pub(crate) struct Sleeps(u64);

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

impl Sleeps {
    pub(crate) fn new(seed: u64, task: u64) -> Self {
        Self(mix(seed).wrapping_add(task.wrapping_mul(GOLDEN)))
    }

    #[inline]
    pub(crate) fn next(&mut self) -> Duration {
        self.0 = self.0.wrapping_add(GOLDEN);
        Duration::from_millis(1 + mix(self.0) % 100)
    }
}

/// The finalizer of splitmix64.
#[inline]
pub(crate) fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}
