//! Ten thousand machines, each a factory with a daemon that sends heartbeats to a collector: the cost per machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use steelmill_core::{Daemon, DaemonRef, Factory, Result, Scope, SetOnce};
use steelmill_sim::{Clock, Entropy, Machine, Network, Outcome, Seed, Settings, UdpSocket, simulate};

use crate::memory;

const PORT: u16 = 4000;
const BEAT: Duration = Duration::from_secs(5);
const RUN: Duration = Duration::from_secs(120);

/// Sends a heartbeat with its number every five seconds.
struct Heart {
    network: DaemonRef<Network>,
    clock: DaemonRef<Clock>,
    entropy: DaemonRef<Entropy>,
    socket: SetOnce<UdpSocket>,
}

impl Daemon for Heart {
    fn build(factory: &mut Factory) -> Result<Self> {
        let (network, clock) = (factory.get()?, factory.get()?);
        Ok(Self { network, clock, entropy: factory.get()?, socket: SetOnce::new() })
    }

    async fn prepare(&self, _: &Scope) -> Result {
        self.socket.set(self.network.bind_udp("0.0.0.0:0").await?)
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        use rand::RngExt as _;
        let socket = self.socket.get()?;
        let mut pause = BEAT.mul_f64(self.entropy.rng().random()); // machines are not in step
        while scope.until_stopping(self.clock.sleep(pause)).await.is_some() {
            socket.send_to(b"alive", ("collector", PORT)).await?;
            pause = BEAT;
        }
        Ok(())
    }
}

struct Collector {
    network: DaemonRef<Network>,
    heard: Arc<Heard>,
}

#[derive(Default)]
struct Heard(AtomicU64);

impl Daemon for Collector {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Self { network: factory.get()?, heard: factory.value()? })
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        let socket = self.network.bind_udp(("0.0.0.0", PORT)).await?;
        let mut buffer = [0; 16];
        while let Some(received) = scope.until_stopping(socket.recv_from(&mut buffer)).await {
            received?;
            self.heard.0.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

struct Taken {
    outcome: Outcome,
    /// The peak, in bytes.
    memory: i64,
    allocations: u64,
}

fn run(machines: u64) -> Taken {
    let before = memory::allocations();
    let (outcome, memory) = memory::most(|| {
        simulate(Settings::new(Seed(1)), &|sim| async move {
            sim.root(|factory| factory.provide_value(Heard::default())).await?;
            let collector = sim.machine("collector", |factory| factory.with::<Collector>()).start().await?;
            let mut all: Vec<Machine> = Vec::new();
            for number in 0..machines {
                let machine = sim.machine(&format!("machine-{number}"), |factory| factory.with::<Heart>());
                all.push(machine.start().await?);
            }
            sim.clock().sleep(RUN).await;
            let heard = collector.get::<Collector>()?.heard.0.load(Ordering::Relaxed);
            let beats = machines * RUN.as_secs() / BEAT.as_secs();
            assert!(heard + machines >= beats && heard <= beats, "{heard} of {beats} heartbeats arrived");
            for machine in all {
                machine.stop().await?;
            }
            Ok(())
        })
    });
    assert!(outcome.passed(), "{:?}", outcome.failure);
    Taken { outcome, memory, allocations: memory::allocations() - before }
}

#[test]
fn ten_thousand_idle_machines_take_under_a_gibibyte_and_twice_as_many_take_twice_as_much() {
    const MANY: u64 = 10_000;
    let (half, whole) = (run(MANY / 2), run(MANY));
    assert!(whole.memory < 1 << 30, "{} bytes", whole.memory);
    // The current memory per machine, with some margin.
    let each = whole.memory / MANY as i64;
    assert!(each < 12 << 10, "{each} bytes a machine");
    for (what, half, whole) in [
        ("bytes", half.memory as u64, whole.memory as u64),
        ("allocations", half.allocations, whole.allocations),
        ("polls", half.outcome.polls, whole.outcome.polls),
        ("events", half.outcome.events, whole.outcome.events),
    ] {
        let ratio = whole as f64 / half as f64;
        assert!((1.9..2.1).contains(&ratio), "{half} {what} became {whole}");
    }
}
