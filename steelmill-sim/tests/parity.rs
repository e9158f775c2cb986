//! Code written against tokio's own socket methods compiles and works in the simulated world.

use steelmill_sim::{Seed, check};

mod world {
    pub(crate) use steelmill_sim::{
        Network, OwnedReadHalf, OwnedWriteHalf, ReadHalf, ReuniteError, TcpListener, TcpStream, UdpSocket,
        WriteHalf,
    };
}

#[path = "../../steelmill-core/parity.rs"]
mod parity;

#[test]
fn sockets_are_used_as_tokio_has_them() {
    check(Seed(1), |sim| async move { Ok(parity::everything(sim.network()).await?) });
}
