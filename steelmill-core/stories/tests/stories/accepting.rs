//! How a daemon accepts connections, and how its stop ends them.

use std::future::pending;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use steelmill_core::{Clock, Network, Result, TcpListener, World};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::stopping::open;
use crate::stories;

stories! {
    every_connection_is_served_and_an_idle_one_does_not_hold_up_the_stop
    a_failed_accept_ends_nothing_and_is_followed_by_a_pause
    an_accept_loop_ends_at_the_stop_though_connections_never_cease
    a_stop_ends_the_pause_after_a_failed_accept
    work_that_the_stop_interrupts_is_no_failure
    work_that_fails_before_the_stop_is_reported
    a_stopping_daemon_does_not_begin_the_work
}

/// A listener whose first accepts fail.
struct Failing<L> {
    listener: L,
    failures: AtomicUsize,
}

impl<L: TcpListener> TcpListener for Failing<L> {
    type Stream = L::Stream;

    async fn accept(&self) -> io::Result<(L::Stream, SocketAddr)> {
        let take_one = |left: usize| left.checked_sub(1);
        match self.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take_one) {
            Ok(_) => Err(io::Error::other("too many open files")),
            Err(_) => self.listener.accept().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A listener with a connection at every accept.
struct Endless;

impl TcpListener for Endless {
    type Stream = ();

    async fn accept(&self) -> io::Result<((), SocketAddr)> {
        tokio::task::yield_now().await;
        Ok(((), SocketAddr::from((Ipv4Addr::LOCALHOST, 1))))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

async fn every_connection_is_served_and_an_idle_one_does_not_hold_up_the_stop(world: impl World) -> Result {
    let (demo, scope) = open(world.clone()).await?;
    let listener = world.network().bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let serve = scope.accept_loop(&listener, |mut stream, _| {
        scope.spawn_until_stopping("connection", async move {
            while let Ok(byte) = stream.read_u8().await {
                stream.write_u8(byte + 1).await?;
            }
            Ok(())
        });
    });
    let talk = async {
        let mut clients = Vec::new();
        for number in 1..4 {
            let mut client = world.network().connect(address).await?;
            client.write_u8(number).await?;
            assert_eq!(client.read_u8().await?, number + 1);
            clients.push(client);
        }
        let report = demo.stop().await;
        assert!(report.is_clean(), "{report}");
        for mut client in clients {
            assert!(client.read_u8().await.is_err(), "the connection is closed");
        }
        Ok(())
    };
    let ((), talked): ((), Result) = tokio::join!(serve, talk);
    talked
}

async fn a_failed_accept_ends_nothing_and_is_followed_by_a_pause(world: impl World) -> Result {
    let (demo, scope) = open(world.clone()).await?;
    let listener = Failing { listener: world.network().bind("127.0.0.1:0").await?, failures: 3.into() };
    let address = listener.local_addr()?;
    let begun = world.clock().now();
    let serve = scope.accept_loop(&listener, |mut stream, _| {
        scope.spawn("connection", async move { Ok(stream.write_u8(7).await?) });
    });
    let talk = async {
        let mut client = world.network().connect(address).await?;
        assert_eq!(client.read_u8().await?, 7);
        assert!(world.clock().now() - begun >= Duration::from_millis(300), "a pause for each failure");
        let report = demo.stop().await;
        assert!(report.is_clean(), "{report}");
        Ok(())
    };
    let ((), talked): ((), Result) = tokio::join!(serve, talk);
    talked
}

async fn an_accept_loop_ends_at_the_stop_though_connections_never_cease(world: impl World) -> Result {
    let (demo, scope) = open(world).await?;
    let mut accepted = 0;
    let count = |(), _| {
        accepted += 1;
        if accepted == 10 {
            scope.request_stop();
        }
    };
    scope.accept_loop(&Endless, count).await;
    assert!(accepted >= 10, "it ended before the stop");
    demo.ended().await;
    Ok(())
}

async fn a_stop_ends_the_pause_after_a_failed_accept(world: impl World) -> Result {
    let (demo, scope) = open(world.clone()).await?;
    let listener = world.network().bind("127.0.0.1:0").await?;
    let listener = Failing { listener, failures: usize::MAX.into() };
    let serve = scope.accept_loop(&listener, |_, _| unreachable!("no accept succeeds"));
    let (report, ()) = tokio::join!(demo.stop(), serve);
    assert!(report.is_clean(), "{report}");
    Ok(())
}

async fn work_that_the_stop_interrupts_is_no_failure(world: impl World) -> Result {
    let (demo, scope) = open(world).await?;
    let held = Arc::new(());
    let holds = held.clone();
    scope.spawn_until_stopping("waits", async move {
        pending::<()>().await;
        drop(holds);
    });
    let report = demo.stop().await;
    assert!(report.is_clean(), "{report}");
    assert_eq!(Arc::strong_count(&held), 1, "the work was dropped before the factory ended");
    Ok(())
}

async fn work_that_fails_before_the_stop_is_reported(world: impl World) -> Result {
    let (demo, scope) = open(world).await?;
    let (ended, end) = tokio::sync::oneshot::channel::<()>();
    scope.spawn_until_stopping("fails", async move {
        let _dropped_at_the_end = ended;
        anyhow::bail!("as told")
    });
    let _ = end.await;
    let report = demo.stop().await;
    assert!(report.to_string().contains("as told"), "{report}");
    Ok(())
}

async fn a_stopping_daemon_does_not_begin_the_work(world: impl World) -> Result {
    let (demo, scope) = open(world).await?;
    let (begun, begins) = tokio::sync::oneshot::channel();
    let stopping = scope.clone();
    scope.spawn("spawns late", async move {
        stopping.stopping().await;
        stopping.spawn_until_stopping("late", async move {
            let _ = begun.send(());
        });
    });
    let report = demo.stop().await;
    assert!(report.is_clean(), "{report}");
    assert!(begins.await.is_err(), "it was dropped unpolled");
    Ok(())
}
