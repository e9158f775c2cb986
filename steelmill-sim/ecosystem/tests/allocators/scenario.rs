//! A server and a client that allocate on many threads, free on others what one allocated, and end in the middle of that.

use std::io;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use steelmill_core::Result;
use steelmill_sim::{Campaign, Machine, Sim, Verify};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime;
use tokio::time::timeout;

/// The block of a number: from 20 bytes to about 100 kB, all alike.
fn block(number: u32) -> Vec<u8> {
    let length = number.wrapping_mul(7919) % if number.is_multiple_of(16) { 100_000 } else { 2_000 };
    vec![number.wrapping_mul(31) as u8; 20 + length as usize]
}

/// Allocates for as long as the process lives, on one thread, and has another keep the blocks for a while.
fn churn() {
    let (sender, receiver) = mpsc::sync_channel::<(u32, Vec<u8>)>(16);
    thread::spawn(move || {
        let mut kept = std::collections::VecDeque::new();
        for (number, bytes) in receiver {
            kept.push_back((number, bytes));
            if kept.len() > 64 {
                let (number, bytes) = kept.pop_front().expect("one was just pushed");
                assert_eq!(bytes, block(number));
            }
        }
    });
    thread::spawn(move || {
        for number in 0.. {
            sender.send((number, block(number))).expect("the other thread receives");
            if number % 8 == 0 {
                // Threads begin and end, too.
                let length = thread::spawn(move || block(number).len()).join().expect("a length");
                assert_eq!(length, block(number).len());
                thread::sleep(Duration::from_millis(10));
            }
        }
    });
}

async fn serve() -> io::Result<()> {
    let listener = TcpListener::bind("0.0.0.0:80").await?;
    loop {
        let (mut stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            while let Ok(number) = stream.read_u32().await {
                stream.write_all(&block(number)).await?;
            }
            io::Result::Ok(())
        });
    }
}

fn server() -> io::Result<()> {
    churn();
    let runtime = runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(serve())
}

async fn ask(number: u32) -> io::Result<()> {
    let mut stream = TcpStream::connect("server:80").await?;
    for number in number..number + 4 {
        stream.write_u32(number).await?;
        let expected = block(number);
        let mut bytes = vec![0; expected.len()];
        stream.read_exact(&mut bytes).await?;
        assert_eq!(bytes, expected);
    }
    Ok(())
}

/// Asks ten times a second; what is not answered was asked of a machine that was down.
fn client() -> io::Result<()> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let answered = runtime.block_on(async {
        let mut answered = 0;
        for number in 0..20 {
            answered +=
                u32::from(matches!(timeout(Duration::from_millis(500), ask(number)).await, Ok(Ok(()))));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        answered
    });
    assert!((1..20).contains(&answered), "{answered}");
    Ok(())
}

async fn scenario(sim: Sim, look: fn()) -> Result {
    let server = sim.program("server", server).start().await?;
    let client = sim.program("client", client).start().await?;
    for end in [Machine::exit, Machine::power_loss, Machine::exit] {
        sim.clock().sleep(Duration::from_millis(400)).await;
        end(&server);
        look();
        sim.clock().sleep(Duration::from_millis(100)).await;
        server.clone().start().await?;
    }
    let life = client.ended().await;
    anyhow::ensure!(life.is_success(), "{life}");
    look();
    Ok(())
}

/// Runs on many seeds, each twice, in two processes. `look` has the allocator go through what it keeps of its threads.
#[track_caller]
pub(crate) fn holds_on_each_seed(look: fn()) {
    Campaign::new(move |sim| scenario(sim, look)).seeds(20).verify(Verify::Twice).check();
}
