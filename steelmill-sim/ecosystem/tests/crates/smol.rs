//! smol: an executor whose reactor makes system calls itself, without the C library.

use std::io;
use std::time::Duration;

use smol::Timer;
use smol::future::FutureExt as _;
use smol::io::{AsyncReadExt as _, AsyncWriteExt as _};
use smol::net::{TcpListener, TcpStream};
use steelmill_sim::Sim;

use crate::helper::{each_seed, through_faults};

/// Sends back what it receives.
async fn serve() -> io::Result<()> {
    let listener = TcpListener::bind("0.0.0.0:7").await?;
    loop {
        let (mut stream, _) = listener.accept().await?;
        smol::spawn(async move {
            let mut message = [0; 5];
            while stream.read_exact(&mut message).await.is_ok() {
                stream.write_all(&message).await?;
            }
            io::Result::Ok(())
        })
        .detach();
    }
}

async fn ask() -> io::Result<()> {
    let mut stream = TcpStream::connect("server:7").await?;
    stream.write_all(b"hello").await?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).await?;
    assert_eq!(&answer, b"hello");
    Ok(())
}

#[test]
fn smol_runs_on_its_own_reactor_through_faults() {
    each_seed(async |sim: Sim| {
        let server = sim.program("server", || smol::block_on(serve()));
        let client = sim.program("client", || {
            smol::block_on(async {
                let mut answered = Vec::new();
                for _ in 0..60 {
                    Timer::after(Duration::from_millis(250)).await;
                    let late = async {
                        Timer::after(Duration::from_secs(1)).await;
                        Err(io::ErrorKind::TimedOut.into())
                    };
                    answered.push(ask().or(late).await.is_ok());
                }
                assert!(answered[1] && answered[59] && answered.contains(&false), "{answered:?}");
            });
        });
        through_faults(&sim, server, client).await
    });
}
