//! steelmill-runtime: a service that was built for real sockets and time runs on a machine as it is, and beside it a daemon
//! that uses axum and reqwest.

use std::process::ExitCode;
use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use steelmill_core::{Daemon, DaemonRef, Factory, Result, Scope, SetOnce};
use steelmill_runtime::{Network, Options, TcpListener};
use steelmill_sim::{LifeEnd, Sim};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::helper::{SECOND, asks, each_seed, through_faults};

/// Sends back what it receives.
struct Echo {
    network: DaemonRef<Network>,
    listener: SetOnce<TcpListener>,
}

impl Daemon for Echo {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Self { network: factory.get()?, listener: SetOnce::new() })
    }

    async fn prepare(&self, _: &Scope) -> Result {
        self.listener.set(self.network.bind("0.0.0.0:7").await?)
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        let accepted = |stream: TcpStream, _| {
            let (mut receive, mut send) = stream.into_split();
            scope.spawn_until_stopping("connection", async move {
                let _ = tokio::io::copy(&mut receive, &mut send).await;
            });
        };
        scope.accept_loop(self.listener.get()?, accepted).await;
        Ok(())
    }
}

/// The `main` of the service.
fn service() -> ExitCode {
    steelmill_runtime::run(Options::default(), |factory| factory.with::<Echo>())
}

#[test]
fn a_service_on_the_runtime_world_runs_as_it_is() {
    each_seed(async |sim: Sim| {
        let server = sim.program("server", service);
        let client = sim.tokio_program("client", async || {
            asks(async || {
                let mut stream = TcpStream::connect("server:7").await?;
                stream.write_all(b"hello").await?;
                let mut answer = [0; 5];
                stream.read_exact(&mut answer).await?;
                assert_eq!(&answer, b"hello");
                std::io::Result::Ok(())
            })
            .await;
        });
        through_faults(&sim, server.clone(), client).await?;
        let last = server.past_lives().pop().expect("it was stopped");
        assert!(matches!(last.end, LifeEnd::ExitCode(0)), "it stops its daemons in order: {last}");
        Ok(())
    });
}

/// Answers by axum, in the sim world.
struct Greeter;

impl Daemon for Greeter {
    fn build(_: &mut Factory) -> Result<Self> {
        Ok(Self)
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        let router = Router::new().route("/", get(async || "hello"));
        let listener = tokio::net::TcpListener::bind("0.0.0.0:80").await?;
        scope.until_stopping(axum::serve(listener, router).into_future()).await.unwrap_or(Ok(()))?;
        Ok(())
    }
}

#[test]
fn a_daemon_serves_by_axum_and_the_scenario_asks_by_reqwest() {
    each_seed(async |sim: Sim| {
        let server = sim.machine("server", |factory| factory.with::<Greeter>()).start().await?;
        let client = reqwest::Client::builder().timeout(SECOND).build()?;
        let get = async || client.get("http://server/").send().await?.text().await;
        assert_eq!(get().await?, "hello");
        server.power_loss();
        assert!(get().await.is_err());
        server.restart().await?;
        tokio::time::sleep(SECOND).await;
        assert_eq!(get().await?, "hello");
        assert!(server.stop().await?.is_success());
        Ok(())
    });
}
