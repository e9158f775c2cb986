//! The protocol: a line `add CLIENT NUMBER AMOUNT` is answered by a line with the total, or with what is wrong.

use std::io;
use std::sync::Arc;

use steelmill_core::{Daemon, DaemonRef, Factory, Network, Result, Scope, SetOnce, TcpListener, TcpStream, World};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

use crate::Tally;

/// The address that [`Server`] listens on: a value of its factory.
pub struct Listen(pub String);

/// The longest line that is read. A longer one ends its connection.
const LINE_MAX: u64 = 1024;

/// Serves [`Tally`] over TCP, in any world.
pub struct Server<W: World> {
    network: DaemonRef<W::Network>,
    tally: DaemonRef<Tally>,
    address: Arc<Listen>,
    listener: SetOnce<<W::Network as Network>::TcpListener>,
}

impl<W: World> Daemon for Server<W> {
    fn build(factory: &mut Factory) -> Result<Self> {
        Ok(Self {
            network: factory.get()?,
            tally: factory.get()?,
            address: factory.value()?,
            listener: SetOnce::new(),
        })
    }

    async fn prepare(&self, _: &Scope) -> Result {
        let listener = self.network.bind(&self.address.0).await?;
        tracing::info!("listens on {}", listener.local_addr()?);
        self.listener.set(listener)
    }

    async fn run(self: &Arc<Self>, scope: &Scope) -> Result {
        let listener = self.listener.get()?;
        scope
            .accept_loop(listener, |stream, _peer| {
                let server = self.clone();
                scope.spawn_until_stopping("connection", async move {
                    // A client that breaks off is no failure of the service.
                    let _ = server.serve(stream).await;
                });
            })
            .await;
        Ok(())
    }
}

impl<W: World> Server<W> {
    async fn serve(&self, stream: <W::Network as Network>::TcpStream) -> io::Result<()> {
        let (read, mut write) = stream.into_split();
        let mut read = BufReader::new(read);
        loop {
            let mut line = String::new();
            (&mut read).take(LINE_MAX).read_line(&mut line).await?;
            if !line.ends_with('\n') {
                return Ok(()); // the end, or too long
            }
            let answer = match parse(&line) {
                Some((client, number, amount)) => self.tally.add(client, number, amount).to_string(),
                None => "error: write add CLIENT NUMBER AMOUNT, with numbers from 1 on".to_owned(),
            };
            write.write_all(format!("{answer}\n").as_bytes()).await?;
        }
    }
}

fn parse(line: &str) -> Option<(&str, u64, u64)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let ["add", client, number, amount] = words[..] else {
        return None;
    };
    let number = number.parse().ok().filter(|number| *number > 0)?;
    Some((client, number, amount.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_request_has_a_client_a_number_and_an_amount() {
        assert_eq!(parse("add anna 1 5\n"), Some(("anna", 1, 5)));
        for wrong in ["", "add anna 1", "add anna 0 5", "add anna one 5", "add anna 1 -5", "take anna 1 5"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
