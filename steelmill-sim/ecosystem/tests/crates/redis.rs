//! Redis: the client of the crate `redis`, with a server that answers every command with its number.

use redis::AsyncConnectionConfig;
use steelmill_sim::Sim;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::helper::{SECOND, asks, each_seed, through_faults};

async fn serve() -> std::io::Result<()> {
    let listener = TcpListener::bind("0.0.0.0:6379").await?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(answer(stream));
    }
}

/// Reads arrays of bulk strings, and counts them.
async fn answer(stream: TcpStream) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    for number in 1.. {
        for _ in 0..length(&mut stream).await? {
            let length = length(&mut stream).await?;
            stream.read_exact(&mut vec![0; length + 2]).await?;
        }
        stream.write_all(format!(":{number}\r\n").as_bytes()).await?;
    }
    Ok(())
}

/// The number in a line such as `*3`.
async fn length(stream: &mut BufReader<TcpStream>) -> std::io::Result<usize> {
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    line.get(1..)
        .and_then(|number| number.trim().parse().ok())
        .ok_or(std::io::ErrorKind::UnexpectedEof.into())
}

#[test]
fn a_multiplexed_connection_is_opened_again_after_each_fault() {
    each_seed(async |sim: Sim| {
        let server = sim.tokio_program("server", serve);
        let client = sim.tokio_program("client", async || {
            let client = redis::Client::open("redis://server/").expect("a valid address");
            let config = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(SECOND))
                .set_response_timeout(Some(SECOND));
            let mut open = None;
            asks(async || {
                let connection = match open.take() {
                    Some(connection) => connection,
                    None => client.get_multiplexed_async_connection_with_config(&config).await?,
                };
                let count = async || {
                    let mut connection = connection.clone();
                    redis::cmd("INCR").arg("visits").query_async::<u64>(&mut connection).await
                };
                let (one, other) = futures::try_join!(count(), count())?;
                assert_eq!(one.abs_diff(other), 1);
                open = Some(connection);
                redis::RedisResult::Ok(())
            })
            .await;
        });
        through_faults(&sim, server, client).await
    });
}
