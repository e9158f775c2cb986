//! The workloads on steelmill's sim, with its public interface only.
//!
//! A node is a machine without daemons (except in w8), because the compared simulators have no factories.

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod database;
mod harness;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod programs;

use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use steelmill_core::{Daemon, DaemonRef, Factory, Result, Scope};
use steelmill_sim::{Clock, Machine, Network, Seed, Settings, Sim, Task, TcpListener, TcpStream, simulate};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use harness::{CHUNK, Done, HEARTBEAT, LATENCY, MESSAGE, Options, Sleeps, message, number, trace};

const PORT: u16 = 7000;
const ANYWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

fn main() {
    harness::main("steelmill", |options: &Options| {
        let seed = Seed(options.seed);
        Some(match options.workload.as_str() {
            "w1" => fan(seed, 1, options.n()),
            "w2" => fan(seed, options.clients, options.n()),
            "w3" => beats(seed, options.hosts, options.seconds),
            "w4" => bulk(seed, options.mb),
            "w5" => sleeps(seed, options.tasks(), options.reps()),
            "w6" => yields(seed, options.tasks(), options.reps()),
            "w7" => start_ups(options.seeds),
            "w8" => machines(seed, options.hosts, options.seconds),
            #[cfg(all(target_os = "linux", target_env = "gnu"))]
            "p1" => programs::echo(seed, options.n()),
            #[cfg(all(target_os = "linux", target_env = "gnu"))]
            "p5" => programs::sleeps(seed, options.tasks(), options.reps()),
            #[cfg(all(target_os = "linux", target_env = "gnu"))]
            "turns" => programs::turns(seed, options.n()),
            #[cfg(all(target_os = "linux", target_env = "gnu"))]
            "starts" => programs::starts(seed, options.n()),
            #[cfg(all(target_os = "linux", target_env = "gnu"))]
            "writes" => programs::writes(seed, options.n()),
            #[cfg(all(target_os = "linux", target_env = "gnu"))]
            "files" => programs::files(seed, options.n()),
            #[cfg(all(target_os = "linux", target_env = "gnu"))]
            "redb" => programs::database(seed, options.n()),
            _ => return None,
        })
    });
}

/// One run, with the same latency on every link.
fn run<F>(seed: Seed, ops: u64, scenario: impl Fn(Sim) -> F) -> Done
where
    F: Future<Output = Result> + 'static,
{
    let outcome = simulate(Settings::new(seed), &|sim| {
        sim.set_latency(LATENCY..=LATENCY);
        scenario(sim)
    });
    if let Some(failure) = outcome.failure {
        panic!("seed {seed}: {failure}");
    }
    Done { ops, simulated: outcome.simulated, steps: Some(outcome.polls) }
}

async fn all(tasks: Vec<Task<io::Result<()>>>) -> Result {
    for task in tasks {
        task.await.expect("no task panics or is aborted")?;
    }
    Ok(())
}

/// Answers every connection of a machine until the run ends.
fn serve(sim: Sim, machine: &Machine, listener: TcpListener, node: u64) {
    let host = machine.clone();
    machine.spawn("listener", async move {
        while let Ok((stream, _)) = listener.accept().await {
            host.spawn("connection", echo(sim, stream, node));
        }
    });
}

async fn echo(sim: Sim, mut stream: TcpStream, node: u64) -> io::Result<()> {
    let mut buffer = [0; MESSAGE];
    loop {
        stream.read_exact(&mut buffer).await?;
        trace(node, || sim.elapsed(), number(&buffer));
        stream.write_all(&buffer).await?;
    }
}

async fn round_trips(sim: Sim, client: &Machine, server: &str, node: u64, n: u64) -> io::Result<()> {
    let mut stream = client.network().connect((server, PORT)).await?;
    let mut buffer = [0; MESSAGE];
    for i in 0..n {
        stream.write_all(&message(i)).await?;
        stream.read_exact(&mut buffer).await?;
        trace(node, || sim.elapsed(), number(&buffer));
    }
    Ok(())
}

fn fan(seed: Seed, clients: u64, n: u64) -> Done {
    run(seed, clients * n, |sim| async move {
        let server = sim.client("server");
        serve(sim, &server, server.network().bind((ANYWHERE, PORT)).await?, 0);
        let mut tasks = Vec::new();
        for client in 1..=clients {
            let machine = sim.client(&format!("client-{client}"));
            let host = machine.clone();
            tasks.push(
                machine.spawn("client", async move { round_trips(sim, &host, "server", client, n).await }),
            );
        }
        all(tasks).await
    })
}

fn beats(seed: Seed, hosts: u64, seconds: u64) -> Done {
    run(seed, hosts * seconds, |sim| async move {
        let machines: Vec<Machine> = (0..hosts).map(|host| sim.client(&format!("host-{host}"))).collect();
        let mut tasks = Vec::new();
        for (host, machine) in machines.iter().enumerate() {
            let socket = machine.network().bind_udp((ANYWHERE, PORT)).await?;
            tasks.push(machine.spawn("inbox", async move {
                let mut buffer = [0; MESSAGE];
                for _ in 0..seconds {
                    socket.recv_from(&mut buffer).await?;
                    trace(host as u64, || sim.elapsed(), number(&buffer));
                }
                Ok(())
            }));
        }
        for (host, machine) in machines.iter().enumerate() {
            let socket = machine.network().bind_udp((ANYWHERE, 0)).await?;
            let next = (machines[(host + 1) % machines.len()].address(), PORT);
            let clock = machine.clock();
            tasks.push(machine.spawn("beat", async move {
                for beat in 1..=seconds {
                    clock.sleep(Duration::from_secs(1)).await;
                    socket.send_to(&message(beat), next).await?;
                }
                Ok(())
            }));
        }
        all(tasks).await
    })
}

fn bulk(seed: Seed, mb: u64) -> Done {
    let chunks = mb * 1024 * 1024 / CHUNK as u64;
    run(seed, mb, |sim| async move {
        let (sender, receiver) = (sim.client("sender"), sim.client("receiver"));
        let listener = receiver.network().bind((ANYWHERE, PORT)).await?;
        let reading = receiver.spawn("reader", async move {
            let (mut stream, _) = listener.accept().await?;
            let mut buffer = vec![0; CHUNK];
            for chunk in 0..chunks {
                stream.read_exact(&mut buffer).await?;
                trace(1, || sim.elapsed(), (chunk + 1) * CHUNK as u64);
            }
            Ok(())
        });
        let mut stream = sender.network().connect(("receiver", PORT)).await?;
        let source = vec![0xA5; CHUNK];
        for _ in 0..chunks {
            stream.write_all(&source).await?;
        }
        all(vec![reading]).await
    })
}

fn sleeps(seed: Seed, tasks: u64, reps: u64) -> Done {
    run(seed, tasks * reps, |sim| async move {
        let machine = sim.client("host");
        let mut running = Vec::new();
        for task in 0..tasks {
            let clock = machine.clock();
            running.push(machine.spawn("sleeper", async move {
                let mut sleeps = Sleeps::new(seed.0, task);
                for _ in 0..reps {
                    clock.sleep(sleeps.next()).await;
                    trace(task, || sim.elapsed(), 0);
                }
                Ok(())
            }));
        }
        all(running).await
    })
}

fn yields(seed: Seed, tasks: u64, reps: u64) -> Done {
    run(seed, tasks * reps, |sim| async move {
        let machine = sim.client("host");
        let mut running = Vec::new();
        for task in 0..tasks {
            running.push(machine.spawn("yielder", async move {
                for i in 0..reps {
                    yield_now().await;
                    trace(task, || Duration::ZERO, i);
                }
                Ok(())
            }));
        }
        all(running).await
    })
}

fn yield_now() -> impl Future<Output = ()> {
    let mut yielded = false;
    poll_fn(move |context| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
}

fn start_ups(seeds: u64) -> Done {
    const NAMES: [&str; 3] = ["node-0", "node-1", "node-2"];
    let (mut simulated, mut steps) = (Duration::ZERO, 0);
    for seed in 0..seeds {
        let done = run(Seed(seed), 1, |sim| async move {
            let machines = NAMES.map(|name| sim.client(name));
            for (node, machine) in machines.iter().enumerate() {
                let listener = machine.network().bind((ANYWHERE, PORT)).await?;
                serve(sim, machine, listener, seed * 10 + node as u64);
            }
            let mut tasks = Vec::new();
            for (node, machine) in machines.iter().enumerate() {
                let host = machine.clone();
                tasks.push(machine.spawn("dialer", async move {
                    for peer in &NAMES[node + 1..] {
                        round_trips(sim, &host, peer, seed * 10 + node as u64, 1).await?;
                    }
                    Ok(())
                }));
            }
            all(tasks).await
        });
        simulated += done.simulated;
        steps += done.steps.unwrap_or(0);
    }
    Done { ops: seeds, simulated, steps: Some(steps) }
}

/// Sends periodic heartbeats.
struct Heart {
    network: DaemonRef<Network>,
    clock: DaemonRef<Clock>,
}

impl Daemon for Heart {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Self { network: factory.get()?, clock: factory.get()? })
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        let socket = self.network.bind_udp((ANYWHERE, 0)).await?;
        let mut beat = 0;
        while scope.until_stopping(self.clock.sleep(HEARTBEAT)).await.is_some() {
            beat += 1;
            socket.send_to(&message(beat), ("collector", PORT)).await?;
        }
        Ok(())
    }
}

fn machines(seed: Seed, hosts: u64, seconds: u64) -> Done {
    run(seed, hosts, |sim| async move {
        sim.root(|_| Ok(())).await?;
        let collector = sim.client("collector");
        let socket = collector.network().bind_udp((ANYWHERE, PORT)).await?;
        collector.spawn("inbox", async move {
            let mut buffer = [0; MESSAGE];
            while socket.recv_from(&mut buffer).await.is_ok() {
                trace(0, || sim.elapsed(), number(&buffer));
            }
        });
        let mut machines = Vec::new();
        for host in 0..hosts {
            let machine = sim.machine(&format!("host-{host}"), |factory| factory.with::<Heart>());
            machines.push(machine.start().await?);
            sim.clock().sleep(HEARTBEAT / u32::try_from(hosts)?).await; // they are not in step
        }
        sim.clock().sleep(Duration::from_secs(seconds)).await;
        for machine in machines {
            machine.stop().await?;
        }
        Ok(())
    })
}
