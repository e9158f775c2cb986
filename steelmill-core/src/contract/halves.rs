//! Conformance: splitting and reuniting TCP connections.

use futures::future::join;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{connection, waits};
use crate::{Spawn, Task, TcpStream, World};

pub async fn borrowed_halves_work_at_the_same_time<W: World>(world: W) {
    let (mut client, mut server) = connection(&world).await;
    let mut buffer = [0; 4];
    {
        let (mut read, mut write) = client.split();
        let answer = async {
            let mut request = [0; 4];
            server.read_exact(&mut request).await.unwrap();
            server.write_all(&request).await.unwrap();
        };
        let ask = join(read.read_exact(&mut buffer), write.write_all(b"echo"));
        let ((received, sent), ()) = join(ask, answer).await;
        received.unwrap();
        sent.unwrap();
    }
    assert_eq!(&buffer, b"echo");
    // Dropping the borrowed halves closes nothing.
    client.write_all(b"more").await.unwrap();
    server.read_exact(&mut buffer).await.unwrap();
    assert_eq!(&buffer, b"more");
}

pub async fn owned_halves_work_in_two_tasks<W: World>(world: W) {
    let (client, mut server) = connection(&world).await;
    let (mut read, mut write) = client.into_split();
    let reader = world.spawner().spawn("reader", async move {
        let mut received = String::new();
        read.read_to_string(&mut received).await.unwrap();
        received
    });
    let writer = world.spawner().spawn("writer", async move { write.write_all(b"from the client").await });
    let mut received = [0; 15];
    server.read_exact(&mut received).await.unwrap();
    assert_eq!(&received, b"from the client");
    server.write_all(b"from the server").await.unwrap();
    drop(server);
    writer.await.unwrap().unwrap();
    assert_eq!(reader.await.unwrap(), "from the server");
}

pub async fn dropping_the_write_half_ends_the_peers_reading<W: World>(world: W) {
    let (client, mut server) = connection(&world).await;
    let (mut read, write) = client.into_split();
    assert!(waits(&world, server.read(&mut [0])).await);
    drop(write);
    assert_eq!(server.read(&mut [0]).await.unwrap(), 0);
    server.write_all(b"the other way is open").await.unwrap();
    read.read_exact(&mut [0; 21]).await.unwrap();
}

pub async fn dropping_the_read_half_closes_nothing<W: World>(world: W) {
    let (client, mut server) = connection(&world).await;
    let (read, mut write) = client.into_split();
    drop(read);
    server.write_all(b"unread").await.unwrap();
    assert!(waits(&world, server.read(&mut [0])).await);
    write.write_all(b"open").await.unwrap();
    server.read_exact(&mut [0; 4]).await.unwrap();
}

pub async fn dropping_both_halves_closes<W: World>(world: W) {
    let (client, mut server) = connection(&world).await;
    let (read, write) = client.into_split();
    drop(read);
    drop(write);
    assert_eq!(server.read(&mut [0]).await.unwrap(), 0);
}

pub async fn reunited_halves_are_the_stream_again<W: World>(world: W) {
    let (client, mut server) = connection(&world).await;
    let address = client.local_addr().unwrap();
    let (read, write) = client.into_split();
    let mut client = <W::Network as crate::Network>::TcpStream::reunite(read, write).ok().unwrap();
    assert_eq!(client.local_addr().unwrap(), address);
    // Neither direction was shut down.
    assert!(waits(&world, server.read(&mut [0])).await);
    client.write_all(b"whole").await.unwrap();
    server.read_exact(&mut [0; 5]).await.unwrap();
    drop(client);
    assert_eq!(server.read(&mut [0]).await.unwrap(), 0);
}

pub async fn halves_of_two_streams_do_not_reunite<W: World>(world: W) {
    let (one, mut one_peer) = connection(&world).await;
    let (other, other_peer) = connection(&world).await;
    let ((_one_read, one_write), (other_read, _other_write)) = (one.into_split(), other.into_split());
    let refused = <W::Network as crate::Network>::TcpStream::reunite(other_read, one_write);
    let (_, mut one_write) = refused.err().unwrap();
    // The halves are returned unchanged.
    one_write.write_all(b"open").await.unwrap();
    one_peer.read_exact(&mut [0; 4]).await.unwrap();
    drop(other_peer);
}

/// Each half has its own waker.
pub async fn both_halves_can_wait_at_the_same_time<W: World>(world: W) {
    let (client, mut server) = connection(&world).await;
    let (mut read, mut write) = client.into_split();
    let writer = world.spawner().spawn("writer", async move {
        write.write_all(&vec![7; 20_000_000]).await.unwrap();
        write
    });
    let reader = world.spawner().spawn("reader", async move {
        let mut answer = [0; 5];
        read.read_exact(&mut answer).await.unwrap();
        answer
    });
    assert!(waits(&world, std::future::pending::<()>()).await);
    assert!(!writer.is_finished() && !reader.is_finished());
    server.write_all(b"first").await.unwrap();
    assert_eq!(&reader.await.unwrap(), b"first");
    server.read_exact(&mut vec![0; 20_000_000]).await.unwrap();
    writer.await.unwrap();
}
