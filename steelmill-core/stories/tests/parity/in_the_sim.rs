//! With the types of the sim world.

use steelmill_sim::{Seed, check};

mod world {
    pub(crate) use steelmill_sim::{
        Network, OwnedReadHalf, OwnedWriteHalf, ReadHalf, ReuniteError, TcpListener, TcpSocket, TcpStream,
        UdpSocket, WriteHalf,
    };
}

#[path = "everything.rs"]
mod everything;

#[test]
fn sockets_are_used_as_tokio_has_them() {
    check(Seed(1), |sim| async move { Ok(everything::everything(sim.network()).await?) });
}
