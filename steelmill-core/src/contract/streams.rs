//! Conformance: data transfer over TCP.

use std::io::{ErrorKind, IoSlice};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{connection, error_kind, readable_that_waits, settle, waits};
use crate::{Spawn, TcpStream, World};

pub async fn what_one_end_writes_the_other_reads<W: World>(world: W) {
    let (mut client, mut server) = connection(&world).await;
    let mut buffer = [0; 4];
    for _ in 0..3 {
        client.write_all(b"ping").await.unwrap();
        server.read_exact(&mut buffer).await.unwrap();
        assert_eq!(&buffer, b"ping");
        server.write_all(b"pong").await.unwrap();
        client.read_exact(&mut buffer).await.unwrap();
        assert_eq!(&buffer, b"pong");
    }
}

pub async fn a_long_transfer_arrives_whole_both_ways<W: World>(world: W) {
    let (mut client, mut server) = connection(&world).await;
    let data: Vec<u8> = (0..1_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let expected = data.clone();
    let echo = world.spawner().spawn("echo", async move {
        let (mut read, mut write) = server.split();
        tokio::io::copy(&mut read, &mut write).await.unwrap();
        write.shutdown().await.unwrap();
    });
    let (mut read, mut write) = client.split();
    let send = async {
        write.write_all(&data).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let receive = async {
        let mut received = Vec::new();
        read.read_to_end(&mut received).await.unwrap();
        received
    };
    let ((), received) = join(send, receive).await;
    assert!(received == expected, "{} bytes came back, or in another order", received.len());
    echo.await.unwrap();
}

pub async fn a_short_read_leaves_the_rest<W: World>(world: W) {
    let (mut client, mut server) = connection(&world).await;
    client.write_all(b"abcdef").await.unwrap();
    let mut buffer = [0; 2];
    for expected in [b"ab", b"cd", b"ef"] {
        server.read_exact(&mut buffer).await.unwrap();
        assert_eq!(&buffer, expected);
    }
    assert!(waits(&world, server.read(&mut buffer)).await);
}

/// TCP preserves the order of bytes, not the boundaries of writes.
pub async fn writes_run_together<W: World>(world: W) {
    let (mut client, mut server) = connection(&world).await;
    for part in ["a", "bc", "def"] {
        client.write_all(part.as_bytes()).await.unwrap();
    }
    let mut buffer = [0; 6];
    server.read_exact(&mut buffer).await.unwrap();
    assert_eq!(&buffer, b"abcdef");
}

pub async fn a_read_into_nothing_takes_nothing<W: World>(world: W) {
    let (mut client, mut server) = connection(&world).await;
    client.write_all(b"kept").await.unwrap();
    server.readable().await.unwrap();
    assert_eq!(server.read(&mut []).await.unwrap(), 0);
    let mut buffer = [0; 4];
    server.read_exact(&mut buffer).await.unwrap();
    assert_eq!(&buffer, b"kept");
}

/// The peer sees neither data nor end of stream.
pub async fn a_write_of_nothing_sends_nothing<W: World>(world: W) {
    let (mut client, mut server) = connection(&world).await;
    assert_eq!(client.write(&[]).await.unwrap(), 0);
    client.flush().await.unwrap();
    assert!(waits(&world, server.read(&mut [0])).await);
}

/// A read into an empty buffer waits for data or the end like any other.
pub async fn a_read_into_nothing_waits_for_something<W: World>(world: W) {
    let (mut client, mut server) = connection(&world).await;
    assert!(waits(&world, server.read(&mut [])).await);
    assert_eq!(error_kind(server.try_read(&mut [])), ErrorKind::WouldBlock);
    client.write_all(b"kept").await.unwrap();
    assert_eq!(server.read(&mut []).await.unwrap(), 0);
    server.read_exact(&mut [0; 4]).await.unwrap();
    assert!(waits(&world, server.read(&mut [])).await);
    drop(client);
    assert_eq!(server.read(&mut []).await.unwrap(), 0);
}

pub async fn a_waiting_read_is_woken_by_data<W: World>(world: W) {
    let (mut client, mut server) = connection(&world).await;
    let mut buffer = [0; 8];
    {
        let mut read = Box::pin(server.read(&mut buffer));
        assert!(waits(&world, &mut read).await);
        client.write_all(b"wake up").await.unwrap();
        assert_eq!(read.await.unwrap(), 7);
    }
    assert_eq!(&buffer, b"wake up\0");
}

pub async fn a_cancelled_read_loses_nothing<W: World>(world: W) {
    let (mut client, mut server) = connection(&world).await;
    let mut buffer = [0; 4];
    assert!(waits(&world, server.read(&mut buffer)).await);
    client.write_all(b"kept").await.unwrap();
    server.read_exact(&mut buffer).await.unwrap();
    assert_eq!(&buffer, b"kept");
}

/// Backpressure: buffers are bounded, so a slow reader blocks a fast writer.
pub async fn a_write_waits_while_nobody_reads<W: World>(world: W) {
    let (mut client, mut server) = connection(&world).await;
    let written = AtomicUsize::new(0);
    let chunk = vec![7; 64 * 1024];
    let mut fill = Box::pin(async {
        loop {
            let length = client.write(&chunk).await.unwrap();
            written.fetch_add(length, Ordering::Relaxed);
        }
    });
    let on_its_way = loop {
        let before = written.load(Ordering::Relaxed);
        assert!(waits(&world, &mut fill).await);
        if written.load(Ordering::Relaxed) == before {
            break before;
        }
    };
    let drain = Box::pin(async {
        let mut buffer = vec![0; 64 * 1024];
        let mut received = 0;
        while received <= on_its_way {
            received += server.read(&mut buffer).await.unwrap();
        }
    });
    futures::future::select(fill, drain).await;
    assert!(written.load(Ordering::Relaxed) > on_its_way);
}

/// The size of the buffers is up to the world: above zero, and bounded.
pub async fn a_write_takes_what_fits<W: World>(world: W) {
    let (mut client, mut server) = connection(&world).await;
    let data: Vec<u8> = (0..64 << 20).map(|n: u32| (n >> 12) as u8).collect();
    let taken = client.write(&data).await.unwrap();
    assert!(0 < taken && taken < data.len(), "{taken}");
    drop(client);
    let mut received = Vec::new();
    server.read_to_end(&mut received).await.unwrap();
    assert!(received == data[..taken], "{} of {taken} bytes, or others", received.len());
}

/// Each vectored write may be partial, and end within a slice.
pub async fn a_vectored_write_keeps_the_order_of_its_slices<W: World>(world: W) {
    let (mut client, mut server) = connection(&world).await;
    assert!(client.is_write_vectored());
    let parts = [IoSlice::new(b"one "), IoSlice::new(b""), IoSlice::new(b"two "), IoSlice::new(b"three")];
    assert_eq!(client.write_vectored(&parts).await.unwrap(), 13);
    let mut received = [0; 13];
    server.read_exact(&mut received).await.unwrap();
    assert_eq!(&received, b"one two three");
    assert_eq!(client.write_vectored(&[IoSlice::new(b"")]).await.unwrap(), 0);

    let (one, two) = (vec![1; 40 << 20], vec![2; 40 << 20]);
    let parts = [IoSlice::new(&one), IoSlice::new(&two)];
    let taken = client.write_vectored(&parts).await.unwrap();
    assert!(0 < taken && taken < one.len() + two.len(), "{taken}");
    drop(client);
    let mut received = Vec::new();
    server.read_to_end(&mut received).await.unwrap();
    assert!(received.len() == taken && received.is_sorted(), "{} of {taken} bytes", received.len());
}

pub async fn a_half_writes_slices_too<W: World>(world: W) {
    let (client, mut server) = connection(&world).await;
    let (_read, mut write) = client.into_split();
    assert!(write.is_write_vectored());
    assert_eq!(write.write_vectored(&[IoSlice::new(b"ab"), IoSlice::new(b"cd")]).await.unwrap(), 4);
    let mut received = [0; 4];
    server.read_exact(&mut received).await.unwrap();
    assert_eq!(&received, b"abcd");
}

pub async fn peek_leaves_the_data<W: World>(world: W) {
    let (mut client, mut server) = connection(&world).await;
    client.write_all(b"look").await.unwrap();
    let mut buffer = [0; 4];
    for _ in 0..2 {
        assert!(server.peek(&mut buffer).await.unwrap() > 0);
        assert_eq!(buffer[0], b'l');
    }
    buffer.fill(0);
    server.read_exact(&mut buffer).await.unwrap();
    assert_eq!(&buffer, b"look");
}

pub async fn peek_takes_no_more_than_it_has_room_for<W: World>(world: W) {
    let (mut client, mut server) = connection(&world).await;
    client.write_all(b"look").await.unwrap();
    let mut buffer = [0; 2];
    assert_eq!(server.peek(&mut buffer).await.unwrap(), 2);
    assert_eq!(&buffer, b"lo");
    assert_eq!(server.peek(&mut []).await.unwrap(), 0);
    server.read_exact(&mut buffer).await.unwrap();
    assert_eq!(server.peek(&mut buffer).await.unwrap(), 2);
    assert_eq!(&buffer, b"ok");
}

pub async fn a_waiting_peek_is_woken_by_data<W: World>(world: W) {
    let (mut client, server) = connection(&world).await;
    let mut buffer = [0; 1];
    {
        let mut peek = Box::pin(server.peek(&mut buffer));
        assert!(waits(&world, &mut peek).await);
        client.write_all(b"!").await.unwrap();
        assert_eq!(peek.await.unwrap(), 1);
    }
    assert_eq!(&buffer, b"!");
}

pub async fn try_read_would_block_where_nothing_is<W: World>(world: W) {
    let (mut client, mut server) = connection(&world).await;
    let mut buffer = [0; 4];
    assert_eq!(error_kind(server.try_read(&mut buffer)), ErrorKind::WouldBlock);
    client.write_all(b"data").await.unwrap();
    server.read_exact(&mut buffer).await.unwrap();
    assert_eq!(error_kind(server.try_read(&mut buffer)), ErrorKind::WouldBlock);
}

pub async fn try_read_takes_what_is_there<W: World>(world: W) {
    let (mut client, server) = connection(&world).await;
    client.write_all(b"data").await.unwrap();
    let mut received = Vec::new();
    while received.len() < 4 {
        server.readable().await.unwrap();
        let mut buffer = [0; 8];
        match server.try_read(&mut buffer) {
            Ok(length) => received.extend_from_slice(&buffer[..length]),
            // `readable` may resolve spuriously.
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
    }
    assert_eq!(received, b"data");
}

pub async fn try_write_would_block_where_nothing_fits<W: World>(world: W) {
    let (client, mut server) = connection(&world).await;
    client.writable().await.unwrap();
    let written = fill(&client);
    assert!(written > 0);
    let mut received = 0;
    let mut buffer = vec![0; 64 * 1024];
    while received < written {
        received += server.read(&mut buffer).await.unwrap();
    }
    assert_eq!(received, written);
}

pub async fn readable_waits_for_data<W: World>(world: W) {
    let (mut client, server) = connection(&world).await;
    let readable = readable_that_waits(&world, &server).await;
    client.write_all(b"data").await.unwrap();
    readable.await.unwrap();
    // What is there stays there.
    server.readable().await.unwrap();
}

pub async fn writable_waits_for_room<W: World>(world: W) {
    let (client, mut server) = connection(&world).await;
    client.writable().await.unwrap();
    // Data in flight frees buffer space when it arrives, so repeat until nothing more fits.
    loop {
        fill(&client);
        if waits(&world, client.writable()).await {
            break;
        }
    }
    let drain = async {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            assert!(server.read(&mut buffer).await.unwrap() > 0);
        }
    };
    futures::future::select(Box::pin(client.writable()), Box::pin(drain)).await;
    assert!(client.try_write(&[7]).unwrap() > 0);
}

pub async fn nodelay_is_kept<W: World>(world: W) {
    let (client, server) = connection(&world).await;
    assert!(!client.nodelay().unwrap());
    client.set_nodelay(true).unwrap();
    assert!(client.nodelay().unwrap());
    assert!(!server.nodelay().unwrap());
    client.set_nodelay(false).unwrap();
    assert!(!client.nodelay().unwrap());
}

pub async fn ttl_is_kept<W: World>(world: W) {
    let (client, server) = connection(&world).await;
    assert_eq!(client.ttl().unwrap(), 64);
    client.set_ttl(1).unwrap();
    client.set_ttl(255).unwrap();
    assert_eq!((client.ttl().unwrap(), server.ttl().unwrap()), (255, 64));
    for hops in [0, 256] {
        assert_eq!(error_kind(client.set_ttl(hops)), ErrorKind::InvalidInput, "{hops}");
    }
    assert_eq!(client.ttl().unwrap(), 255);
}

pub async fn linger_is_kept<W: World>(world: W) {
    let (client, server) = connection(&world).await;
    assert_eq!(client.linger().unwrap(), None);
    client.set_zero_linger().unwrap();
    assert_eq!((client.linger().unwrap(), server.linger().unwrap()), (Some(Duration::ZERO), None));
}

/// Options belong to the socket: they survive the end of the connection.
pub async fn options_are_kept_after_a_reset<W: World>(world: W) {
    let (client, server) = connection(&world).await;
    server.set_nodelay(true).unwrap();
    client.set_zero_linger().unwrap();
    drop(client);
    settle(&world).await;
    assert!(server.nodelay().unwrap());
    server.set_nodelay(false).unwrap();
    server.set_ttl(7).unwrap();
    assert_eq!((server.nodelay().unwrap(), server.ttl().unwrap()), (false, 7));
}

/// Writes until the buffers are full; returns the number of bytes.
fn fill(stream: &impl TcpStream) -> usize {
    let chunk = vec![7; 64 * 1024];
    let mut written = 0;
    loop {
        match stream.try_write(&chunk) {
            Ok(length) => written += length,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                return written;
            }
        }
    }
}
