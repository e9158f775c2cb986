//! The daemon that answers probes over HTTP, in both worlds.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use steelmill_core::{Clock, Daemon, Factory, Health, HealthChecks, Network, Result, RunningFactory, World};
use steelmill_runtime::{Probes, ProbesAddress};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

use crate::stories;
use crate::support::SHORT;

stories! {
    probes_follow_the_health_of_the_factory
    a_drain_is_answered_until_its_end
    metrics_tell_of_every_daemon
    what_is_malformed_is_refused
    idle_clients_keep_nobody_out
    a_client_that_breaks_off_is_no_failure
}

struct Store(watch::Receiver<Health>);

impl Daemon for Store {
    fn build(_: &mut Factory) -> Result<Self> {
        bail!("it is provided")
    }

    async fn health(&self) -> Health {
        self.0.borrow().clone()
    }
}

struct Demo<W: World> {
    demo: RunningFactory,
    world: W,
    address: SocketAddr,
    store: watch::Sender<Health>,
}

impl<W: World> Demo<W> {
    async fn start(world: W, drain: Duration) -> Result<Self> {
        let (store, health) = watch::channel(Health::Healthy);
        let mut factory = Factory::root("demo", world.clone());
        factory.drain(drain);
        factory.health_checks(HealthChecks { every: Duration::from_millis(10), ..HealthChecks::default() });
        factory.provide(Store(health))?;
        factory.provide_value(ProbesAddress("127.0.0.1:0".to_owned()))?;
        factory.with::<Probes<W>>()?;
        let demo = factory.start().await?;
        demo.health().ready().await?;
        let address = demo.get::<Probes<W>>()?.local_addr()?;
        Ok(Demo { demo, world, address, store })
    }

    async fn connect(&self) -> Result<<W::Network as Network>::TcpStream> {
        Ok(self.world.network().connect(self.address).await?)
    }

    /// Sends these bytes, and returns the status and the body of the answer.
    async fn send(&self, bytes: &[u8]) -> Result<(u16, String)> {
        let mut stream = self.connect().await?;
        stream.write_all(bytes).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let status = answer.strip_prefix("HTTP/1.1 ").context("no status line")?[..3].parse()?;
        let body = answer.split_once("\r\n\r\n").context("no end of the head")?.1;
        Ok((status, body.to_owned()))
    }

    async fn get(&self, path: &str) -> Result<(u16, String)> {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: demo\r\n\r\n").as_bytes()).await
    }

    /// Asks until the answer has this status.
    async fn until(&self, path: &str, status: u16) -> Result<String> {
        loop {
            match self.get(path).await? {
                (is, body) if is == status => return Ok(body),
                _ => self.world.clock().sleep(Duration::from_millis(5)).await,
            }
        }
    }
}

async fn probes_follow_the_health_of_the_factory(world: impl World) -> Result {
    let demo = Demo::start(world, Duration::ZERO).await?;
    assert_eq!(demo.get("/livez").await?, (200, "ok".to_owned()));
    assert_eq!(demo.get("/readyz").await?, (200, "ok".to_owned()));
    let verbose = demo.get("/readyz?verbose").await?.1;
    assert!(verbose.starts_with("[+]demo running\n[+]demo: Store ok\n"), "{verbose}");
    assert!(verbose.ends_with("\nreadyz check passed\n"), "{verbose}");

    demo.store.send_replace(Health::failing("the disk is full"));
    let body = demo.until("/readyz", 503).await?;
    assert!(body.contains("[-]demo: Store failing: the disk is full\n"), "{body}");
    assert_eq!(demo.get("/livez").await?.0, 200);

    demo.store.send_replace(Health::Unresponsive("it lost its memory".into()));
    demo.until("/livez", 503).await?;
    demo.store.send_replace(Health::Healthy);
    demo.until("/livez", 200).await?;
    assert!(demo.demo.stop().await.is_clean());
    Ok(())
}

async fn a_drain_is_answered_until_its_end(world: impl World) -> Result {
    let demo = Demo::start(world, Duration::from_secs(3_600)).await?;
    demo.demo.request_stop();
    let body = demo.until("/readyz", 503).await?;
    assert!(body.starts_with("[-]demo draining\n"), "{body}");
    assert_eq!(demo.get("/livez").await?.0, 200);
    demo.demo.stop_at_once();
    assert!(demo.demo.stop().await.is_clean());
    Ok(())
}

async fn metrics_tell_of_every_daemon(world: impl World) -> Result {
    let demo = Demo::start(world, Duration::ZERO).await?;
    let child = demo.demo.child("child")?.start().await?;
    let (status, text) = demo.get("/metrics").await?;
    assert_eq!(status, 200);
    for line in [
        r#"steelmill_ready{factory="demo"} 1"#,
        r#"steelmill_daemon_state{factory="demo",daemon="Store",steelmill_daemon_state="running"} 1"#,
        r#"steelmill_daemon_health{factory="demo",daemon="Store",steelmill_daemon_health="healthy"} 1"#,
        r#"steelmill_factory_state{factory="demo/child",steelmill_factory_state="running"} 1"#,
    ] {
        assert!(text.lines().any(|other| other == line), "no {line} in:\n{text}");
    }
    assert!(text.ends_with("\n# EOF\n"), "{text}");
    child.stop().await;
    demo.demo.stop().await;
    Ok(())
}

async fn what_is_malformed_is_refused(world: impl World) -> Result {
    let demo = Demo::start(world, Duration::ZERO).await?;
    for (bytes, status) in [
        (b"\x16\x03\x01\x02\x00\r\n\r\n".to_vec(), 400), // a TLS client
        (b"GET /livez\r\n\r\n".to_vec(), 400),
        (b"POST /livez HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello".to_vec(), 405),
        (b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), 404),
        ([b"GET /".to_vec(), vec![b'a'; 50_000]].concat(), 431),
    ] {
        let is = demo.send(&bytes).await;
        let is = is.with_context(|| String::from_utf8_lossy(&bytes[..20.min(bytes.len())]).into_owned())?;
        assert_eq!(is.0, status, "{:?}", String::from_utf8_lossy(&bytes));
    }
    assert_eq!(demo.send(b"HEAD /livez HTTP/1.1\r\nHost: a\r\n\r\n").await?, (200, String::new()));
    // A head in small pieces.
    let mut stream = demo.connect().await?;
    for piece in b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n".chunks(7) {
        stream.write_all(piece).await?;
        stream.flush().await?;
        tokio::task::yield_now().await;
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nok"), "{answer}");
    assert!(demo.demo.stop().await.is_clean());
    Ok(())
}

async fn idle_clients_keep_nobody_out(world: impl World) -> Result {
    let demo = Arc::new(Demo::start(world, Duration::ZERO).await?);
    let mut idle = Vec::new();
    for _ in 0..100 {
        let mut stream = demo.connect().await?;
        let _ = stream.write_all(b"GET /livez HTTP").await; // and no more
        idle.push(stream);
    }
    assert_eq!(demo.get("/livez").await?.0, 200);
    let mut nothing = Vec::new();
    let ended = idle[0].read_to_end(&mut nothing).await;
    assert!(ended.is_err() || nothing.is_empty(), "the oldest was replaced");
    let tasks: usize =
        demo.demo.status().await.context("it runs")?.daemons.iter().map(|d| d.tasks_alive()).sum();
    assert!(tasks <= 40, "{tasks} tasks");
    assert!(demo.demo.clone().stop().await.is_clean());
    Ok(())
}

async fn a_client_that_breaks_off_is_no_failure(world: impl World) -> Result {
    let demo = Demo::start(world.clone(), Duration::ZERO).await?;
    for _ in 0..5 {
        let mut stream = demo.connect().await?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").await?;
        drop(stream);
    }
    world.clock().sleep(SHORT).await;
    assert_eq!(demo.get("/livez").await?.0, 200);
    let report = demo.demo.stop().await;
    assert!(report.is_clean(), "{report}");
    Ok(())
}
