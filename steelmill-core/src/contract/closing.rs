//! Conformance: the end of TCP connections.
//!
//! By a FIN: the peer reads all that was sent, and then end of stream. By a reset (RST): an error on both sides, and data
//! in flight is discarded.

use std::future;
use std::io::ErrorKind;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Stream, connection, error_kind, readable_that_waits, settle, waits};
use crate::{Clock, Spawn, Task, TcpStream, World};

/// A connection after the arrival of a reset.
async fn reset_connection<W: World>(world: &W) -> Stream<W> {
    let (client, server) = connection(world).await;
    client.set_zero_linger().unwrap();
    drop(client);
    settle(world).await;
    server
}

/// A connection that the peer has closed; a write to it was answered by a reset.
async fn end_and_reset<W: World>(world: &W, last_words: &[u8]) -> Stream<W> {
    let (mut client, mut server) = connection(world).await;
    server.write_all(last_words).await.unwrap();
    drop(server);
    settle(world).await;
    client.write_all(b"anybody there?").await.unwrap();
    settle(world).await;
    client
}

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

/// The first write still succeeds; the peer answers it with a reset.
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

/// Closing with unread data resets the connection, so that the peer learns of the loss.
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

/// The error is returned once; then reads find the end, and writes a broken pipe.
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

/// An empty write consumes the error, and fails where another write would.
pub async fn a_write_of_nothing_fails_as_any_other<W: World>(world: W) {
    let mut stream = reset_connection(&world).await;
    assert_eq!(error_kind(stream.write(&[]).await), ErrorKind::ConnectionReset);
    assert_eq!(error_kind(stream.write(&[]).await), ErrorKind::BrokenPipe);
    let (mut client, _server) = connection(&world).await;
    client.shutdown().await.unwrap();
    assert_eq!(error_kind(client.write(&[]).await), ErrorKind::BrokenPipe);
}

pub async fn a_write_can_be_the_one_to_be_told_of_a_reset<W: World>(world: W) {
    let mut stream = reset_connection(&world).await;
    assert_eq!(error_kind(stream.write(b"late").await), ErrorKind::ConnectionReset);
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    assert_eq!(error_kind(stream.write(b"late").await), ErrorKind::BrokenPipe);
}

pub async fn a_peek_can_be_the_one_to_be_told_of_a_reset<W: World>(world: W) {
    let mut stream = reset_connection(&world).await;
    assert_eq!(error_kind(stream.peek(&mut [0]).await), ErrorKind::ConnectionReset);
    assert_eq!(stream.peek(&mut [0]).await.unwrap(), 0);
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
}

pub async fn take_error_takes_the_reset<W: World>(world: W) {
    let mut stream = reset_connection(&world).await;
    assert_eq!(stream.take_error().unwrap().unwrap().kind(), ErrorKind::ConnectionReset);
    assert!(stream.take_error().unwrap().is_none());
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    assert_eq!(error_kind(stream.write(b"late").await), ErrorKind::BrokenPipe);
}

pub async fn there_is_no_error_to_take_where_nothing_went_wrong<W: World>(world: W) {
    let (client, mut server) = connection(&world).await;
    assert!(client.take_error().unwrap().is_none());
    drop(client);
    assert_eq!(server.read(&mut [0]).await.unwrap(), 0);
    assert!(server.take_error().unwrap().is_none());
}

/// After end of stream was read, a reset breaks only writing.
pub async fn a_reset_after_the_end_leaves_reading_at_the_end<W: World>(world: W) {
    let mut client = end_and_reset(&world, b"").await;
    for _ in 0..2 {
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    }
    for _ in 0..2 {
        assert_eq!(error_kind(client.write(b"hello?").await), ErrorKind::BrokenPipe);
    }
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    let client = end_and_reset(&world, b"").await;
    assert_eq!(client.take_error().unwrap().unwrap().kind(), ErrorKind::BrokenPipe);
}

pub async fn what_came_before_the_end_survives_a_reset<W: World>(world: W) {
    let mut client = end_and_reset(&world, b"last words").await;
    assert_eq!(error_kind(client.write(b"hello?").await), ErrorKind::BrokenPipe);
    let mut received = Vec::new();
    client.read_to_end(&mut received).await.unwrap();
    assert_eq!(received, b"last words");
}

pub async fn a_reset_is_told_after_ones_own_shutdown<W: World>(world: W) {
    let (mut client, server) = connection(&world).await;
    client.shutdown().await.unwrap();
    settle(&world).await;
    server.set_zero_linger().unwrap();
    drop(server);
    assert_eq!(error_kind(client.read(&mut [0]).await), ErrorKind::ConnectionReset);
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    assert_eq!(error_kind(client.write(b"late").await), ErrorKind::BrokenPipe);
}

/// The local address remains, as the socket is still open; the peer address is gone.
pub async fn a_reset_connection_has_no_peer<W: World>(world: W) {
    let (client, server) = connection(&world).await;
    let address = server.local_addr().unwrap();
    client.set_zero_linger().unwrap();
    drop(client);
    settle(&world).await;
    assert_eq!(error_kind(server.peer_addr()), ErrorKind::NotConnected);
    assert_eq!(server.local_addr().unwrap(), address);
}

pub async fn a_connection_that_ended_both_ways_has_no_peer<W: World>(world: W) {
    let (mut client, mut server) = connection(&world).await;
    let addresses = (client.local_addr().unwrap(), server.local_addr().unwrap());
    client.shutdown().await.unwrap();
    settle(&world).await;
    assert_eq!(client.peer_addr().unwrap(), addresses.1, "half-closed is connected");
    assert_eq!(server.peer_addr().unwrap(), addresses.0);
    server.shutdown().await.unwrap();
    settle(&world).await;
    for stream in [&client, &server] {
        assert_eq!(error_kind(stream.peer_addr()), ErrorKind::NotConnected);
    }
    assert_eq!((client.local_addr().unwrap(), server.local_addr().unwrap()), addresses);
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    assert_eq!(server.read(&mut [0]).await.unwrap(), 0);
    assert_eq!(error_kind(client.write(b"late").await), ErrorKind::BrokenPipe);
}

/// In every state of the connection.
pub async fn shutdown_never_fails<W: World>(world: W) {
    let mut reset = reset_connection(&world).await;
    reset.shutdown().await.unwrap();
    assert_eq!(
        error_kind(reset.read(&mut [0]).await),
        ErrorKind::ConnectionReset,
        "the reset is not reported yet"
    );
    let (mut client, mut server) = connection(&world).await;
    for _ in 0..2 {
        client.shutdown().await.unwrap();
        server.shutdown().await.unwrap();
        settle(&world).await;
    }
}

pub async fn a_half_closed_connection_carries_any_amount_the_other_way<W: World>(world: W) {
    let (mut client, mut server) = connection(&world).await;
    client.shutdown().await.unwrap();
    let sent = 1_000_000;
    let sender = world.spawner().spawn("sender", async move {
        assert_eq!(server.read(&mut [0]).await.unwrap(), 0);
        server.write_all(&vec![7; sent]).await.unwrap();
    });
    let mut received = Vec::new();
    client.read_to_end(&mut received).await.unwrap();
    assert_eq!(received.len(), sent);
    sender.await.unwrap();
}

pub async fn writable_is_woken_by_a_reset<W: World>(world: W) {
    let (client, server) = connection(&world).await;
    client.writable().await.unwrap();
    let chunk = vec![7; 64 * 1024];
    loop {
        while client.try_write(&chunk).is_ok() {}
        if waits(&world, client.writable()).await {
            break;
        }
    }
    let mut writable = Box::pin(client.writable());
    assert!(waits(&world, &mut writable).await);
    drop(server);
    writable.await.unwrap();
    assert_eq!(error_kind(client.try_write(b"late")), ErrorKind::ConnectionReset);
}

pub async fn a_waiting_peek_is_woken_by_a_reset<W: World>(world: W) {
    let (client, server) = connection(&world).await;
    let mut buffer = [0];
    let mut peek = Box::pin(server.peek(&mut buffer));
    assert!(waits(&world, &mut peek).await);
    client.set_zero_linger().unwrap();
    drop(client);
    assert_eq!(error_kind(peek.await), ErrorKind::ConnectionReset);
}

/// Both waits for readiness resolve.
pub async fn a_broken_connection_is_ready_for_anything<W: World>(world: W) {
    let stream = reset_connection(&world).await;
    for _ in 0..2 {
        stream.readable().await.unwrap();
        stream.writable().await.unwrap();
    }
    assert_eq!(error_kind(stream.try_read(&mut [0])), ErrorKind::ConnectionReset);
    assert_eq!(stream.try_read(&mut [0]).unwrap(), 0);
    assert_eq!(error_kind(stream.try_write(b"late")), ErrorKind::BrokenPipe);
    stream.readable().await.unwrap();
    stream.writable().await.unwrap();
}

pub async fn the_end_stays_readable<W: World>(world: W) {
    let (client, server) = connection(&world).await;
    drop(client);
    for _ in 0..3 {
        server.readable().await.unwrap();
        assert_eq!(server.try_read(&mut [0; 8]).unwrap(), 0);
        assert_eq!(server.peek(&mut [0; 8]).await.unwrap(), 0);
    }
}

pub async fn a_stream_is_writable_after_ones_own_shutdown<W: World>(world: W) {
    let (mut client, _server) = connection(&world).await;
    client.shutdown().await.unwrap();
    client.writable().await.unwrap();
    assert_eq!(error_kind(client.try_write(b"late")), ErrorKind::BrokenPipe);
}

/// Data in flight to an end that is gone is answered by a reset.
pub async fn data_for_a_closed_end_is_answered_with_a_reset<W: World>(world: W) {
    let (mut client, server) = connection(&world).await;
    let (read, write) = server.into_split();
    drop((read, write));
    settle(&world).await;
    client.write_all(b"too late").await.unwrap();
    settle(&world).await;
    assert_eq!(error_kind(client.peer_addr()), ErrorKind::NotConnected);
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
}
