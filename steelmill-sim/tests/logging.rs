//! Log lines of a simulation: virtual time, machine and daemon.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use steelmill_core::{Daemon, DaemonRef, Factory, Result, Scope};
use steelmill_sim::{Clock, Seed, check, logging};
use tracing_subscriber::layer::SubscriberExt as _;

struct Talks(DaemonRef<Clock>);

impl Daemon for Talks {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Self(factory.get()?))
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        self.0.sleep(Duration::from_millis(1500)).await;
        tracing::info!(answer = 42, "found it");
        scope.stopping().await;
        Ok(())
    }
}

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl io::Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("not poisoned").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_log_line_has_virtual_time_machine_and_daemon() {
    let kept = Kept::default();
    let written = kept.clone();
    check(Seed(1), move |sim| {
        let kept = kept.clone();
        async move {
            let layer = logging::layer(move || kept.clone());
            let _logging = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
            let machine = sim.machine("gateway-1", |factory| factory.with::<Talks>()).start().await?;
            sim.clock().sleep(Duration::from_secs(2)).await;
            machine.stop().await?;
            Ok(())
        }
    });
    let log = String::from_utf8(written.0.lock().expect("not poisoned").clone()).expect("UTF-8");
    let line = log.lines().find(|line| line.contains("found it")).expect("the line was written");
    for part in ["1.500000000 gateway-1 INFO", "Talks", "answer=42"] {
        assert!(line.contains(part), "{part:?} is not in {line:?}");
    }
}
