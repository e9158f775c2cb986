//! Simulated runs to make pictures of: each tests one feature, and is small unless it tests size.

use std::sync::Arc;
use std::time::Duration;

use steelmill_core::{Daemon, DaemonRef, Factory, Result, Scope, SetOnce};
use steelmill_sim::fault::{Budget, Faults, Plan};
use steelmill_sim::history::{History, Kv, KvOp, KvReply};
use steelmill_sim::{
    Campaign, Clock, FailureRate, Network, Outcome, Picture, Seed, Settings, Sim, TcpListener, simulate,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};

/// A TCP echo server; each connection is a task.
struct Echo {
    network: DaemonRef<Network>,
    listener: SetOnce<TcpListener>,
}

impl Daemon for Echo {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Self { network: factory.get()?, listener: SetOnce::new() })
    }

    async fn prepare(&self, _: &Scope) -> Result {
        self.listener.set(self.network.bind("0.0.0.0:7000").await?)
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        while let Some(accepted) = scope.until_stopping(self.listener.get()?.accept()).await {
            let (mut read, mut write) = accepted?.0.into_split();
            tracing::info!("a connection is accepted");
            scope.spawn("connection", async move { Ok(copy(&mut read, &mut write).await.map(drop)?) });
        }
        Ok(())
    }
}

fn run<F: Future<Output = Result> + 'static>(scenario: impl Fn(Sim) -> F) -> Outcome {
    simulate(Settings { trace: true, ..Settings::new(Seed(1)) }, &scenario)
}

/// The picture of a run.
pub fn picture(outcome: &Outcome) -> Picture {
    Picture::of(outcome).expect("it was traced")
}

/// One of each: daemons, connections, a partition, a power loss, an idle minute, and operations that are not
/// linearizable.
pub fn story() -> Picture {
    let outcome = run(|sim: Sim| async move {
        let server = sim.machine("server", |factory| factory.with::<Echo>()).start().await?;
        let spare = sim.machine("spare", |factory| factory.with::<Echo>()).start().await?;
        let client = sim.client("client-1");
        let clock = sim.clock();
        let history = History::<Kv>::default();
        let ask = |key: &'static str, op: KvOp| history.invoke(sim.elapsed(), "client-1", key, op);

        let mut stream = client.network().connect("server:7000").await?;
        let mut other = client.network().connect("spare:7000").await?;
        let mut answer = [0; 5];
        let write = ask("a", KvOp::Set("1".into()));
        stream.write_all(b"hello").await?;
        stream.read_exact(&mut answer).await?;
        write.returned(sim.elapsed(), KvReply::Ok);
        tracing::info!("the needle in the haystack");

        clock.sleep(Duration::from_secs(60)).await;
        let cut = sim.partition(&server, &client);
        let again = ask("a", KvOp::Set("2".into()));
        stream.write_all(b"again").await?;
        clock.sleep(Duration::from_secs(2)).await;
        cut.heal();
        stream.read_exact(&mut answer).await?;
        again.returned(sim.elapsed(), KvReply::Ok);
        tracing::warn!("that took a while");

        spare.power_loss();
        other.write_all(b"heard").await?;
        clock.sleep(Duration::from_millis(5)).await;
        let stale = ask("a", KvOp::Get);
        stream.write_all(b"stale").await?;
        stream.read_exact(&mut answer).await?;
        stale.returned(sim.elapsed(), KvReply::Value(Some("1".into())));
        Ok(history.check().into_result()?)
    });
    let end = outcome.simulated;
    let prospect = |n: u32| FailureRate {
        until: end * n / 10,
        runs: 10,
        failed: [1, 2, 1, 3, 4, 5, 8, 9, 10, 10, 10][n as usize],
    };
    let failure_rates: Vec<_> = (0..=10).map(prospect).collect();
    picture(&outcome).title("a story").failure_rates(&failure_rates).replay("cargo xtask sim --seed 1")
}

/// A daemon with one child factory after another, each for 100 ms.
struct Holder {
    clock: DaemonRef<Clock>,
}

impl Daemon for Holder {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Self { clock: factory.get()? })
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        for lease in 1.. {
            let Ok(child) = scope.child(&format!("lease-{lease}")) else { break }; // this factory is stopping
            let child = child.start().await?;
            scope.until_stopping(self.clock.sleep(Duration::from_millis(100))).await;
            child.stop().await;
        }
        Ok(())
    }
}

/// A machine with `count` child factories in sequence, and `others` machines with one log line each.
pub fn leases(count: u32, others: u32) -> Picture {
    let outcome = run(move |sim: Sim| async move {
        for other in 0..others {
            sim.client(&format!("other-{other}")).spawn("other", async { tracing::info!("here") }).await?;
        }
        let gateway = sim.machine("gateway", |factory| factory.with::<Holder>()).start().await?;
        sim.clock().sleep(Duration::from_millis(100) * count).await;
        gateway.stop().await?;
        Ok(())
    });
    picture(&outcome)
}

/// Many log lines at the same time, and a failure one second later.
pub fn burst(lines: usize) -> Picture {
    let outcome = run(move |sim: Sim| async move {
        sim.clock().sleep(Duration::from_secs(1)).await;
        for _ in 0..lines {
            tracing::info!("at once");
        }
        sim.clock().sleep(Duration::from_secs(1)).await;
        anyhow::bail!("that was too much")
    });
    picture(&outcome)
}

/// A machine that sends a datagram to itself, and a datagram and a SYN to an address without a host.
pub fn lonely() -> Picture {
    let outcome = run(|sim: Sim| async move {
        let machine = sim.client("hermit");
        let socket = machine.network().bind_udp("0.0.0.0:9").await?;
        socket.send_to(b"a note", "127.0.0.1:9").await?;
        socket.recv(&mut [0; 8]).await?;
        socket.send_to(b"anybody?", "10.9.9.9:9").await?;
        machine.network().connect("10.9.9.9:9").await.expect_err("nobody is there");
        Ok(())
    });
    picture(&outcome)
}

/// At least `events` visible events: pairs of machines that exchange datagrams, with a log line every tenth round.
pub fn chatty(events: usize) -> Picture {
    const PAIRS: usize = 4;
    let rounds = events / PAIRS / 4;
    let outcome = run(move |sim: Sim| async move {
        let mut tasks = Vec::new();
        for pair in 0..PAIRS {
            let (a, b) = (sim.client(&format!("left-{pair}")), sim.client(&format!("right-{pair}")));
            let here = a.network().bind_udp("0.0.0.0:9").await?;
            let there = b.network().bind_udp("0.0.0.0:9").await?;
            b.spawn("pong", async move {
                let mut datagram = [0; 8];
                while let Ok((size, from)) = there.recv_from(&mut datagram).await {
                    let _ = there.send_to(&datagram[..size], from).await;
                }
            });
            tasks.push(a.spawn("ping", async move {
                for round in 0..rounds {
                    here.send_to(b"ping", format!("right-{pair}:9")).await?;
                    here.recv(&mut [0; 8]).await?;
                    if round % 10 == 0 {
                        tracing::info!("round {round} is over");
                    }
                }
                Ok::<_, std::io::Error>(())
            }));
        }
        for task in tasks {
            task.await??;
        }
        Ok(())
    });
    picture(&outcome)
}

/// Every text of the run is HTML with a script, which a picture must escape.
pub fn hostile() -> Picture {
    const EVIL: &str =
        "</script><script>window.evil = 1</script><img src=x onerror=\"window.evil = 1\">&lt;<!-- %DATA%";
    let outcome = run(|sim: Sim| async move {
        let history = History::<Kv>::default();
        let call = history.invoke(sim.elapsed(), EVIL, EVIL, KvOp::Set(EVIL.into()));
        let machine = sim.client(EVIL);
        let socket = machine.network().bind_udp("0.0.0.0:0").await?;
        socket.send_to(EVIL.as_bytes(), (machine.address(), 9)).await?;
        tracing::info!("{EVIL}");
        call.returned(sim.elapsed(), KvReply::Ok);
        machine.spawn(EVIL, async {}).await?;
        anyhow::bail!(EVIL)
    });
    picture(&outcome).title(EVIL).replay(EVIL)
}

/// A ring of machines, each of which sends the next one a datagram, and as many machines without any traffic.
pub fn wide(machines: usize) -> Picture {
    let outcome = run(move |sim: Sim| async move {
        let mut inboxes = Vec::new();
        for number in 0..machines {
            let machine = sim.client(&format!("machine-{number}"));
            sim.client(&format!("silent-{number}"));
            inboxes.push(machine.network().bind_udp("0.0.0.0:9").await?);
        }
        for (number, socket) in inboxes.iter().enumerate() {
            socket.send_to(b"hello", format!("machine-{}:9", (number + 1) % machines)).await?;
            inboxes[(number + 1) % machines].recv(&mut [0; 8]).await?;
        }
        Ok(())
    });
    picture(&outcome)
}

/// A red seed beside the nearest run that passes: in one of them the datagram from the right is first.
pub fn beside() -> Picture {
    let campaign = Campaign::new(|sim: Sim| async move {
        let (left, right, judge) = (sim.client("left"), sim.client("right"), sim.client("judge"));
        let inbox = judge.network().bind_udp("0.0.0.0:9").await?;
        let (here, there) =
            (left.network().bind_udp("0.0.0.0:1").await?, right.network().bind_udp("0.0.0.0:1").await?);
        let mut first = [0; 5];
        here.send_to(b"ready", "judge:9").await?;
        inbox.recv(&mut first).await?;
        tracing::info!("ready");
        sim.clock().sleep(Duration::from_secs(1)).await;
        here.send_to(b"left.", "judge:9").await?;
        there.send_to(b"right", "judge:9").await?;
        inbox.recv(&mut first).await?;
        tracing::info!("{} is first", String::from_utf8_lossy(&first));
        anyhow::ensure!(&first == b"left.", "right is first");
        Ok(())
    });
    let red = (1..).map(Seed).find_map(|seed| campaign.shrink(seed, |_| ())).expect("some seed is red");
    Picture::of_shrunk(&red, "").expect("it was traced")
}

/// A run that fails with this text.
pub fn broken(text: &str) -> Picture {
    let text = text.to_owned();
    let outcome = run(move |_| {
        let text = text.clone();
        async move { anyhow::bail!(text) }
    });
    picture(&outcome)
}

/// A client that asks a server again and again, logs each round, and fails in the end, because one fault of a plan has
/// made one answer late.
pub fn outage() -> Picture {
    let plan =
        r#"{"faults": [{"when": {"at": "4s"}, "lasts": "2s", "what": {"pause": {"machine": "server"}}}]}"#;
    let faults = Faults::Plan(Plan::from_json(plan).expect("it is a plan"));
    let settings = Settings { trace: true, faults, ..Settings::new(Seed(1)) };
    let outcome = simulate(settings, &|sim: Sim| async move {
        let server = sim.machine("server", |factory| factory.with::<Echo>()).start().await?;
        let client = sim.client("client");
        let trouble = sim.inject_faults(Budget::of(&[server]));
        let mut stream = client.network().connect("server:7000").await?;
        let asks = client.spawn("asks", async move {
            let mut late = 0;
            for round in 0..700 {
                let asked = sim.elapsed();
                stream.write_all(b"hello").await?;
                stream.read_exact(&mut [0; 5]).await?;
                late += u32::from(sim.elapsed() - asked > Duration::from_secs(1));
                tracing::info!("round {round} is over");
                sim.clock().sleep(Duration::from_millis(10)).await;
            }
            anyhow::Ok(late)
        });
        trouble.run().await?;
        anyhow::ensure!(asks.await?? == 0, "one answer was late");
        Ok(())
    });
    picture(&outcome)
}
