//! A TCP listener with a connection limit.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use steelmill_core::{Result, Scope};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::world::{Network, TcpListener, TcpStream};

/// Accepts connections, and counts those that are open against a limit.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    limit: usize,
    free: Arc<Semaphore>,
}

/// An accepted connection.
#[derive(Debug)]
pub struct Accepted {
    /// The connection.
    pub stream: TcpStream,
    /// The client's address.
    pub peer: SocketAddr,
    /// Counts against the limit until it is dropped. `None` at the limit: the connection has to be rejected.
    pub permit: Option<OwnedSemaphorePermit>,
}

impl Listener {
    /// Listens at `address` for `daemon`.
    ///
    /// # Errors
    /// When it cannot listen there; the error names the daemon and the flag that chooses another address.
    pub async fn bind(network: &Network, daemon: &str, address: &str, limit: usize) -> Result<Self> {
        let socket = network.bind(address).await.with_context(|| {
            format!("{daemon} needs an address of its own; choose one with --listen {daemon}=HOST:PORT")
        })?;
        tracing::info!("{daemon} listens on {}", socket.local_addr()?);
        Ok(Self { socket, limit, free: Arc::new(Semaphore::new(limit)) })
    }

    /// The address it listens at.
    ///
    /// # Errors
    /// The socket's own.
    pub fn address(&self) -> Result<SocketAddr> {
        Ok(self.socket.local_addr()?)
    }

    /// How many connections count against the limit.
    pub fn connections(&self) -> usize {
        self.limit - self.free.available_permits()
    }

    /// Accepts connections until `scope` is told to stop, and calls `accepted` with each.
    pub async fn accept_loop(&self, scope: &Scope, mut accepted: impl FnMut(Accepted)) {
        let accept = |stream: TcpStream, peer| {
            // Replies are written whole, so gathering more would only delay them. Without the option they are slower.
            let _ = stream.set_nodelay(true);
            accepted(Accepted { stream, peer, permit: self.free.clone().try_acquire_owned().ok() });
        };
        scope.accept_loop(&self.socket, accept).await;
    }
}
