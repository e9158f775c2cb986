//! A listening socket with a limit on who is inside.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use steelmill_core::{Result, Scope};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::world::{Clock, Network, TcpListener, TcpStream};

/// The pause after a failed accept. It fails when the process has no descriptor left; spinning would free none.
const PAUSE: Duration = Duration::from_millis(100);

/// Lets connections in, up to a limit.
#[derive(Debug)]
pub struct Door {
    listener: TcpListener,
    limit: usize,
    places: Arc<Semaphore>,
}

/// A connection that was let in, or has to be turned away.
#[derive(Debug)]
pub struct Visitor {
    /// The connection.
    pub stream: TcpStream,
    /// Whose it is.
    pub peer: SocketAddr,
    /// Its place, given back when dropped. `None`: the house is full.
    pub place: Option<OwnedSemaphorePermit>,
}

impl Door {
    /// Listens at `address` for `daemon`.
    ///
    /// # Errors
    /// The address cannot be listened at; the error names the daemon and the way to choose another.
    pub async fn open(network: &Network, daemon: &str, address: &str, limit: usize) -> Result<Self> {
        let listener = network.bind(address).await.with_context(|| {
            format!("{daemon} needs an address of its own; choose one with --listen {daemon}=HOST:PORT")
        })?;
        let door = Self { listener, limit, places: Arc::new(Semaphore::new(limit)) };
        tracing::info!("{daemon} listens on {}", door.address()?);
        Ok(door)
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The socket's own.
    pub fn address(&self) -> Result<SocketAddr> {
        Ok(self.listener.local_addr()?)
    }

    /// How many are inside.
    pub fn inside(&self) -> usize {
        self.limit - self.places.available_permits()
    }

    /// The next visitor; `None` when `scope` is told to stop.
    pub async fn next(&self, scope: &Scope, clock: &Clock) -> Option<Visitor> {
        // A connection that is there already would win over being told to stop, and they may never cease.
        while !scope.is_stopping() {
            match scope.until_stopping(self.listener.accept()).await? {
                Ok((stream, peer)) => {
                    // Replies are written whole; waiting to gather more would only delay them. Failing to say so is no
                    // reason to turn anybody away.
                    let _ = stream.set_nodelay(true);
                    let place = self.places.clone().try_acquire_owned().ok();
                    return Some(Visitor { stream, peer, place });
                }
                Err(error) => {
                    tracing::warn!("cannot accept a connection: {error}");
                    scope.until_stopping(clock.sleep(PAUSE)).await?;
                }
            }
        }
        None
    }
}
