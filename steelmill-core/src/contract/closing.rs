//! How TCP connections end, in every world.
//!
//! Two ways: with a FIN, after which the peer reads what was sent and then the end; and with a reset, which is an error
//! on both sides and leaves nothing on its way.

use std::future;
use std::io::ErrorKind;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{connection, error_kind, readable_that_waits, waits};
use crate::{Clock, Spawn, Task, TcpStream, World};

pub async fn a_dropped_stream_ends_the_peers_reading<W: World>(world: W) {
    let (client, mut server) = connection(&world).await;
    drop(client);
    assert_eq!(server.read(&mut [0]).await.unwrap(), 0);
}

pub async fn the_end_comes_after_the_data<W: World>(world: W) {
    let (mut client, mut server) = connection(&world).await;
    let data = vec![7; 100_000];
    let reader = world.spawner().spawn("reader", async move {
        let mut received = Vec::new();
        server.read_to_end(&mut received).await.unwrap();
        received.len()
    });
    client.write_all(&data).await.unwrap();
    drop(client);
    assert_eq!(reader.await.unwrap(), data.len());
}

pub async fn the_end_stays_the_end<W: World>(world: W) {
    let (client, mut server) = connection(&world).await;
    drop(client);
    for _ in 0..3 {
        assert_eq!(server.read(&mut [0; 8]).await.unwrap(), 0);
    }
}

pub async fn shutdown_ends_one_direction_only<W: World>(world: W) {
    let (mut client, mut server) = connection(&world).await;
    client.write_all(b"request").await.unwrap();
    client.shutdown().await.unwrap();
    let mut request = Vec::new();
    server.read_to_end(&mut request).await.unwrap();
    assert_eq!(request, b"request");
    server.write_all(b"response").await.unwrap();
    drop(server);
    let mut response = Vec::new();
    client.read_to_end(&mut response).await.unwrap();
    assert_eq!(response, b"response");
}

pub async fn both_directions_can_be_shut_down<W: World>(world: W) {
    let (mut client, mut server) = connection(&world).await;
    client.shutdown().await.unwrap();
    assert_eq!(server.read(&mut [0]).await.unwrap(), 0);
    server.shutdown().await.unwrap();
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
}

pub async fn a_second_shutdown_is_harmless<W: World>(world: W) {
    let (mut client, mut server) = connection(&world).await;
    client.shutdown().await.unwrap();
    client.shutdown().await.unwrap();
    server.write_all(b"still open").await.unwrap();
    client.read_exact(&mut [0; 10]).await.unwrap();
}

pub async fn writing_after_ones_own_shutdown_is_a_broken_pipe<W: World>(world: W) {
    let (mut client, _server) = connection(&world).await;
    client.shutdown().await.unwrap();
    assert_eq!(error_kind(client.write(b"late").await), ErrorKind::BrokenPipe);
}

/// The first write only learns from the peer's answer that nobody is there.
pub async fn writing_to_a_closed_peer_fails_in_the_end<W: World>(world: W) {
    let (mut client, server) = connection(&world).await;
    drop(server);
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    client.write_all(b"anybody there?").await.unwrap();
    let error = loop {
        world.clock().sleep(Duration::from_millis(1)).await;
        if let Err(error) = client.write(b"hello?").await {
            break error.kind();
        }
    };
    assert!(matches!(error, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{error:?}");
    assert_eq!(error_kind(client.write(b"hello?").await), ErrorKind::BrokenPipe);
}

/// Closing promises the peer that everything was read; where it was not, the peer must hear of it.
pub async fn closing_with_unread_data_resets_the_peer<W: World>(world: W) {
    let (mut client, server) = connection(&world).await;
    client.write_all(b"never read").await.unwrap();
    server.peek(&mut [0]).await.unwrap();
    drop(server);
    assert_eq!(error_kind(client.read(&mut [0]).await), ErrorKind::ConnectionReset);
}

pub async fn zero_linger_resets_the_peer<W: World>(world: W) {
    let (client, mut server) = connection(&world).await;
    client.set_zero_linger().unwrap();
    drop(client);
    assert_eq!(error_kind(server.read(&mut [0]).await), ErrorKind::ConnectionReset);
}

pub async fn what_came_before_a_reset_can_be_read<W: World>(world: W) {
    let (mut client, mut server) = connection(&world).await;
    client.write_all(b"last words").await.unwrap();
    server.peek(&mut [0]).await.unwrap();
    client.set_zero_linger().unwrap();
    drop(client);
    server.read_exact(&mut [0; 10]).await.unwrap();
    assert_eq!(error_kind(server.read(&mut [0]).await), ErrorKind::ConnectionReset);
}

/// To the first who asks; then the stream is at its end, and a broken pipe.
pub async fn a_reset_is_told_once<W: World>(world: W) {
    let (client, mut server) = connection(&world).await;
    client.set_zero_linger().unwrap();
    drop(client);
    assert_eq!(error_kind(server.read(&mut [0]).await), ErrorKind::ConnectionReset);
    assert_eq!(server.read(&mut [0]).await.unwrap(), 0);
    assert_eq!(error_kind(server.write(b"late").await), ErrorKind::BrokenPipe);
}

pub async fn a_waiting_read_is_woken_by_the_end<W: World>(world: W) {
    let (client, mut server) = connection(&world).await;
    let mut buffer = [0];
    let mut read = Box::pin(server.read(&mut buffer));
    assert!(waits(&world, &mut read).await);
    drop(client);
    assert_eq!(read.await.unwrap(), 0);
}

pub async fn a_waiting_read_is_woken_by_a_reset<W: World>(world: W) {
    let (client, mut server) = connection(&world).await;
    let mut buffer = [0];
    let mut read = Box::pin(server.read(&mut buffer));
    assert!(waits(&world, &mut read).await);
    client.set_zero_linger().unwrap();
    drop(client);
    assert_eq!(error_kind(read.await), ErrorKind::ConnectionReset);
}

pub async fn a_waiting_write_is_woken_by_a_reset<W: World>(world: W) {
    let (mut client, server) = connection(&world).await;
    let chunk = vec![7; 64 * 1024];
    let mut fill = Box::pin(async {
        loop {
            if let Err(error) = client.write(&chunk).await {
                return error.kind();
            }
        }
    });
    assert!(waits(&world, &mut fill).await);
    drop(server);
    assert_eq!(fill.await, ErrorKind::ConnectionReset);
}

pub async fn readable_is_woken_by_the_end<W: World>(world: W) {
    let (client, server) = connection(&world).await;
    let readable = readable_that_waits(&world, &server).await;
    drop(client);
    readable.await.unwrap();
    assert_eq!(server.try_read(&mut [0]).unwrap(), 0);
}

pub async fn peek_sees_the_end<W: World>(world: W) {
    let (client, mut server) = connection(&world).await;
    drop(client);
    assert_eq!(server.peek(&mut [0]).await.unwrap(), 0);
    assert_eq!(server.read(&mut [0]).await.unwrap(), 0);
}

pub async fn an_aborted_task_closes_its_streams<W: World>(world: W) {
    let (client, mut server) = connection(&world).await;
    let task = world.spawner().spawn("holder", async move {
        let _client = client;
        future::pending::<()>().await
    });
    assert!(waits(&world, server.read(&mut [0])).await);
    task.abort();
    assert_eq!(server.read(&mut [0]).await.unwrap(), 0);
}
