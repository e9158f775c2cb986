//! Lost half-close: a relay drops the end of stream of an upload that ended before the relay connected upstream.
//!
//! Cameras upload through the relay to an archive, which replies with the number of bytes. An upload ends with a
//! half-close, which the relay must forward, or the archive waits for more. The relay buffers what arrives before its
//! connection to the archive is established. Planted bug: an end of stream in that buffer is not forwarded. When the
//! connection takes longer than a whole upload, all three machines wait forever.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use steelmill_core::{Daemon, DaemonRef, Factory, Result, Scope, assert_sometimes};
use steelmill_sim::fault::{Budget, Family};
use steelmill_sim::{Machine, Network, Sim, TcpStream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};

use super::talk::{Listener, think};
use super::{Bug, DELAYS_TCP, Version};

pub(crate) const BUG: Bug = Bug {
    name: "half-close",
    missing_code: "the relay drops an end of stream that arrives before it has connected to the archive",
    needed: "a delay of the relay longer than an upload",
    faults: &[DELAYS_TCP],
    may_help: &[],
    scenario: |sim, version| Box::pin(scenario(sim, version)),
};

struct Relay {
    version: Version,
    listener: Listener,
    network: DaemonRef<Network>,
}

impl Daemon for Relay {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Self { version: *factory.value()?, listener: Listener::build(factory)?, network: factory.get()? })
    }

    async fn prepare(&self, _: &Scope) -> Result {
        self.listener.bind(7000).await
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        self.listener.serve(scope, |camera| self.clone().relay(camera)).await
    }
}

impl Relay {
    async fn relay(self: Arc<Self>, mut camera: TcpStream) -> Result {
        let mut buffered = Vec::new();
        let mut has_ended = false;
        let mut reached = std::pin::pin!(self.network.connect("archive:7000"));
        let mut archive = loop {
            tokio::select! {
                reached = &mut reached => break reached?,
                read = camera.read_buf(&mut buffered), if !has_ended => has_ended = read? == 0,
            }
        };
        assert_sometimes!(has_ended, "an upload ends before the archive is reached");
        archive.write_all(&buffered).await?;
        if has_ended && self.version == Version::Right {
            archive.shutdown().await?;
        }
        let (mut from_camera, mut to_camera) = camera.into_split();
        let (mut from_archive, mut to_archive) = archive.into_split();
        let upload = async {
            if !has_ended {
                copy(&mut from_camera, &mut to_archive).await?;
                to_archive.shutdown().await?;
            }
            Ok(())
        };
        let answer = async {
            copy(&mut from_archive, &mut to_camera).await?;
            to_camera.shutdown().await
        };
        tokio::try_join!(upload, answer)?;
        Ok(())
    }
}

/// Reads to the end of the stream and replies with the number of bytes.
struct Archive {
    listener: Listener,
}

impl Daemon for Archive {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Self { listener: Listener::build(factory)? })
    }

    async fn prepare(&self, _: &Scope) -> Result {
        self.listener.bind(7000).await
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        let receive = async |mut stream: TcpStream| {
            let length = stream.read_to_end(&mut Vec::new()).await?;
            stream.write_all(length.to_string().as_bytes()).await?;
            Ok(stream.shutdown().await?)
        };
        self.listener.serve(scope, receive).await
    }
}

const CHUNKS: usize = 5;
const CHUNK: [u8; 200] = [7; 200];

async fn scenario(sim: Sim, version: Version) -> Result {
    let archive = sim.machine("archive", |factory| factory.with::<Archive>()).start().await?;
    let relay = sim.machine("relay", move |factory| {
        factory.provide_value(version)?;
        factory.with::<Relay>()
    });
    let relay = relay.start().await?;
    let cameras: Vec<Machine> =
        (1..=sim.limit("cameras", 1..=2)).map(|number| sim.client(&format!("camera-{number}"))).collect();
    let count = sim.limit("uploads", 1..=60);
    let upload = |camera: &Machine| camera.spawn("uploads", uploads(camera.clone(), count));
    let uploads: Vec<_> = cameras.iter().map(upload).collect();

    // No read has a timeout, so no machine may end, and nothing may be lost: TCP repeats data, but not a reset.
    const LOSE: [Family; 5] =
        [Family::Partition, Family::PartitionOneWay, Family::Isolation, Family::Loss, Family::Reset];
    let families = Family::ALL.into_iter().filter(|family| !LOSE.contains(family)).collect();
    let machines: Vec<Machine> = cameras.into_iter().chain([relay, archive]).collect();
    sim.inject_faults(Budget { ends: Vec::new(), families, ..Budget::of(&machines) }).run().await?;
    for camera in uploads {
        camera.await??;
    }
    Ok(())
}

async fn uploads(camera: Machine, count: u64) -> Result {
    for _ in 0..count {
        think(&camera, Duration::from_millis(1500)).await;
        // An upload may fail; one that is answered must be complete.
        if let Ok(answer) = upload(&camera).await {
            ensure!(
                answer.is_empty() || answer == (CHUNKS * CHUNK.len()).to_string(),
                "the archive received {answer} bytes"
            );
        }
    }
    Ok(())
}

/// Uploads once. Returns the archive's reply, or an empty string when the relay failed.
async fn upload(camera: &Machine) -> Result<String> {
    let mut stream = camera.network().connect("relay:7000").await?;
    for _ in 0..CHUNKS {
        stream.write_all(&CHUNK).await?;
        camera.clock().sleep(Duration::from_millis(5)).await;
    }
    stream.shutdown().await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}
