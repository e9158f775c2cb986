//! A service's networking, written against tokio's own methods, and compiled with the types of either world.
//!
//! It is there once for each world, beside a module `world` that names its types. What compiles here
//! and behaves, a service can write without knowing its world. Core's traits are not in scope on purpose: these are the
//! *inherent* methods of `TcpStream` and its kin, and in the runtime world those are tokio's.

use std::error::Error;
use std::fmt::Debug;
use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{join, try_join};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Interest, ReadBuf};
use tokio::io::{AsyncRead, AsyncWrite};

use super::world::{
    Network, OwnedReadHalf, OwnedWriteHalf, ReadHalf, ReuniteError, TcpListener, TcpSocket, TcpStream,
    UdpSocket, WriteHalf,
};

const LOOPBACK: (IpAddr, u16) = (IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Everything below, one after the other.
pub(super) async fn everything(network: Network) -> io::Result<()> {
    addresses(&network).await?;
    options(&network).await?;
    sockets(&network).await?;
    lines(&network).await?;
    readiness(&network).await?;
    borrowed_halves(&network).await?;
    owned_halves(&network).await?;
    datagrams(&network).await?;
    connected_datagrams(&network).await?;
    peeking(&network).await?;
    datagram_options(&network).await?;
    interests(&network).await?;
    Ok(())
}

/// What a struct, a task or an error type asks of the types.
#[allow(dead_code, reason = "it only has to compile")]
fn traits() {
    fn socket<T: Debug + Send + Sync + Unpin + 'static>() {}
    fn read<T: AsyncRead + AsRef<TcpStream> + Debug + Send + Sync + Unpin>() {}
    fn write<T: AsyncWrite + AsRef<TcpStream> + Debug + Send + Sync + Unpin>() {}
    fn error<T: Error + Send + Sync + 'static>() {}
    socket::<TcpListener>();
    socket::<TcpStream>();
    socket::<TcpSocket>();
    socket::<UdpSocket>();
    socket::<OwnedReadHalf>();
    socket::<OwnedWriteHalf>();
    read::<OwnedReadHalf>();
    read::<ReadHalf<'_>>();
    write::<OwnedWriteHalf>();
    write::<WriteHalf<'_>>();
    error::<ReuniteError>();
}

async fn connection(network: &Network) -> io::Result<(TcpStream, TcpStream)> {
    let listener: TcpListener = network.bind(LOOPBACK).await?;
    let (client, accepted) = try_join(network.connect(listener.local_addr()?), listener.accept()).await?;
    let (server, _peer): (TcpStream, SocketAddr) = accepted;
    Ok((client, server))
}

async fn addresses(network: &Network) -> io::Result<()> {
    let written: SocketAddr = "127.0.0.1:80".parse().map_err(io::Error::other)?;
    assert_eq!(network.lookup(written).await?, [written]);
    assert_eq!(network.lookup("127.0.0.1:80").await?, [written]);
    assert_eq!(network.lookup(("127.0.0.1", 80)).await?, [written]);
    let listener = network.bind("127.0.0.1:0").await?;
    let address: SocketAddr = listener.local_addr()?;
    let client = network.connect(("127.0.0.1", address.port())).await?;
    let (server, peer) = poll_fn(|context| listener.poll_accept(context)).await?;
    assert_eq!((client.local_addr()?, client.peer_addr()?), (peer, address));
    assert_eq!((server.local_addr()?, server.peer_addr()?), (address, peer));
    drop(listener);
    let refused = network.connect(address).await;
    assert_eq!(refused.map_err(|error| error.kind()).err(), Some(ErrorKind::ConnectionRefused));
    Ok(())
}

async fn sockets(network: &Network) -> io::Result<()> {
    let socket: TcpSocket = network.tcp_socket_v4()?;
    socket.set_reuseaddr(true)?;
    socket.set_keepalive(true)?;
    socket.set_send_buffer_size(10_000)?;
    socket.set_recv_buffer_size(10_000)?;
    assert!(socket.reuseaddr()? && socket.keepalive()?);
    assert_eq!((socket.send_buffer_size()?, socket.recv_buffer_size()?), (20_000, 20_000));
    socket.bind(LOOPBACK.into())?;
    let address = socket.local_addr()?;
    let listener: TcpListener = socket.listen(1024)?;

    let socket = network.tcp_socket_v4()?;
    socket.set_nodelay(true)?;
    socket.set_tos_v4(16)?;
    assert!(socket.nodelay()? && socket.take_error()?.is_none());
    assert_eq!((socket.linger()?, socket.tos_v4()?), (None, 16));
    let (client, accepted) = try_join(socket.connect(address), listener.accept()).await?;
    assert_eq!((client.peer_addr()?, client.nodelay()?), (address, true));
    assert_eq!(accepted.1, client.local_addr()?);
    Ok(())
}

async fn options(network: &Network) -> io::Result<()> {
    let (client, mut server) = connection(network).await?;
    client.set_nodelay(true)?;
    assert!(client.nodelay()?);
    client.set_ttl(42)?;
    assert_eq!(client.ttl()?, 42);
    assert!(client.take_error()?.is_none());
    assert_eq!(client.linger()?, None);
    client.set_zero_linger()?;
    assert_eq!(client.linger()?, Some(Duration::ZERO));
    drop(client);
    let reset = server.read(&mut [0]).await;
    assert_eq!(reset.map_err(|error| error.kind()), Err(ErrorKind::ConnectionReset));

    let listener = network.bind(LOOPBACK).await?;
    listener.set_ttl(7)?;
    assert_eq!(listener.ttl()?, 7);
    let (_client, accepted) = try_join(network.connect(listener.local_addr()?), listener.accept()).await?;
    assert_eq!(accepted.0.ttl()?, 7);
    Ok(())
}

/// The everyday protocol handler: buffered lines in, formatted lines out, until the end.
async fn lines(network: &Network) -> io::Result<()> {
    let (mut client, server) = connection(network).await?;
    let serve = async move {
        let mut stream = BufReader::new(server);
        let mut line = String::new();
        while stream.read_line(&mut line).await? > 0 {
            let answer = format!("you said {}", line);
            stream.write_all(answer.as_bytes()).await?;
            stream.flush().await?;
            line.clear();
        }
        stream.shutdown().await
    };
    let ask = async move {
        client.write_all(b"one\n").await?;
        client.write_u32(u32::from_be_bytes(*b"two\n")).await?;
        client.shutdown().await?;
        let mut answers = String::new();
        client.read_to_string(&mut answers).await?;
        io::Result::Ok(answers)
    };
    let (served, answers) = join(serve, ask).await;
    served?;
    assert_eq!(answers?, "you said one\nyou said two\n");
    Ok(())
}

async fn readiness(network: &Network) -> io::Result<()> {
    let (client, mut server) = connection(network).await?;
    let mut buffer = [0; 16];
    assert_eq!(client.try_read(&mut buffer).map_err(|error| error.kind()), Err(ErrorKind::WouldBlock));
    server.write_all(b"hello").await?;
    assert_eq!(client.peek(&mut buffer).await?, 5);
    let received = loop {
        client.readable().await?;
        match client.try_read(&mut buffer) {
            Ok(length) => break length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        }
    };
    assert_eq!(&buffer[..received], b"hello");
    poll_fn(|context| client.poll_write_ready(context)).await?;
    assert_eq!(client.try_write_vectored(&[IoSlice::new(b"b"), IoSlice::new(b"ye")])?, 3);
    let mut raw = [0; 3];
    let mut unfilled = ReadBuf::new(&mut raw);
    while unfilled.remaining() > 0 {
        poll_fn(|context| Pin::new(&mut server).poll_read(context, &mut unfilled)).await?;
    }
    assert_eq!(&raw, b"bye");

    server.write_all(b"again").await?;
    poll_fn(|context| client.poll_read_ready(context)).await?;
    let mut raw = [0; 2];
    let mut looked_at = ReadBuf::new(&mut raw);
    assert_eq!(poll_fn(|context| client.poll_peek(context, &mut looked_at)).await?, 2);
    let (mut one, mut two) = ([0; 3], [0; 3]);
    let mut buffers = [IoSliceMut::new(&mut one), IoSliceMut::new(&mut two)];
    assert_eq!(client.try_read_vectored(&mut buffers)?, 5);
    assert_eq!((&raw, &one, &two), (b"ag", b"aga", b"in\0"));
    Ok(())
}

async fn borrowed_halves(network: &Network) -> io::Result<()> {
    let (mut client, mut server) = connection(network).await?;
    let (mut read, mut write): (ReadHalf<'_>, WriteHalf<'_>) = server.split();
    assert_eq!(read.local_addr()?, write.local_addr()?);
    assert_eq!(read.peer_addr()?, write.peer_addr()?);
    write.as_ref().set_nodelay(true)?;
    assert!(read.as_ref().nodelay()?);
    client.write_all(b"echo").await?;
    client.shutdown().await?;
    read.readable().await?;
    assert!(read.peek(&mut [0; 4]).await? > 0);
    tokio::io::copy(&mut read, &mut write).await?;
    assert_eq!(read.try_read(&mut [0; 4])?, 0);
    write.writable().await?;
    assert_eq!(write.try_write(b"!")?, 1);
    write.shutdown().await?;
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await?;
    assert_eq!(answer, b"echo!");
    Ok(())
}

async fn owned_halves(network: &Network) -> io::Result<()> {
    let (client, mut server) = connection(network).await?;
    let (other, _other_server) = connection(network).await?;
    let (mut read, write): (OwnedReadHalf, OwnedWriteHalf) = client.into_split();
    let (other_read, other_write) = other.into_split();
    let ReuniteError(read_again, other_write) = read.reunite(other_write).expect_err("of two streams");
    read = read_again;
    let mut other = other_write.reunite(other_read).map_err(io::Error::other)?;
    other.shutdown().await?;

    assert_eq!(read.local_addr()?, write.local_addr()?);
    assert_eq!(read.peer_addr()?, write.peer_addr()?);
    write.as_ref().set_nodelay(true)?;
    assert!(read.as_ref().nodelay()?);
    write.writable().await?;
    assert_eq!(write.try_write(b"ping")?, 4);
    server.read_exact(&mut [0; 4]).await?;
    server.write_all(b"pong").await?;
    read.readable().await?;
    assert!(read.peek(&mut [0; 4]).await? > 0);
    read.read_exact(&mut [0; 4]).await?;
    assert_eq!(read.try_read(&mut [0; 4]).map_err(|error| error.kind()), Err(ErrorKind::WouldBlock));

    let client: TcpStream = read.reunite(write).map_err(io::Error::other)?;
    let (read, write) = client.into_split();
    // Forgetting the half shuts nothing down; dropping it does.
    write.forget();
    drop(read);
    assert_eq!(server.read(&mut [0]).await?, 0);
    Ok(())
}

async fn datagrams(network: &Network) -> io::Result<()> {
    let one: Arc<UdpSocket> = Arc::new(network.bind_udp(LOOPBACK).await?);
    let other = network.bind_udp("127.0.0.1:0").await?;
    let (from, to) = (one.local_addr()?, other.local_addr()?);
    let mut buffer = [0; 16];
    one.send_to(b"ping", to).await?;
    assert_eq!(other.peek_from(&mut buffer).await?, (4, from));
    assert_eq!(other.recv_from(&mut buffer).await?, (4, from));
    assert_eq!(other.try_recv_from(&mut buffer).map_err(|error| error.kind()), Err(ErrorKind::WouldBlock));
    other.writable().await?;
    assert_eq!(other.try_send_to(b"pong", from)?, 4);
    let mut received = ReadBuf::new(&mut buffer);
    let sender = poll_fn(|context| one.poll_recv_from(context, &mut received)).await?;
    assert_eq!((sender, received.filled()), (to, &b"pong"[..]));

    one.set_ttl(42)?;
    assert_eq!((one.ttl()?, one.take_error()?.is_none()), (42, true));
    poll_fn(|context| one.poll_send_ready(context)).await?;
    assert_eq!(poll_fn(|context| one.poll_send_to(context, b"ping", to)).await?, 4);
    poll_fn(|context| other.poll_recv_ready(context)).await?;
    assert_eq!(other.try_peek_from(&mut buffer)?, (4, from));
    assert_eq!(other.try_recv_from(&mut buffer)?, (4, from));
    Ok(())
}

async fn connected_datagrams(network: &Network) -> io::Result<()> {
    let one = network.bind_udp(LOOPBACK).await?;
    let other = network.bind_udp(LOOPBACK).await?;
    one.connect(other.local_addr()?).await?;
    other.connect(one.local_addr()?).await?;
    assert_eq!(one.peer_addr()?, other.local_addr()?);
    one.send(b"ping").await?;
    let mut buffer = [0; 16];
    assert_eq!(other.recv(&mut buffer).await?, 4);
    assert_eq!(other.try_recv(&mut buffer).map_err(|error| error.kind()), Err(ErrorKind::WouldBlock));
    assert_eq!(other.try_send(b"pong")?, 4);
    one.readable().await?;
    assert_eq!(one.recv(&mut buffer).await?, 4);
    Ok(())
}

async fn peeking(network: &Network) -> io::Result<()> {
    let one = network.bind_udp(LOOPBACK).await?;
    let other = network.bind_udp(LOOPBACK).await?;
    let from = one.local_addr()?;
    other.connect(from).await?;
    one.send_to(b"ping", other.local_addr()?).await?;
    let (mut buffer, mut raw) = ([0; 16], [0; 2]);
    assert_eq!(other.peek_sender().await?, from);
    assert_eq!(other.try_peek_sender()?, from);
    assert_eq!(poll_fn(|context| other.poll_peek_sender(context)).await?, from);
    assert_eq!(other.peek(&mut buffer).await?, 4);
    assert_eq!(other.try_peek(&mut raw)?, 2, "what does not fit is left out");
    let mut peeked = ReadBuf::new(&mut buffer);
    poll_fn(|context| other.poll_peek(context, &mut peeked)).await?;
    assert_eq!(peeked.filled(), b"ping");
    peeked.clear();
    assert_eq!(poll_fn(|context| other.poll_peek_from(context, &mut peeked)).await?, from);
    peeked.clear();
    poll_fn(|context| other.poll_recv(context, &mut peeked)).await?;
    assert_eq!(peeked.filled(), b"ping");
    assert_eq!(other.try_peek(&mut raw).map_err(|error| error.kind()), Err(ErrorKind::WouldBlock));
    Ok(())
}

async fn datagram_options(network: &Network) -> io::Result<()> {
    let socket = network.bind_udp(LOOPBACK).await?;
    assert!(!socket.broadcast()?);
    socket.set_broadcast(true)?;
    assert!(socket.broadcast()?);
    assert_eq!((socket.multicast_ttl_v4()?, socket.multicast_loop_v4()?), (1, true));
    socket.set_multicast_ttl_v4(7)?;
    socket.set_multicast_loop_v4(false)?;
    assert_eq!((socket.multicast_ttl_v4()?, socket.multicast_loop_v4()?), (7, false));
    let beyond = socket.set_multicast_ttl_v4(256);
    assert_eq!(beyond.map_err(|error| error.kind()), Err(ErrorKind::InvalidInput));
    socket.set_tos_v4(16)?;
    assert_eq!(socket.tos_v4()?, 16);
    assert!(socket.tclass_v6().is_err() && socket.multicast_loop_v6().is_err(), "it is of IPv4");
    Ok(())
}

async fn interests(network: &Network) -> io::Result<()> {
    let (client, mut server) = connection(network).await?;
    let both = Interest::READABLE | Interest::WRITABLE;
    assert!(client.ready(both).await?.is_writable());
    server.write_all(b"hello").await?;
    assert!(client.ready(Interest::READABLE).await?.is_readable());
    let mut buffer = [0; 16];
    let read = client.async_io(Interest::READABLE, || client.try_read(&mut buffer)).await;
    assert_eq!(read?, 5);
    let nothing = client.try_io(Interest::READABLE, || client.try_read(&mut [0]));
    assert_eq!(nothing.map_err(|error| error.kind()), Err(ErrorKind::WouldBlock));
    let (read, write) = client.into_split();
    assert!(write.ready(Interest::WRITABLE).await?.is_writable());
    server.write_all(b"!").await?;
    assert!(read.ready(Interest::READABLE).await?.is_readable());

    let one = network.bind_udp(LOOPBACK).await?;
    one.send_to(b"self", one.local_addr()?).await?;
    assert!(one.ready(Interest::WRITABLE).await?.is_writable());
    assert!(one.ready(Interest::READABLE).await?.is_readable());
    let received = one.async_io(Interest::READABLE, || one.try_recv_from(&mut buffer)).await?;
    assert_eq!(received, (4, one.local_addr()?));
    Ok(())
}
