//! A TCP listener with a connection limit.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use steelmill_core::{DaemonRef, Result, Scope};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::descriptors::Descriptors;
use crate::world::{Network, TcpListener, TcpStream};

/// Accepts connections up to a limit of its own, and up to that of the process's file descriptors.
pub struct Listener {
    descriptors: DaemonRef<Descriptors>,
    socket: TcpListener,
    limit: usize,
    free: Arc<Semaphore>,
}

/// An accepted connection.
pub struct Accepted {
    pub stream: TcpStream,
    /// The client's address.
    pub peer: SocketAddr,
    /// What the connection may do.
    pub admission: Admission,
}

/// Whether a connection is within the limits.
pub enum Admission {
    /// It is, and counts against them until this is dropped.
    Admitted(Permit),
    /// It is not, for this reason. It may be kept open to say so until the permit is dropped; without a permit it has to
    /// be closed at once.
    Rejected(String, Option<OwnedSemaphorePermit>),
}

/// Counts against both limits until it is dropped.
pub struct Permit {
    _own: OwnedSemaphorePermit,
    _descriptor: OwnedSemaphorePermit,
}

impl Listener {
    /// Binds the listener of `daemon` to `address`.
    ///
    /// # Errors
    /// The address cannot be bound; the error names the daemon and the flag that chooses another address.
    pub async fn bind(
        network: &Network,
        descriptors: DaemonRef<Descriptors>,
        daemon: &str,
        address: &str,
        limit: usize,
    ) -> Result<Self> {
        let socket = network.bind(address).await.with_context(|| {
            format!(
                "{daemon} cannot listen on {address}; --listen {daemon}=HOST:PORT chooses another address"
            )
        })?;
        tracing::info!("{daemon} listens on {}", socket.local_addr()?);
        Ok(Self { descriptors, socket, limit, free: Arc::new(Semaphore::new(limit)) })
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
            accepted(Accepted { stream, peer, admission: self.admit() });
        };
        scope.accept_loop(&self.socket, accept).await;
    }

    fn admit(&self) -> Admission {
        let own = self.free.clone().try_acquire_owned();
        match (own, self.descriptors.connection()) {
            (Ok(own), Some(descriptor)) => Admission::Admitted(Permit { _own: own, _descriptor: descriptor }),
            (_, None) => Admission::Rejected(self.descriptors.exhausted(), self.descriptors.rejection()),
            (Err(_), Some(_)) => {
                let reason = format!("{} are connected", self.limit);
                Admission::Rejected(reason, self.descriptors.rejection())
            }
        }
    }
}
