//! Leak test: thousands of busy machines end in every way, and nothing of them is left.

use std::sync::Arc;
use std::time::Duration;

use steelmill_core::{Daemon, DaemonRef, Factory, Result, Scope};
use steelmill_sim::{Clock, Impairment, Machine, Network, Seed, Settings, Sim, TcpStream, simulate};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::memory;

const SECOND: Duration = Duration::from_secs(1);
const PORT: u16 = 7;

/// Holds every kind of resource: a listener, accepted connections, connections to a peer, to itself and to an unused
/// address, bytes in flight and unread, sockets, sleeps, tasks and a child factory.
struct Busy {
    network: DaemonRef<Network>,
    clock: DaemonRef<Clock>,
}

impl Daemon for Busy {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Self { network: factory.get()?, clock: factory.get()? })
    }

    async fn prepare(&self, _: &Scope) -> Result {
        self.clock.sleep(SECOND / 100).await; // so that a machine can end while it starts
        Ok(())
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        let listener = self.network.bind(("0.0.0.0", PORT)).await?;
        let socket = self.network.bind_udp("0.0.0.0:0").await?;
        socket.send_to(&[1; 100], ("peer", PORT)).await?;
        let child = scope.child("child")?;
        let child = child.start().await?;
        for target in ["peer:7", "localhost:7", "peer:8", "10.9.9.9:7"] {
            let busy = self.clone();
            scope.spawn("talker", async move {
                // May fail: refused, unreachable, cut off, reset or ended with its machine.
                let _ = busy.talk(target).await;
            });
        }
        for seconds in 0..5 {
            let clock = self.clock.share();
            scope.spawn("sleeper", async move { clock.sleep(seconds * SECOND).await });
        }
        while let Some(Ok((stream, _))) = scope.until_stopping(listener.accept()).await {
            scope.spawn("holder", hold(stream));
        }
        child.stop().await;
        Ok(())
    }
}

impl Busy {
    async fn talk(&self, target: &str) -> std::io::Result<()> {
        let mut stream = self.network.connect(target).await?;
        stream.write_all(&[2; 10_000]).await?;
        let mut answer = [0; 5_000]; // the rest stays unread
        stream.read_exact(&mut answer).await?;
        self.clock.sleep(SECOND).await;
        stream.write_all(&[3; 300_000]).await // more than the window
    }
}

/// Echoes a part of what it reads, and never closes first.
async fn hold(mut stream: TcpStream) {
    let mut buffer = [0; 4096];
    while let Ok(1..) = stream.read(&mut buffer).await {
        if stream.write_all(&buffer).await.is_err() {
            break;
        }
    }
}

/// Accepts and answers; sends periodically, to detect dead peers.
fn serve(sim: Sim, peer: &Machine) {
    let host = peer.clone();
    peer.spawn("peer", async move {
        let listener = host.network().bind(("0.0.0.0", PORT)).await?;
        let socket = host.network().bind_udp(("0.0.0.0", PORT)).await?;
        let mut datagram = [0; 10];
        loop {
            let (stream, _) = tokio::select! {
                accepted = listener.accept() => accepted?,
                _ = socket.recv_from(&mut datagram) => continue,
            };
            let (mut reading, mut writing) = stream.into_split();
            host.spawn("answer", async move {
                let mut buffer = [0; 4096];
                while let Ok(1..) = reading.read(&mut buffer).await {}
            });
            host.spawn("word", async move {
                while writing.write_all(&[4; 10_000]).await.is_ok() {
                    sim.clock().sleep(20 * SECOND).await;
                }
            });
        }
        #[expect(unreachable_code, reason = "it says what type the errors have")]
        Ok::<(), std::io::Error>(())
    });
}

const WAYS: u64 = 12;

/// Ends a running machine in one of these ways.
async fn end(sim: Sim, machine: &Machine, peer: &Machine, way: u64) -> Result {
    match way {
        0 => drop(machine.stop().await?),
        1 => machine.exit(),
        2 => machine.power_loss(),
        3 => {
            for _ in 0..3 {
                machine.restart().await?; // a storm
            }
            machine.exit();
        }
        4 => {
            // A power loss during the start.
            let starting = machine.clone();
            let restart = sim.spawn("restart", async move { starting.restart().await });
            sim.clock().sleep(SECOND / 200).await;
            machine.power_loss();
            assert!(restart.await?.is_err(), "it lost its power");
        }
        5 => {
            // An exit during the stop.
            let stopping = machine.clone();
            let stop = sim.spawn("stop", async move { stopping.stop().await.map(drop) });
            sim.clock().sleep(SECOND / 10_000).await;
            machine.exit();
            drop(stop.await?);
        }
        6 => {
            let cut = sim.partition(machine, peer);
            sim.clock().sleep(SECOND).await;
            machine.exit();
            cut.heal();
        }
        7 => {
            machine.set_drift(-300);
            let _cut = sim.partition_one_way(peer, machine);
            sim.clock().sleep(SECOND).await;
            machine.set_drift(300);
            machine.power_loss();
        }
        8 => {
            machine.pause();
            sim.clock().sleep(SECOND).await;
            machine.exit();
        }
        9 => {
            machine.set_slowness(SECOND / 10);
            sim.clock().sleep(SECOND).await;
            machine.power_loss();
            machine.set_slowness(Duration::ZERO);
        }
        10 => {
            let held = sim.hold(machine, peer);
            sim.clock().sleep(SECOND).await;
            machine.power_loss();
            held.release();
        }
        _ => {
            let lossy = Impairment {
                loss_ppm: 300_000,
                duplication_ppm: 300_000,
                reordering_ppm: 300_000,
                ..Impairment::default()
            };
            let _bad = sim.impair(machine, peer, lossy);
            sim.clock().sleep(SECOND).await;
            sim.reset_connections(machine, peer);
            sim.clock().sleep(SECOND).await;
            machine.exit();
        }
    }
    Ok(())
}

/// Starts and ends machines repeatedly; then waits until all connections of the peer have timed out. Returns the
/// maximum numbers of tasks, timers, connections, listeners, UDP sockets and ports of a machine before its end.
async fn lives(sim: Sim, machines: &[Machine], peer: &Machine, rounds: u64) -> Result<[usize; 6]> {
    let mut most = [0; 6];
    for round in 0..rounds {
        for (number, machine) in machines.iter().enumerate() {
            let before = held_by_run(sim);
            machine.clone().start().await?;
            sim.clock().sleep(SECOND / 1000 * sim.draw(2000) as u32).await;
            for (most, (now, before)) in most.iter_mut().zip(held_by_run(sim).into_iter().zip(before)) {
                *most = (*most).max(now.saturating_sub(before));
            }
            end(sim, machine, peer, (round + number as u64) % WAYS).await?;
            assert!(!machine.is_up());
        }
    }
    sim.clock().sleep(3000 * SECOND).await;
    Ok(most)
}

fn held_by_run(sim: Sim) -> [usize; 6] {
    let sizes = sim.sizes();
    let sockets = [sizes.connections, sizes.listeners, sizes.udp_sockets, sizes.ports];
    [sizes.tasks, sizes.timers, sockets[0], sockets[1], sockets[2], sockets[3]]
}

#[test]
fn nothing_is_left_of_machines_that_have_ended_thousands_of_times() {
    let outcome = simulate(Settings::new(Seed(1)), &|sim| async move {
        sim.root(|_| Ok(())).await?;
        let peer = sim.client("peer");
        serve(sim, &peer);
        let machine = |number| sim.machine(&format!("machine-{number}"), |factory| factory.with::<Busy>());
        let machines: Vec<Machine> = (0..5).map(machine).collect();
        sim.clock().sleep(SECOND).await;
        let before = sim.sizes();
        let mut held = Vec::new();
        for lap in 0..4 {
            let most = lives(sim, &machines, &peer, 100).await?;
            assert!(most.iter().all(|most| *most > 0), "a kind of resource was never held: {most:?}");
            assert_eq!(sim.sizes(), before, "after lap {lap}");
            held.push(memory::held());
        }
        // The first laps grow the run's tables to their final size.
        let grown = held[3] - held[2];
        assert!(grown < 2048, "five hundred incarnations left {grown} bytes: {held:?}");
        Ok(())
    });
    assert!(outcome.passed(), "{}", outcome.failure.expect("the run failed"));
}
