//! With the types of the runtime world.

mod world {
    pub(crate) use steelmill_runtime::{
        Network, OwnedReadHalf, OwnedWriteHalf, ReadHalf, ReuniteError, TcpListener, TcpSocket, TcpStream,
        UdpSocket, WriteHalf,
    };
}

#[path = "everything.rs"]
mod everything;

#[test]
fn sockets_are_used_as_tokio_has_them() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let network = world::Network;
    runtime.expect("a tokio runtime").block_on(everything::everything(network)).expect("as with tokio");
}
