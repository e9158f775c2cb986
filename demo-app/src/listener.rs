//! A TCP listener with a connection limit.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use steelmill_core::{Result, Scope};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::world::{Network, TcpListener, TcpStream};

/// Accepts connections up to a limit.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    limit: usize,
    free: Arc<Semaphore>,
}

/// An accepted connection.
#[derive(Debug)]
pub struct Accepted {
    pub stream: TcpStream,
    /// The client's address.
    pub peer: SocketAddr,
    /// Counts against the limit until it is dropped. `None` at the limit: the connection has to be rejected.
    pub permit: Option<OwnedSemaphorePermit>,
}

impl Listener {
    /// Binds the listener of `daemon` to `address`.
    ///
    /// # Errors
    /// The address cannot be bound; the error names the daemon and the flag that chooses another address.
    pub async fn bind(network: &Network, daemon: &str, address: &str, limit: usize) -> Result<Self> {
        let socket = network.bind(address).await.with_context(|| {
            format!("{daemon} needs an address of its own; choose one with --listen {daemon}=HOST:PORT")
        })?;
        tracing::info!("{daemon} listens on {}", socket.local_addr()?);
        Ok(Self { socket, limit, free: Arc::new(Semaphore::new(limit)) })
    }

    /// The local address.
    ///
    /// # Errors
    /// Those of `local_addr` of the socket.
    pub fn address(&self) -> Result<SocketAddr> {
        Ok(self.socket.local_addr()?)
    }

    /// The number of open connections that count against the limit.
    pub fn connections(&self) -> usize {
        self.limit - self.free.available_permits()
    }

    /// Accepts connections until the stop, and calls `accepted` with each.
    pub async fn accept_loop(&self, scope: &Scope, mut accepted: impl FnMut(Accepted)) {
        let accept = |stream: TcpStream, peer| {
            // Replies are written whole, so Nagle's algorithm would only delay them. If the option cannot be set, they
            // are slower.
            let _ = stream.set_nodelay(true);
            accepted(Accepted { stream, peer, permit: self.free.clone().try_acquire_owned().ok() });
        };
        scope.accept_loop(&self.socket, accept).await;
    }
}
