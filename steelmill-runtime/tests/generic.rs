//! A daemon that is generic over its world, run in the runtime world.

use std::sync::Arc;
use std::time::Duration;

use steelmill_core::{
    Clock, Daemon, DaemonRef, Factory, Network, Result, Scope, SetOnce, TcpListener, World,
};
use steelmill_runtime::RuntimeWorld;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Sends back what it receives.
struct Echo<W: World> {
    network: DaemonRef<W::Network>,
    listener: SetOnce<<W::Network as Network>::TcpListener>,
}

impl<W: World> Daemon for Echo<W> {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Echo { network: factory.get()?, listener: SetOnce::new() })
    }

    async fn prepare(&self, _: &Scope) -> Result {
        self.listener.set(self.network.bind("127.0.0.1:0").await?)
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        while let Some(accepted) = scope.until_stopping(self.listener.get()?.accept()).await {
            let (stream, _) = accepted?;
            scope.spawn("connection", async move {
                let (mut read, mut write) = tokio::io::split(stream);
                tokio::io::copy(&mut read, &mut write).await?;
                Ok::<(), steelmill_core::Error>(())
            });
        }
        Ok(())
    }
}

/// Checks one echo of [`Echo`], then requests the stop.
struct Asker<W: World> {
    echo: DaemonRef<Echo<W>>,
    network: DaemonRef<W::Network>,
    clock: DaemonRef<W::Clock>,
}

impl<W: World> Daemon for Asker<W> {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Asker { echo: factory.get()?, network: factory.get()?, clock: factory.get()? })
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        let address = self.echo.listener.get()?.local_addr()?;
        let ask = async {
            let mut stream = self.network.connect(address).await?;
            stream.write_all(b"hello").await?;
            stream.shutdown().await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            std::io::Result::Ok(answer)
        };
        assert_eq!(self.clock.timeout(Duration::from_secs(10), ask).await??, "hello");
        scope.request_stop();
        Ok(())
    }
}

/// A generic function's future can be spawned.
async fn one_echo<W: World>(world: W) -> Result {
    let mut factory = Factory::root("generic", world);
    factory.with::<Asker<W>>()?;
    let running = factory.start().await?;
    let report = running.ended().await;
    assert!(report.is_clean(), "{report}");
    Ok(())
}

#[test]
fn a_daemon_can_be_generic_over_its_world() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let task = steelmill_runtime::Spawner.spawn("generic", one_echo(RuntimeWorld));
        task.await.unwrap().unwrap();
    });
}
