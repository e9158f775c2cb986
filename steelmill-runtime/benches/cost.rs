//! What the runtime world costs over writing the same by hand; `cargo xtask bench` runs both sides in turn.
//!
//! - `call`: a daemon's method, through a `DaemonRef` field and through a `&T` field;
//! - `lookup`: a daemon of a running factory, looked up, against a field that holds it;
//! - `coverage`: a method with coverage points (`assert_always!` and its kin), and the same without;
//! - `echo`: 64 bytes to a server and back, on real loopback sockets, the server written on a world's network and on
//!   tokio's own types. The client is the same for both.

use std::hint::black_box;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use steelmill_core::{
    Daemon, DaemonRef, Factory, Network, Result, RunningFactory, TcpListener, assert_always,
    assert_always_at_most, assert_reachable, assert_sometimes, assert_unreachable, buggify,
};
use steelmill_meter as meter;
use steelmill_runtime::RuntimeWorld;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[derive(Parser)]
struct Options {
    #[arg(long)]
    workload: Workload,
    #[arg(long)]
    side: Side,
    /// Calls, lookups or round trips
    #[arg(long, default_value_t = 10_000)]
    n: u64,
    /// Counts allocations
    #[arg(long)]
    allocs: bool,
    /// What `cargo bench` adds for every bench
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Workload {
    Call,
    Lookup,
    Coverage,
    Echo,
}

#[derive(Clone, Copy, ValueEnum)]
enum Side {
    Plain,
    Steelmill,
}

fn main() -> Result {
    let options = Options::parse();
    // One thread: which of several wakes first is luck, and counts with it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let took = runtime.block_on(run(&options))?;
    meter::count_allocations(false);
    let (allocations, _) = meter::allocations();
    let (cpu, _) = meter::usage();
    let n = options.n;
    println!(
        "{{\"ops\":{n},\"wall_seconds\":{},\"cpu_seconds\":{cpu},\"allocs_per_op\":{}}}",
        took.as_secs_f64(),
        allocations as f64 / n as f64
    );
    Ok(())
}

async fn run(options: &Options) -> Result<Duration> {
    let mut factory = Factory::root("bench", RuntimeWorld);
    let tally = factory.get::<Tally>()?;
    let network = factory.get::<steelmill_runtime::Network>()?;
    let factory = factory.start().await?;
    meter::count_allocations(options.allocs);
    let n = options.n;
    let begin = Instant::now();
    match (options.workload, options.side) {
        (Workload::Call, Side::Plain) => calls_plain(&Plain { tally: &tally }, n),
        (Workload::Call, Side::Steelmill) => calls(&Held { tally }, n),
        (Workload::Lookup, Side::Plain) => calls_plain(&Plain { tally: &tally }, n),
        (Workload::Lookup, Side::Steelmill) => lookups(&factory, n)?,
        (Workload::Coverage, Side::Plain) => calls_plain(&Plain { tally: &tally }, n),
        (Workload::Coverage, Side::Steelmill) => calls_with_coverage(&Plain { tally: &tally }, n),
        (Workload::Echo, Side::Plain) => {
            let listener = tokio::net::TcpListener::bind(ANYWHERE).await?;
            let address = listener.local_addr()?;
            tokio::spawn(serve_plain(listener));
            round_trips(address, n).await?;
        }
        (Workload::Echo, Side::Steelmill) => {
            let listener = network.bind(ANYWHERE).await?;
            let address = TcpListener::local_addr(&listener)?;
            tokio::spawn(serve::<steelmill_runtime::Network>(listener));
            round_trips(address, n).await?;
        }
    }
    Ok(begin.elapsed())
}

/// A daemon with something to call.
struct Tally {
    count: AtomicU64,
}

impl Daemon for Tally {
    fn build(_: &mut Factory) -> Result<Self> {
        Ok(Self { count: AtomicU64::new(3) })
    }
}

impl Tally {
    fn count(&self) -> u64 {
        self.count.load(Relaxed)
    }

    /// The same, with claims whose conditions would be dear.
    #[inline]
    fn count_with_coverage(&self) -> u64 {
        let count = self.count.load(Relaxed);
        assert_always!(
            self.digits().len() < 20,
            "a count has fewer than twenty digits, not {}",
            self.digits()
        );
        assert_always_at_most!(self.digits().len(), 19, "a count has at most nineteen digits");
        assert_sometimes!(self.digits() == "7", "a count is seven");
        assert_reachable!("a count is asked for");
        if count == u64::MAX {
            assert_unreachable!("there is no more to count");
        }
        if buggify!() {
            return self.digits().len() as u64;
        }
        count
    }

    #[inline(never)]
    fn digits(&self) -> String {
        self.count.load(Relaxed).to_string()
    }
}

/// Somebody who depends on it, as a daemon does.
struct Held {
    tally: DaemonRef<Tally>,
}

/// Somebody who was just given it.
struct Plain<'a> {
    tally: &'a Tally,
}

#[inline(never)]
fn calls(held: &Held, n: u64) {
    for _ in 0..n {
        black_box(black_box(held).tally.count());
    }
}

#[inline(never)]
fn calls_plain(plain: &Plain, n: u64) {
    for _ in 0..n {
        black_box(black_box(plain).tally.count());
    }
}

#[inline(never)]
fn calls_with_coverage(plain: &Plain, n: u64) {
    for _ in 0..n {
        black_box(black_box(plain).tally.count_with_coverage());
    }
}

#[inline(never)]
fn lookups(factory: &RunningFactory, n: u64) -> Result {
    for _ in 0..n {
        black_box(black_box(factory).get::<Tally>()?.count());
    }
    Ok(())
}

const ANYWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

async fn serve<N: Network>(listener: N::TcpListener) -> io::Result<()> {
    let (mut stream, _) = listener.accept().await?;
    steelmill_core::TcpStream::set_nodelay(&stream, true)?;
    let mut buffer = [0; 64];
    loop {
        stream.read_exact(&mut buffer).await?;
        stream.write_all(&buffer).await?;
    }
}

async fn serve_plain(listener: tokio::net::TcpListener) -> io::Result<()> {
    let (mut stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    let mut buffer = [0; 64];
    loop {
        stream.read_exact(&mut buffer).await?;
        stream.write_all(&buffer).await?;
    }
}

async fn round_trips(server: SocketAddr, n: u64) -> io::Result<()> {
    let mut stream = tokio::net::TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    let mut buffer = [0; 64];
    for _ in 0..n {
        stream.write_all(&buffer).await?;
        stream.read_exact(&mut buffer).await?;
    }
    Ok(())
}
